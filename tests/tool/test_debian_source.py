"""Source packages against stand-ins for apt; unpacked by the real dpkg-source."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from skiff.builders.debian import archive
from skiff.builders.debian.source import Sources, source_key
from skiff.host.errors import UserError
from skiff.model.packages import Package, Source

MIRROR = "http://mirror.example/debian"
PATCH = """\
--- a/code
+++ b/code
@@ -1 +1 @@
-upstream
+Debian's
"""


def packed(files: dict[str, str], mode: Literal["w:gz", "w:xz"]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


FILES = {
    "thing_1.0.orig.tar.gz": packed({"thing-1.0/code": "upstream\n"}, "w:gz"),
    "thing_1.0-2.debian.tar.xz": packed(
        {
            "debian/changelog": "thing (1.0-2) trixie; urgency=low\n\n  * X.\n\n -- A <a@b.example>  "
            "Fri, 20 Nov 2026 00:00:00 +0000\n",
            "debian/control": "Source: thing\nMaintainer: A <a@b.example>\n",
            "debian/source/format": "3.0 (quilt)\n",
            "debian/patches/series": "one.patch\n",
            "debian/patches/one.patch": PATCH,
        },
        "w:xz",
    ),
    "thing_1.0.orig.tar.gz.asc": b"a signature",
    "thing_1.0-2.dsc": b"not there on every mirror",
}


def paragraph(version: str, files: dict[str, bytes]) -> str:
    def lines(kind: str) -> str:
        sums = ((hashlib.new(kind, data).hexdigest(), len(data), name) for name, data in files.items())
        return "".join(f"\n {total} {size} {name}" for total, size, name in sums)

    return (
        f"Package: thing\nBinary: thing-bin\nVersion: {version}\nMaintainer: A <a@b.example>\n"
        f"Architecture: any\nFormat: 3.0 (quilt)\nFiles:{lines('md5')}\nChecksums-Sha256:{lines('sha256')}\n"
        "Package-List: \n thing-bin deb admin optional arch=any\n"
        "Directory: pool/main/t/thing\nPriority: source\nSection: admin\n"
    )


class Fake(Sources):
    """What apt would say, and the mirror's files."""

    calls: list[str]
    files: dict[str, bytes]

    def _apt(self, argv: Sequence[str], provided: Sequence[str] = ()) -> str:
        self.calls.append(argv[1])
        self._configure(provided)
        if argv[1] == "update":
            for suite in ("trixie", "trixie-updates", "trixie-security"):
                file = self.state / "lists" / f"mirror.example_debian_dists_{suite}_InRelease"
                file.write_text(f"-----BEGIN PGP SIGNED MESSAGE-----\n\nCodename: {suite}\n")
        if argv[1] == "source":
            base = f"{MIRROR}/pool/main/t/thing"
            return "".join(
                f"'{base}/{name}' {name} {len(data)} SHA256:x\n" for name, data in self.files.items()
            )
        if argv[1] == "showsrc":
            old = paragraph("0.9-1", {"thing_0.9-1.dsc": b"old"})
            return f"{old}\n{paragraph('1.0-2', self.files)}\n"
        return ""

    def fetch(self, packages: Sequence[Package], detail: object) -> dict[str, Path]:
        self.debs.mkdir(parents=True, exist_ok=True)
        for item in packages:
            (self.debs / f"{item.sha256}.deb").write_bytes(self.files[item.name])
        return {item.sha256: self.debs / f"{item.sha256}.deb" for item in packages}


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    monkeypatch.setattr(archive, "KEYRING", keyring)
    made = Fake(tmp_path / "cache", MIRROR)
    made.calls, made.files = [], dict(FILES)
    return made


def found(sources: Fake, tmp_path: Path) -> Source:
    return sources.find("thing", tmp_path / "cache", warn=pytest.fail)


def test_the_newest_version_with_its_checksums(sources: Fake, tmp_path: Path) -> None:
    source = found(sources, tmp_path)
    assert source.version == "1.0-2"
    assert [item.name for item in source.files] == ["thing_1.0.orig.tar.gz", "thing_1.0-2.debian.tar.xz"]
    first = source.files[0]
    assert first.sha256 == hashlib.sha256(FILES[first.name]).hexdigest()
    assert (first.base, first.path) == ("main", f"pool/main/t/thing/{first.name}")


def test_only_lists_of_sources_are_asked_for(sources: Fake) -> None:
    sources._configure(())
    text = (sources.state / "debian.sources").read_text()
    assert "Types: deb-src\n" in text and "Signed-By:" in text
    assert "source" in sources.state.name


def test_the_answer_of_today_is_not_asked_for_twice(sources: Fake, tmp_path: Path) -> None:
    first = found(sources, tmp_path)
    before = list(sources.calls)
    assert found(sources, tmp_path) == first and sources.calls == before
    sources.find("thing", tmp_path / "cache", warn=pytest.fail, update=True)
    assert sources.calls == 2 * before


def test_it_is_unpacked_with_debian_s_patches_and_kept(sources: Fake, tmp_path: Path) -> None:
    source = found(sources, tmp_path)
    folder = sources.unpack(source, tmp_path / "cache", lambda _: None)
    assert (folder / "code").read_text() == "Debian's\n"
    assert (folder / "debian/changelog").is_file()
    # From the cache: the mirror may be gone.
    sources.files.clear()
    assert sources.unpack(source, tmp_path / "cache", lambda _: None) == folder
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_source_that_cannot_be_unpacked_leaves_nothing(sources: Fake, tmp_path: Path) -> None:
    source = found(sources, tmp_path)
    sources.files["thing_1.0-2.debian.tar.xz"] = b"not an archive"
    with pytest.raises(UserError, match="dpkg-source"):
        sources.unpack(source, tmp_path / "cache", lambda _: None)
    assert not (tmp_path / "cache/sources" / source_key(source)).exists()


def test_lists_without_checksums_are_refused(sources: Fake, tmp_path: Path) -> None:
    sources.files = {"other_1.0-2.tar.xz": b"x"}
    with pytest.raises(UserError, match="checksums of the source package thing"):
        found(sources, tmp_path)
