"""Source packages: found in the archive's signed lists, fetched by checksum, unpacked with their patches."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from skiff.builders.debian.archive import Archive, Progress, of_today
from skiff.host import json
from skiff.host.errors import UserError
from skiff.host.files import digest, keep_folder, write_atomic
from skiff.host.lock import waiting
from skiff.host.run import CommandError, require, run
from skiff.model.arch import Arch
from skiff.model.packages import Package, Source

# Fields of a list's paragraph that are not those of a .dsc file.
_LIST_ONLY = ("Package", "Directory", "Priority", "Section", "Package-List")
_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) ")


class Sources(Archive):
    """The archive's source packages."""

    types = "deb-src"

    def __init__(self, cache: Path, mirror: str | None = None) -> None:
        # Their lists are the same for every CPU.
        super().__init__(Arch.AMD64, cache, mirror)

    def find(self, name: str, cache: Path, *, warn: Progress, update: bool = False) -> Source:
        """The newest version of a source package.

        The answer counts for a day, or not at all when ``update``. Raises UserError when there is none;
        without network, lists that were fetched before are used, with a warning.
        """
        require("dpkg-source")
        file = cache / "sources" / f"{name}-{digest(self.mirror)[:12]}.json"
        if not update and (known := of_today(file, Source)) is not None:
            return known
        try:
            self.update(force=update, warn=warn)
            with waiting(self._lock):
                listing = self._apt(["apt-get", "source", "--print-uris", "-qq", "--only-source", name])
                paragraphs = self._apt(["apt-cache", "showsrc", "--only-source", name])
        except CommandError as error:
            raise UserError(
                f"Debian has no source package {name} in the lists of {self.mirror}:\n{error.output.strip()}",
                hint="use another mirror (--mirror URL)",
            ) from error
        source = self._read(name, listing, paragraphs)
        write_atomic(file, json.encode(source))
        file.touch()
        return source

    def _read(self, name: str, listing: str, paragraphs: str) -> Source:
        uris = {found["file"]: found for line in listing.splitlines() if (found := _URI.match(line))}
        main = next((file for file in uris if file.endswith(".dsc")), "")
        for paragraph in paragraphs.split("\n\n"):
            # Checksum, size and name of each file.
            sums = re.findall(r"^ ([0-9a-f]{64}) (\d+) (\S+)$", paragraph, re.MULTILINE)
            if main and any(file == main for _, _, file in sums):
                break
        else:
            raise UserError(
                f"the lists of {self.mirror} do not tell the checksums of the source package {name}"
            )
        version = re.search(r"^Version: (\S+)$", paragraph, re.MULTILINE)
        assert version is not None
        files = []
        for sha256, size, file in sums:
            # Signatures of upstream and the .dsc: the list itself is signed, and has all that stands in them.
            if file.endswith((".dsc", ".asc")):
                continue
            base, path = self._place(uris[file]["uri"])
            files.append(Package(file, version[1], "source", sha256, int(size), base, path))
        return Source(name, version[1], paragraph.strip() + "\n", tuple(files))

    def unpack(self, source: Source, cache: Path, detail: Progress) -> Path:
        """Folder with the source text, Debian's patches applied; kept in the cache. Raises UserError."""
        target = cache / "sources" / source_key(source)
        if target.exists():
            return target
        detail("fetch the source")
        paths = self.fetch(source.files, detail)
        detail("unpack the source")
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".source-", dir=target.parent))
        try:
            for item in source.files:
                (scratch / item.name).symlink_to(paths[item.sha256])
            dsc = scratch / "source.dsc"
            dsc.write_text(_dsc(source.paragraph))
            # All files were checked when they were fetched; the .dsc is ours, and has no signature.
            run(["dpkg-source", "-q", "--no-check", "-x", dsc, scratch / "tree"])
            keep_folder(scratch / "tree", target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return target


def source_key(source: Source) -> str:
    """The same for the same bytes."""
    return digest("\n".join(item.sha256 for item in source.files))


def _dsc(paragraph: str) -> str:
    """The .dsc file that a list's paragraph was made from, without signatures."""
    fields = re.findall(r"^([\w-]+):(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
    name = next(value for key, value in fields if key == "Package")
    lines = [f"Source:{name}"]
    for key, value in fields:
        if key in _LIST_ONLY:
            continue
        kept = [line for line in value.split("\n") if not line.endswith((".dsc", ".asc"))]
        lines.append(f"{key}:" + "\n".join(kept))
    return "\n".join(lines) + "\n"
