"""A folder of small layers, made for one test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skiff.host.errors import UserError
from skiff.layers import Search, resolve
from skiff.model.arch import Arch
from skiff.model.recipe import LayerRef, Recipe

BASE = """\
description = "Always there"
[debian]
packages = ["busybox-static", "rsync"]
provided = ["iproute2", "perl"]
[debian.keep]
rsync = ["usr/bin/rsync"]
[kernel]
modules = ["ext4", "?sd_mod"]
[kernel.package]
amd64 = "linux-image-amd64"
arm64 = "linux-image-arm64"
[device]
hostname = "skiff"
"""


class LayerTree:
    """Writes layers into a folder that is also the current one, so that messages show short paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.add("base", BASE)

    @property
    def search(self) -> Search:
        return Search(builtin=self.root / "layers")

    def add(self, name: str, text: str = "", *, folder: str = "layers") -> LayerRef:
        """A layer; its description is written when ``text`` has none."""
        path = self.root / folder / name
        path.mkdir(parents=True, exist_ok=True)
        described = text if text.startswith("description") else f'description = "{name}"\n{text}'
        (path / "layer.toml").write_text(described)
        return LayerRef(name=name, path=path)

    def resolve(
        self,
        *names: str,
        arch: Arch | None = Arch.AMD64,
        search: Search | None = None,
        overrides: Sequence[LayerRef] = (),
    ) -> Recipe:
        return resolve(names, arch, search or self.search, overrides)

    def error(self, *names: str, arch: Arch | None = Arch.AMD64) -> tuple[str, str]:
        """Message and hint of the UserError that resolving raises."""
        try:
            self.resolve(*names, arch=arch)
        except UserError as error:
            return error.message, error.hint
        raise AssertionError("no error")
