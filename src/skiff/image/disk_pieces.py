"""Raw pieces of bootloaders: found, checked and cut to what is written to the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from skiff.host.download import download
from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest, write_atomic
from skiff.model.layer import RawPiece
from skiff.model.recipe import Recipe


class _Missing(UserError):
    """A piece that cannot be had here and now; every other mistake stops the work."""


def find_pieces(
    recipe: Recipe, cache: Path, notice: Callable[[str], None], blobs: Path, uboot: Mapping[str, Path]
) -> dict[str, Path]:
    """Files with the very bytes of each raw piece that could be had, by name.

    ``blobs`` is the folder of the user's own files, ``uboot`` what compiling U-Boot gave. An optional piece
    that cannot be had is left out, with one line to ``notice`` for its source. Raises UserError for others,
    and always for a wrong checksum.
    """
    found = {}
    told = set()
    for piece in recipe.raw:
        try:
            source = _source(recipe, piece, cache, blobs, uboot)
        except _Missing as error:
            if not piece.optional:
                raise
            # Several pieces may be cut from one source: one line is enough.
            line = f"{error.message} ({error.hint})"
            if (of := piece.blob or line) not in told:
                notice(f"without {piece.name}, so the board does not start from it: {line}")
            told.add(of)
            continue
        found[piece.name] = _cut(piece, source, cache)
    return found


def wants_uboot(recipe: Recipe, blobs: Path) -> bool:
    """Whether U-Boot has to be compiled: for a piece, or for the user to make one that is not there."""
    if not recipe.uboot_defconfig:
        return False
    missing = [piece for piece in recipe.raw if not (piece.blob and (blobs / piece.blob).is_file())]
    return any(piece.uboot for piece in missing) or any(not (piece.file or piece.url) for piece in missing)


def _source(recipe: Recipe, piece: RawPiece, cache: Path, blobs: Path, uboot: Mapping[str, Path]) -> Path:
    layer = recipe.origins.get(f"raw[{piece.name}]", "?")
    own = blobs / piece.blob
    if piece.blob and own.is_file():
        return _checked(own, piece)
    if piece.file:
        folder = next((ref.path for ref in recipe.layers if ref.name == layer), Path())
        path = folder / piece.file
        if not path.is_file():
            raise _Missing(f"raw piece {piece.name} (layer {layer}): no file {path}", hint="put it there")
        return path
    if piece.uboot:
        if piece.uboot not in uboot:
            raise UserError(
                f"raw piece {piece.name} (layer {layer}): U-Boot gives no file {piece.uboot}",
                hint="[uboot] of the layer has to name a defconfig that makes it",
            )
        return uboot[piece.uboot]
    if piece.url and piece.sha256:
        return _fetched(piece, cache, own if piece.blob else None)
    if piece.blob:
        raise _Missing(
            f"{own} is not there", hint=f"README.md of layer {layer} tells where to get it, or how to make it"
        )
    raise UserError(
        f"raw piece {piece.name} (layer {layer}): neither file, uboot, blob, nor url with sha256",
        hint="name one in [[disk.raw]]",
    )


def _checked(own: Path, piece: RawPiece) -> Path:
    if piece.sha256 and (actual := file_digest(own)) != piece.sha256:
        raise UserError(
            f"{own}: wrong checksum: {actual}, not {piece.sha256}",
            hint="it is another file than the layer means: take it away, or put the right one there",
        )
    return own


def _fetched(piece: RawPiece, cache: Path, own: Path | None) -> Path:
    try:
        return download(piece.url, piece.sha256, cache)
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
