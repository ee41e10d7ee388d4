"""Raw pieces of bootloaders: found, checked and cut to what is written to the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skiff.host.download import download
from skiff.host.errors import UserError
from skiff.host.files import digest, write_atomic
from skiff.model.layer import RawPiece
from skiff.model.recipe import Recipe


def find_pieces(recipe: Recipe, cache: Path, notice: Callable[[str], None]) -> dict[str, Path]:
    """Files with the very bytes of each raw piece that could be had, by name.

    An optional one that cannot be had is left out, with one line to ``notice``. Raises UserError for others,
    and always for a wrong checksum.
    """
    found = {}
    for piece in recipe.raw:
        try:
            source = _source(recipe, piece, cache)
        except UserError as error:
            if not piece.optional or "wrong checksum" in error.message:
                raise
            notice(f"without {piece.name}: {error.message} ({error.hint})")
            continue
        found[piece.name] = _cut(piece, source, cache)
    return found


def _source(recipe: Recipe, piece: RawPiece, cache: Path) -> Path:
    layer = recipe.origins.get(f"raw[{piece.name}]", "?")
    if piece.file:
        folder = next((ref.path for ref in recipe.layers if ref.name == layer), Path())
        path = folder / piece.file
        if not path.is_file():
            raise UserError(f"raw piece {piece.name} (layer {layer}): no file {path}", hint="put it there")
        return path
    if not (piece.url and piece.sha256):
        raise UserError(
            f"raw piece {piece.name} (layer {layer}): neither file nor url with sha256",
            hint="name one in [[disk.raw]]",
        )
    return download(piece.url, piece.sha256, cache)


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
