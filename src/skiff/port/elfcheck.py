"""Proof that an image is for its CPU: looks at the head of every ELF file in what the engine saved."""

from __future__ import annotations

import fnmatch
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from skiff.host.elf import HEAD, MAGIC, RELOCATABLE, ElfHead, read_head
from skiff.host.errors import UserError
from skiff.model.arch import Arch

# Samples for tests of tools that read such files; no program runs them.
SAMPLES = "*/testdata/*"
_SHOWN = 10


class Proof(msgspec.Struct, frozen=True):
    """What was found: how many ELF files, and those for another CPU, as path and CPU."""

    files: int
    wrong: tuple[tuple[str, str], ...] = ()

    def require(self, what: str, arch: Arch | None) -> None:
        """Raise UserError that names the files for another CPU, if there are any."""
        if not self.wrong:
            return
        shown = [f"{path} ({cpu})" for path, cpu in self.wrong[:_SHOWN]]
        if len(self.wrong) > _SHOWN:
            shown.append(f"and {len(self.wrong) - _SHOWN} more")
        raise UserError(
            f"{what} has {len(self.wrong)} of its {self.files} programs and libraries for another CPU than "
            f"{arch.debian if arch else 'its own'}:\n  " + "\n  ".join(shown),
            hint="`skiff port --plan` shows where the Dockerfile brings them in; "
            "for those that are meant to be so: --allow-foreign PATH",
        )


def check(archive: Path, arch: Arch | None, allowed: Sequence[str] = ()) -> Proof:
    """Look through an image saved by the engine (`docker save`). ``allowed`` are patterns of paths.

    Object files are left out: kernel modules and programs for the kernel's own machine are among them.
    Nothing is wrong on a CPU that Debian has no name for. Raises UserError when the file is no image.
    """
    try:
        with tarfile.open(archive) as image:
            (entry,) = msgspec.json.decode(_member(image, "manifest.json").read(), type=list[_Saved])
            return _judge((_member(image, layer) for layer in entry.layers), arch, allowed)
    except (tarfile.TarError, KeyError, ValueError, msgspec.DecodeError) as error:
        raise UserError(f"{archive}: not an image as the engine saves it: {error}") from error


def check_layout(layout: Path, arch: Arch | None, allowed: Sequence[str] = ()) -> Proof:
    """Look through the one image of an OCI layout; as `check`."""

    def blob(name: str) -> Path:
        return layout / "blobs" / Path(*name.split(":"))

    try:
        index = msgspec.json.decode((layout / "index.json").read_bytes(), type=_Named)
        manifest = msgspec.json.decode(blob(index.manifests[0].digest).read_bytes(), type=_Named)
        return _judge((blob(layer.digest).open("rb") for layer in manifest.layers), arch, allowed)
    except (tarfile.TarError, OSError, IndexError, ValueError, msgspec.DecodeError) as error:
        raise UserError(f"{layout}: not an OCI layout with one image: {error}") from error


def _judge(layers: Iterable[IO[bytes]], arch: Arch | None, allowed: Sequence[str]) -> Proof:
    heads = {path: head for path, head in _merged(layers).items() if head.type != RELOCATABLE}
    if arch is None:
        return Proof(len(heads))
    patterns = (SAMPLES, *allowed)
    wrong = [
        (f"/{path}", head.describe())
        for path, head in sorted(heads.items())
        if not head.runs_on(arch) and not any(fnmatch.fnmatch(f"/{path}", pattern) for pattern in patterns)
    ]
    return Proof(len(heads), tuple(wrong))


def _merged(layers: Iterable[IO[bytes]]) -> dict[str, ElfHead]:
    """The ELF files of an image, as its layers laid over each other show them."""
    files: dict[str, ElfHead] = {}
    for stream in layers:
        with stream, tarfile.open(fileobj=stream) as tar:
            _lay(files, _entries(tar))
    return files


def _member(image: tarfile.TarFile, name: str) -> IO[bytes]:
    found = image.extractfile(name)
    if found is None:
        raise ValueError(f"{name} is no file")
    return found


class _Digest(msgspec.Struct, frozen=True):
    digest: str


class _Named(msgspec.Struct, frozen=True):
    """An index or a manifest, as far as it is read here."""

    manifests: tuple[_Digest, ...] = ()
    layers: tuple[_Digest, ...] = ()


class _Saved(msgspec.Struct, frozen=True, rename="pascal"):
    layers: tuple[str, ...]


def _entries(tar: tarfile.TarFile) -> dict[str, ElfHead | None]:
    """Every path of a layer; None for what is no ELF file."""
    seen: dict[str, ElfHead | None] = {}
    for member in tar:
        head = None
        if member.isreg() and member.size >= HEAD:
            stream = tar.extractfile(member)
            assert stream is not None
            start = stream.read(HEAD)
            head = read_head(start) if start.startswith(MAGIC) else None
        elif member.islnk():
            head = seen.get(_plain(member.linkname))
        seen[_plain(member.name)] = head
    return seen


def _plain(name: str) -> str:
    return name.removeprefix("./").strip("/")


def _lay(files: dict[str, ElfHead], layer: dict[str, ElfHead | None]) -> None:
    """Lay a layer over lower ones. Its whiteouts take away what they brought, nothing of its own."""
    for path in layer:
        folder, _, name = path.rpartition("/")
        inside = f"{folder}/" if folder else ""
        if name == ".wh..wh..opq":
            _remove(files, inside)
        elif name.startswith(".wh."):
            files.pop(inside + name[4:], None)
            _remove(files, f"{inside}{name[4:]}/")
    for path, head in layer.items():
        files.pop(path, None)
        if head is not None:
            files[path] = head


def _remove(files: dict[str, ElfHead], below: str) -> None:
    for path in [one for one in files if one.startswith(below)]:
        del files[path]
