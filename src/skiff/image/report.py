"""An image's manifest as tables: sizes by origin, and the bill of materials."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import quote

import msgspec

from skiff.host.errors import UserError
from skiff.image.assemble import load, load_manifest
from skiff.image.shares import Row, ratios, summed
from skiff.model.image import Image, Manifest, PackageFact


def require_image(folder: Path) -> tuple[Image, Manifest]:
    """Image and manifest of a folder. Raises UserError when nothing was built, or it cannot be read."""
    image = load(folder)
    if image is None:
        raise UserError(f"{folder}: no image there", hint="build one with `skiff build`")
    try:
        return image, load_manifest(folder)
    except (FileNotFoundError, msgspec.DecodeError) as error:
        raise UserError(
            f"{folder / 'manifest.json'}: cannot be read: {error}",
            hint="build the image again with `skiff build`; another version of Skiff may have written it",
        ) from error


def by_origin(manifest: Manifest, *, single: bool = False) -> list[Row]:
    """Sizes by package and layer, or by file when ``single``; largest first."""
    ratio = ratios(manifest)
    return summed(
        (f"/{fact.path}" if single else fact.origin, fact.bytes, fact.bytes * ratio[fact.part])
        for fact in manifest.files
    )


def kernel_modules(manifest: Manifest) -> list[Row]:
    """Sizes of the kernel modules, by name; largest first."""
    return [
        Row(PurePosixPath(row.name).stem, row.bytes, row.compressed)
        for row in by_origin(manifest, single=True)
        if row.name.startswith(("/modules/", "/usr/lib/modules/")) and row.name.endswith(".ko")
    ]


def _purl(item: PackageFact) -> str:
    """A name that other programs look holes up by (https://github.com/package-url/purl-spec)."""
    # What Buildroot compiled has neither Debian's versions nor what Debian mends in them.
    kind = "deb/debian" if item.source else "generic"
    return f"pkg:{kind}/{item.name}@{quote(item.version)}?arch={item.arch}"


def cyclonedx(image: Image, manifest: Manifest) -> dict[str, object]:
    """A CycloneDX 1.5 document of the packages (https://cyclonedx.org/docs/1.5/json/)."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "operating-system", "name": "skiff", "version": image.recipe_sha256}
        },
        "components": [
            {
                "type": "library",
                "name": item.name,
                "version": item.version,
                "purl": _purl(item),
                "licenses": [{"license": {"name": name}} for name in item.licences],
            }
            for item in manifest.packages
        ],
    }
