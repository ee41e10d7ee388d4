"""Ubuntu's bases, from an archive of Ubuntu's shape: no real one is reached where these tests run."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import lzma
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from skiff.host.errors import UserError
from skiff.host.mirror import DEFAULT_MIRROR, host_mirror
from skiff.host.run import Group, run
from skiff.model.arch import Arch
from skiff.model.port import Platform
from skiff.port.base import Bases
from skiff.port.distributions import distributions
from skiff.port.reference import parse_reference
from tests.vm.mirrors import served

CPU = Arch.host().debian
COMPONENTS = ("main", "universe", "restricted", "multiverse")


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of gpg with a key of this test, whose public half is `keys.gpg`."""
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    env = {"GNUPGHOME": str(home)}
    gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    run([*gpg, "--quick-generate-key", "Archive of the tests", "ed25519", "sign"], env=env)
    (tmp_path / "keys.gpg").write_bytes(run(["gpg", "--export"], env=env).stdout)
    yield env
    run(["gpgconf", "--kill", "gpg-agent"], env=env)


def add_suite(folder: Path, packages: bytes, keys: dict[str, str]) -> None:
    """A signed suite with these packages in `main`, and nothing in the other components."""
    sums = []
    for component in COMPONENTS:
        content = packages if component == "main" else b""
        name = f"{component}/binary-{CPU}/Packages.gz"
        packed = gzip.compress(content, 1)
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(packed)
        for path, data in ((name.removesuffix(".gz"), content), (name, packed)):
            sums.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path}\n")
    now = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime())
    (folder / "Release").write_text(
        f"Origin: Ubuntu\nSuite: {folder.name}\nCodename: noble\nDate: {now}\nArchitectures: {CPU}\n"
        f"Components: {' '.join(COMPONENTS)}\nSHA256:\n" + "".join(sums)
    )
    run(["gpg", "--clearsign", "--output", folder / "InRelease", folder / "Release"], env=keys)


@pytest.fixture
def archive(tmp_path: Path, keys: dict[str, str]) -> Iterator[str]:
    """Address of the archive: packages of Debian 13, under the suites and components of Ubuntu 24.04."""
    upstream = host_mirror() or DEFAULT_MIRROR
    lists = f"{upstream}/dists/trixie/main/binary-{CPU}/Packages.xz"
    with urllib.request.urlopen(lists, timeout=120) as answer:
        packages = lzma.decompress(answer.read())
    for suite in ("noble", "noble-updates", "noble-security"):
        add_suite(tmp_path / "dists" / suite, packages if suite == "noble" else b"", keys)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith("/ubuntu/pool/"):
                super().do_GET()
                return
            self.send_response(302)
            self.send_header("Location", upstream + self.path.removeprefix("/ubuntu"))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def translate_path(self, path: str) -> str:
            return str(tmp_path) + path.removeprefix("/ubuntu")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with served(Handler) as port:
        yield f"http://127.0.0.1:{port}/ubuntu"


def test_an_ubuntu_base_is_made_of_packages(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This machine may have Ubuntu's real keys.
    lacking = msgspec.structs.replace(
        distributions()["ubuntu"], keyrings=("/nowhere/ubuntu-archive-keyring.gpg",)
    )
    monkeypatch.setitem(distributions(), "ubuntu", lacking)
    (tmp_path / "others.gpg").write_bytes(Path("/usr/share/keyrings/debian-archive-keyring.gpg").read_bytes())
    keyring = tmp_path / "others.gpg"
    bases = Bases(tmp_path / "cache", pytest.fail, {"ubuntu": archive}, lambda package, path: keyring)
    base = bases.find(parse_reference("ubuntu:24.04"), Platform.of(Arch.host()))
    assert base is not None
    with pytest.raises(UserError, match="the base ubuntu:noble") as error:
        bases.make(base, Group(), lambda _: None)
    assert "not signed with a key of ubuntu" in error.value.hint
    keyring = tmp_path / "keys.gpg"
    made = bases.make(base, Group(), lambda _: None)
    names = {
        line.split("\t")[0].partition(":")[0] for line in (made / "packages.txt").read_text().splitlines()
    }
    assert {"apt", "bash", "dpkg", "procps", "sensible-utils", "ubuntu-keyring"} <= names
    assert "systemd" not in names
    with tarfile.open(made / "rootfs.tar") as tar:
        file = tar.extractfile("./etc/apt/sources.list.d/ubuntu.sources")
        assert file is not None
        sources = file.read().decode()
        # The image asks Ubuntu's own, however it was made.
        assert ".ubuntu.com/ubuntu" in sources and archive not in sources
        assert tar.getmember("./bin").issym()
