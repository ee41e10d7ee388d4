"""Two images side by side: what grew and what shrank, by package or by file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from skiff.host import json
from skiff.host.errors import UserError
from skiff.host.files import at_home
from skiff.host.workspace import open_workspace
from skiff.image.budget import by_layer
from skiff.image.report import by_origin, kernel_modules, require_image
from skiff.image.shares import Row
from skiff.model.image import Artefact, Image, Manifest, PackageFact

# What the rows of a table stand for.
PACKAGES, FILES, MODULES, LAYERS = "packages", "files", "modules", "layers"
REST = "the same content, packed another way"


class Sizes(msgspec.Struct, frozen=True):
    """What `skiff size --json` prints of an image."""

    artefacts: tuple[Artefact, ...]
    # None in what `skiff build --json` prints.
    rows: tuple[Row, ...] | None = None
    by: str = ""
    packages: tuple[PackageFact, ...] = ()
    recipe_sha256: str = ""


class Change(msgspec.Struct, frozen=True):
    """One line of the comparison, in bytes of the image; ``note`` says what is new about it."""

    name: str
    before: int
    after: int
    note: str = ""

    @property
    def grown(self) -> int:
        """Bytes that it takes more than before."""
        return self.after - self.before


def sizes(image: Image, manifest: Manifest, by: str) -> Sizes:
    """An image's sizes, by packages, files, kernel modules or layers."""
    if by == LAYERS:
        rows = by_layer(manifest, image.artefacts)
    else:
        rows = kernel_modules(manifest) if by == MODULES else by_origin(manifest, single=by == FILES)
    return Sizes(image.artefacts, tuple(rows), by, manifest.packages, image.recipe_sha256)


def other_sizes(other: str, by: str) -> Sizes:
    """The sizes of another image: of a workspace, a folder, or a file with a verb's JSON.

    Raises UserError when there are none, or only of another kind.
    """
    path = at_home(other)
    if path.is_file():
        return _saved(path, by)
    if path.is_dir():
        folder = path if (path / "image.json").exists() else path / "image"
    else:
        folder = open_workspace(other).image
    return sizes(*require_image(folder), by)


def _saved(path: Path, by: str) -> Sizes:
    try:
        saved = json.decode(path.read_bytes(), Sizes)
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(
            f"{path}: not what `skiff size --json` or `skiff build --json` prints: {error}",
            hint="name a workspace, the folder of an image, or such a file",
        ) from error
    again = f"keep one with `skiff size {'' if by == PACKAGES else f'--{by} '}--json`"
    if saved.rows is not None:
        if saved.by != by:
            raise UserError(f"{path}: it lists {saved.by or 'something else'}, not {by}", hint=again)
        return saved
    # `skiff build --json` names the image, but not what is in it.
    image, manifest = require_image(saved.artefacts[0].path.parent if saved.artefacts else path.parent)
    if image.recipe_sha256 != saved.recipe_sha256:
        raise UserError(f"{path}: another image was built since where this one lay", hint=again)
    return sizes(image, manifest, by)


def compare(before: Sizes, after: Sizes) -> list[Change]:
    """What differs, the most grown first. All changes together are the difference of both images.

    Packages that are unpacked as large as before are not told one by one: their share of a part moves
    with what is packed beside them.
    """
    changes = [*_artefacts(before, after), *_rows(before, after)]
    if after.by != MODULES:
        grown = total(after) - total(before) - sum(change.grown for change in changes)
        same = _unchanged(before, after)
        changes.append(Change(REST, same, same + grown))
    return sorted((item for item in changes if item.grown), key=lambda item: (-item.grown, item.name))


def total(side: Sizes) -> int:
    """Bytes of all that was compared."""
    if side.by == MODULES:
        return sum(row.compressed for row in side.rows or ())
    return sum(item.bytes for item in side.artefacts)


def _artefacts(before: Sizes, after: Sizes) -> Iterator[Change]:
    """Files of the image beside those that the rows are of."""
    if after.by == MODULES:
        return
    old, new = ({item.name: item.bytes for item in side.artefacts} for side in (before, after))
    for name in {**old, **new}:
        if name != "initramfs" and not (name == "kernel" and after.by == LAYERS):
            yield Change(name, old.get(name, 0), new.get(name, 0), _note(name in old, name in new))


def _rows(before: Sizes, after: Sizes) -> Iterator[Change]:
    old, new = _by_name(before.rows), _by_name(after.rows)
    was, now = ({item.name: item.version for item in side.packages} for side in (before, after))
    for name in {**old, **new}:
        a, b = old.get(name), new.get(name)
        if a and b and a.bytes == b.bytes:
            continue
        note = _note(a is not None, b is not None)
        if a and b and name in was and name in now and was[name] != now[name]:
            note = f"{was[name]} → {now[name]}"
        yield Change(name, a.compressed if a else 0, b.compressed if b else 0, note)


def _unchanged(before: Sizes, after: Sizes) -> int:
    new = _by_name(after.rows)
    return sum(
        row.compressed for row in before.rows or () if row.name in new and new[row.name].bytes == row.bytes
    )


def _by_name(rows: Sequence[Row] | None) -> dict[str, Row]:
    return {row.name: row for row in rows or ()}


def _note(before: bool, after: bool) -> str:
    return "" if before and after else "new" if after else "gone"
