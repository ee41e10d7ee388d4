"""Raw pieces of bootloaders: found, checked and cut to what is written to the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from skiff.host.download import download
from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest, write_atomic
from skiff.model.image import Image
from skiff.model.layer import BootFile, RawPiece, UbootInput
from skiff.model.recipe import Recipe


class _Missing(UserError):
    """What cannot be had here and now. Every other mistake stops the work."""


def find_pieces(
    recipe: Recipe, cache: Path, notice: Callable[[str], None], blobs: Path, uboot: Mapping[str, Path] | None
) -> dict[str, Path]:
    """Files with the very bytes of each raw piece that could be had, by name.

    ``blobs`` is the folder of the user's own files, ``uboot`` what compiling U-Boot gave; None when it could
    not be compiled, and that was told. Optional pieces that cannot be had are left out, with one line to
    ``notice``. Raises UserError for others, and always for a wrong checksum.
    """
    found = {}
    missing: dict[str, _Missing] = {}
    for piece in recipe.raw:
        try:
            source = _source(recipe, piece, cache, blobs, uboot)
        except _Missing as error:
            if not piece.optional:
                raise
            missing[piece.name] = error
            continue
        if source is not None:
            found[piece.name] = _cut(piece, source, cache)
    if missing:
        # A piece may be cut from the same file as another, and fail for the same reason.
        reasons = dict.fromkeys(error.message for error in missing.values())
        hints = dict.fromkeys(error.hint for error in missing.values())
        notice(
            f"the board does not start from this image yet, without {', '.join(missing)}: "
            f"{'; '.join(reasons)} ({'; '.join(hints)})"
        )
    return found


def wants_uboot(recipe: Recipe, blobs: Path) -> bool:
    """Whether U-Boot has to be compiled: for a piece, or for the user to make one that is not there."""
    if not recipe.uboot_defconfig:
        return False
    if any(file.uboot for file in recipe.boot_files):
        return True
    missing = [piece for piece in recipe.raw if not (piece.blob and (blobs / piece.blob).is_file())]
    return any(piece.uboot for piece in missing) or any(not (piece.file or piece.url) for piece in missing)


def find_files(
    recipe: Recipe, image: Image, uboot: Mapping[str, Path] | None, from_package: Callable[[BootFile], Path]
) -> dict[str, Path]:
    """Further files of the boot partition, by their path there. Raises UserError for what is not there."""
    found = {}
    for file in recipe.boot_files:
        layer = recipe.origins.get(f"boot_files[{file.name}]", "?")
        if file.file:
            path = next((ref.path for ref in recipe.layers if ref.name == layer), Path()) / file.file
        elif file.package:
            path = from_package(file)
        elif file.uboot:
            path = (uboot or {}).get(file.uboot, Path(file.uboot))
        else:
            there = {item.name: item.path for item in image.artefacts}
            path = there.get(f"dtbs/{file.dtb}", Path(file.dtb))
        if not path.is_file():
            raise UserError(
                f"disk.files: {file.name} (layer {layer}): no file {path}",
                hint="it needs one of file, package with path, uboot (of uboot.files), dtb (of disk.dtbs)",
            )
        found[file.name] = path
    return found


def find_input(item: UbootInput, cache: Path, blobs: Path, notice: Callable[[str], None]) -> Path | None:
    """A file of the user's or the vendor's that compiling U-Boot needs.

    None, with one line to ``notice``, when it cannot be had. Raises UserError for a wrong checksum.
    """
    own = blobs / item.blob
    try:
        if item.blob and own.is_file():
            return _checked(own, item.sha256)
        if item.url:
            return _fetched(item.url, item.sha256, cache, own if item.blob else None)
        raise _Missing(f"{own} is not there", hint="the layer's README.md tells where to get it")
    except _Missing as error:
        notice(
            f"the board does not start from this image yet: U-Boot needs {item.name} to be compiled: "
            f"{error.message} ({error.hint})"
        )
        return None


def _source(
    recipe: Recipe, piece: RawPiece, cache: Path, blobs: Path, uboot: Mapping[str, Path] | None
) -> Path | None:
    layer = recipe.origins.get(f"raw[{piece.name}]", "?")
    own = blobs / piece.blob
    if piece.blob and own.is_file():
        return _checked(own, piece.sha256)
    if piece.file:
        folder = next((ref.path for ref in recipe.layers if ref.name == layer), Path())
        path = folder / piece.file
        if not path.is_file():
            raise _Missing(f"raw piece {piece.name} (layer {layer}): no file {path}", hint="put it there")
        return path
    if piece.uboot:
        return _compiled(piece, layer, uboot)
    if piece.url and piece.sha256:
        return _fetched(piece.url, piece.sha256, cache, own if piece.blob else None)
    if piece.blob:
        raise _Missing(
            f"{own} is not there", hint=f"README.md of layer {layer} tells where to get it, or how to make it"
        )
    raise UserError(
        f"raw piece {piece.name} (layer {layer}): neither file, uboot, blob, nor url with sha256",
        hint="name one in [[disk.raw]]",
    )


def _compiled(piece: RawPiece, layer: str, uboot: Mapping[str, Path] | None) -> Path | None:
    if uboot is None:
        return None
    if piece.uboot not in uboot:
        raise UserError(
            f"raw piece {piece.name} (layer {layer}): U-Boot gives no file {piece.uboot}",
            hint="[uboot] has to name a defconfig, and this file among its files",
        )
    return uboot[piece.uboot]


def _checked(own: Path, sha256: str) -> Path:
    if sha256 and (actual := file_digest(own)) != sha256:
        raise UserError(
            f"{own}: wrong checksum: {actual}, not {sha256}",
            hint="it is another file than the layer means: take it away, or put the right one there",
        )
    return own


def _fetched(url: str, sha256: str, cache: Path, own: Path | None) -> Path:
    try:
        return download(url, sha256, cache)
    except UserError as error:
        if "wrong checksum" in error.message:
            raise
        # Where the user's own file goes is easier to tell than the cache's name for it.
        hint = f"check the network, or put the file at {own}" if own else error.hint
        raise _Missing(error.message, hint=hint) from error


def _cut(piece: RawPiece, source: Path, cache: Path) -> Path:
    data = source.read_bytes()[piece.skip :]
    if piece.length:
        data = data[: piece.length]
    if not data:
        raise UserError(
            f"raw piece {piece.name}: nothing is left of {source} after {piece.skip} bytes",
            hint="another `skip`, or another file",
        )
    cut = cache / "pieces" / digest(data)
    write_atomic(cut, data)
    return cut
