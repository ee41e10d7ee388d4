"""Base images made of a distribution's packages by mmdebstrap, the same bytes for the same archive.

The package set is the official images': essential packages, those of priority required, and apt. So are the
settings of apt and dpkg (debuerreotype makes the official ones); slim leaves documentation out.
"""

from __future__ import annotations

import email.utils
import hashlib
import io
import json
import re
import shutil
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest, keep_folder, write_atomic
from skiff.host.mirror import host_mirror
from skiff.host.run import Group, require, shell_form
from skiff.model.arch import Arch
from skiff.model.port import Platform, Reference
from skiff.port.distributions import (
    DATA,
    Archives,
    Distribution,
    Release,
    archives,
    distributions,
    release_of,
)

# Age in seconds after which the archive is asked anew.
_RELEASE_AGE = 24 * 3600.0
_TIMEOUT = 30.0
_FILES = DATA / "base"
_HOOKS = Path("/usr/share/mmdebstrap/hooks")


class Base(msgspec.Struct, frozen=True):
    """A base image for one CPU, and the state of the archive that it is made of."""

    release: Release
    arch: Arch
    archives: Archives
    # Seconds since 1970, UTC: of the newest Release file.
    epoch: int
    # Of everything that its bytes depend on.
    key: str


class Bases:
    """Makes bases, and remembers them by what they are made of.

    ``mirrors`` are used in place of the distributions' own; ``keyring`` brings a file of a Debian package
    (name, path in it) where this machine has none, and raises UserError.
    """

    def __init__(
        self,
        cache: Path,
        warn: Callable[[str], None],
        mirrors: Mapping[str, str] = {},
        keyring: Callable[[str, str], Path] | None = None,
    ) -> None:
        self.folder = cache / "port" / "bases"
        self.releases = cache / "port" / "releases"
        self._warn = warn
        self._mirrors = dict(mirrors)
        self._keyring = keyring
        self._silent: set[str] = set()
        # By address: several threads ask, and one of them fetches.
        self._asking: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        # Read now, by one thread.
        distributions()

    def find(self, reference: Reference, platform: Platform) -> Base | None:
        """The base that an image is, for a platform; None for another image, or a CPU the archive lacks."""
        release, arch = release_of(reference), platform.debian
        if release is None or arch is None:
            return None
        places = self._places(release, arch)
        texts = [self._release_file(mirror, suite) for mirror, suite in places.pairs]
        first = texts[0]
        if first is None or arch.debian not in _field(first, "Architectures").split():
            return None
        present = [text for text in texts if text is not None]
        # An archive without updates, or without security updates, has none yet.
        pairs = [pair for pair, text in zip(places.pairs, texts, strict=True) if text is not None]
        places = Archives(
            places.mirror,
            places.security,
            tuple(suite for mirror, suite in pairs if suite in places.suites and mirror == places.mirror),
            places.security_suite if any(suite == places.security_suite for _, suite in pairs) else "",
        )
        epoch = max(
            int(email.utils.parsedate_to_datetime(_field(text, "Date")).timestamp()) for text in present
        )
        recipe = [file_digest(path) for path in sorted(_FILES.rglob("*")) if path.is_file()]
        state = (epoch, [digest(text) for text in present])
        key = digest(repr((release, release.facts, arch, places, *state, recipe)))[:32]
        return Base(release, arch, places, epoch, key)

    def cpus(self, reference: Reference, platform: Platform) -> tuple[str, ...]:
        """The CPUs that a base's archive has, by Debian's names; none for other images, or without answer."""
        release, arch = release_of(reference), platform.debian
        if release is None or arch is None:
            return ()
        mirror, suite = self._places(release, arch).pairs[0]
        names = _field(self._release_file(mirror, suite) or "", "Architectures").split()
        return tuple(name for name in names if name != "all")

    def _places(self, release: Release, arch: Arch) -> Archives:
        if release.distribution == "debian" and "debian" not in self._mirrors:
            self._mirrors["debian"] = host_mirror() or ""
        return archives(release, arch, self._mirrors.get(release.distribution, ""))

    def make(self, base: Base, group: Group, say: Callable[[str], None]) -> Path:
        """The folder with `rootfs.tar` and `packages.txt` of a base. Raises UserError."""
        target = self.folder / base.key
        if (target / "packages.txt").exists():
            return target
        require("mmdebstrap")
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".base-", dir=self.folder))
        try:
            self._build(base, scratch, group, say)
            shutil.rmtree(scratch / "files")
            scratch.chmod(0o755)
            keep_folder(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return target

    def _build(self, base: Base, scratch: Path, group: Group, say: Callable[[str], None]) -> None:
        lines: list[str] = []

        def hear(line: str) -> None:
            lines.append(line)
            del lines[:-40]
            if line.startswith("I: "):
                say(line[3:])

        with tempfile.TemporaryDirectory(prefix="skiff-keys-") as keys:
            # apt checks signatures as a user of its own, who sees no cache of root's.
            Path(keys).chmod(0o755)
            words, env = command(base, scratch, self.keyrings(base.release, Path(keys)))
            failed = group.stream(words, hear, env=env)
        if failed:
            shown = "\n".join(line[:200] for line in lines[-12:])
            name = f"{base.release.distribution}:{base.release.suite} for {base.arch.debian}"
            raise UserError(
                f"the base {name} cannot be made:\n{shell_form(words)}\n{shown}",
                hint=_remedy("\n".join(lines), base.release.whole),
            )

    def keyrings(self, release: Release, folder: Path) -> list[str]:
        """Files with the archive's keys; what has to be fetched is laid in ``folder``. Raises UserError."""
        whole = release.whole
        wanted = [*whole.keyrings, *(whole.old_keyrings if release.facts.old else ())]
        return [name if Path(name).exists() else self._fetched(whole, name, folder) for name in wanted]

    def _fetched(self, whole: Distribution, name: str, folder: Path) -> str:
        try:
            if self._keyring is not None:
                found = self._keyring(whole.keyring_package, name.lstrip("/"))
                return str(shutil.copy(found, str(folder)))
            reason = ""
        except UserError as error:
            reason = f": {error.message}"
        raise UserError(
            f"{name} is missing: packages of {whole.image} cannot be checked{reason}",
            hint=f"install {whole.keyring_package} (Debian 13 has it)",
        )

    def _release_file(self, mirror: str, suite: str) -> str | None:
        """What the archive says of a release, at most a day old; None if it has none, or is silent."""
        url = f"{mirror}/dists/{suite}/InRelease"
        with self._asking[url]:
            return self._ask(mirror, url)

    def _ask(self, mirror: str, url: str) -> str | None:
        file = self.releases / digest(url)
        if file.exists() and time.time() - file.stat().st_mtime < _RELEASE_AGE:
            return file.read_text() or None
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
                text = answer.read(1 << 20).decode(errors="replace")
        except urllib.error.HTTPError as error:
            if error.code not in (403, 404):
                return self._silence(mirror, str(error), file)
            text = ""
        except (OSError, HTTPException, ValueError) as error:
            return self._silence(mirror, _reason(error), file)
        if text and not (_field(text, "Date") and _field(text, "Architectures")):
            return self._silence(mirror, "what it has in place of InRelease is something else", file)
        write_atomic(file, text.encode())
        file.touch()
        return text or None

    def _silence(self, mirror: str, reason: str, file: Path) -> str | None:
        if mirror not in self._silent:
            self._silent.add(mirror)
            self._warn(f"{mirror} does not answer: {reason}")
        return (file.read_text() or None) if file.exists() else None


def command(base: Base, scratch: Path, keyrings: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """mmdebstrap's command line for a base, and its environment; what it needs is laid in ``scratch``."""
    release, whole, facts = base.release, base.release.whole, base.release.facts
    shutil.copytree(_FILES / "files", scratch / "files")
    name, text = sources(release, base.arch)
    (scratch / "files" / name).parent.mkdir(parents=True, exist_ok=True)
    (scratch / "files" / name).write_text(text)
    # Ubuntu's are slim too, all of them.
    slim = release.slim or release.distribution == "ubuntu"
    if slim:
        shutil.copy(_FILES / "slim.cfg", scratch / "files/etc/dpkg/dpkg.cfg.d/docker")
    if release.backports:
        line = f"deb http://deb.debian.org/debian {release.suite}-backports main\n"
        (scratch / "files/etc/apt/sources.list.d/backports.list").write_text(line)
    include = [*facts.merged, *(() if release.slim else facts.extra)]
    hooks = "no-merged-usr" if facts.split else "merged-usr" if facts.merged else ""
    words = [
        *("mmdebstrap", "--variant=minbase", f"--architectures={base.arch.debian}", "--format=tar"),
        # Whether this machine runs its programs was looked at before, without a further program.
        *("--skip=check/qemu", "--skip=output/dev", "--skip=check/empty", "--skip=cleanup/apt"),
        *(f"--keyring={keyring}" for keyring in keyrings),
        *((f"--include={','.join(include)}",) if include else ()),
        *((f"--hook-dir={_HOOKS / hooks}",) if hooks else ()),
        *((f"--setup-hook={_FILES / 'link-usr'}",) if facts.linked else ()),
        *(('--aptopt=Acquire::Check-Valid-Until "false"',) if release.date or facts.old else ()),
        *((f"--dpkgopt={_FILES / 'slim.cfg'}",) if slim else ()),
        f"--customize-hook={_FILES / 'finish'}",
        release.suite,
        str(scratch / "rootfs.tar"),
    ]
    words += [f"deb {mirror} {suite} {' '.join(whole.components)}" for mirror, suite in base.archives.pairs]
    env = {
        "SOURCE_DATE_EPOCH": str(base.epoch),
        "LC_ALL": "C.UTF-8",
        "SKIFF_BASE_FILES": str(scratch / "files"),
        "SKIFF_BASE_PACKAGES": str(scratch / "packages.txt"),
    }
    return words, env


def sources(release: Release, arch: Arch) -> tuple[str, str]:
    """Name and text of apt's list of archives in the image, as in the official one: never our mirror."""
    whole, facts = release.whole, release.facts
    dated = msgspec.structs.replace(release, date="")
    places = archives(dated, arch)
    components = " ".join(whole.components)
    # From bookworm and noble on, in the new form.
    lines = facts.version in ("8", "9", "10", "11", "20.04", "22.04")
    if lines:
        text = "".join(f"deb {mirror} {suite} {components}\n" for mirror, suite in places.pairs)
        return "etc/apt/sources.list", text
    key = Path(whole.keyrings[0]).name
    stanzas = [(places.mirror, " ".join(places.suites))]
    if places.security_suite:
        stanzas.append((places.security, places.security_suite))
    text = "\n".join(
        f"Types: deb\nURIs: {mirror}\nSuites: {suites}\nComponents: {components}\n"
        f"Signed-By: /usr/share/keyrings/{key}\n"
        for mirror, suites in stanzas
    )
    return f"etc/apt/sources.list.d/{release.distribution}.sources", text


def write_archive(base: Base, folder: Path, platform: Platform, tag: str, archive: Path) -> None:
    """A made base as an image that engines load, in the form of `docker save`."""
    rootfs = folder / "rootfs.tar"
    diff = file_digest(rootfs)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(base.epoch))
    config = {
        "architecture": platform.arch,
        "os": platform.os,
        **({"variant": platform.variant} if platform.variant else {}),
        "created": created,
        "config": {
            "Cmd": ["/bin/bash"] if base.release.distribution == "ubuntu" else ["bash"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
        "history": [{"created": created, "created_by": f"skiff: {base.release.suite} of packages"}],
    }
    packed = json.dumps(config, sort_keys=True).encode()
    name = f"{hashlib.sha256(packed).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(archive, "w") as tar:
        for path, data in ((name, packed), ("manifest.json", manifest)):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo("layer.tar")
        info.size = rootfs.stat().st_size
        with rootfs.open("rb") as file:
            tar.addfile(info, file)


def _remedy(said: str, whole: Distribution) -> str:
    """What to do about what mmdebstrap said."""
    if "No space left" in said:
        return "free some space and try again"
    if any(words in said for words in ("NO_PUBKEY", "BADSIG", "EXPKEYSIG", "is not signed")):
        return (
            f"it is not signed with a key of {whole.image.rpartition('/')[2]}: use another mirror (--mirror)"
        )
    if "is expired" in said:
        return "the mirror has not been updated for long: use another (--mirror)"
    if "Illegal instruction" in said:
        return "this machine's emulator is too old for these packages: a newer qemu-user, or --on root@device"
    return "check the network, or the mirror (--mirror)"


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _reason(error: Exception) -> str:
    """What went wrong on the way, without numbers of the C library."""
    inner = getattr(error, "reason", error)
    return getattr(inner, "strerror", None) or str(inner)
