"""What each layer adds to an image, and the build that fails when it is too much."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.builders import elf
from skiff.builders.elf import ElfFacts, Linker
from skiff.builders.kernel import Kernel
from skiff.builders.owners import owners
from skiff.host.errors import UserError
from skiff.image.budget import by_layer, check_budgets
from skiff.image.shares import Row
from skiff.model.arch import Arch
from skiff.model.image import Artefact, FileFact, Manifest, PartFact
from skiff.model.recipe import LayerRef, Recipe
from skiff.model.tree import Entry, Kind, Tree
from tests.unit.layer_tree import LayerTree

LIB = "usr/lib/x86_64-linux-gnu"
MODULES = "usr/lib/modules/6.12"
MANIFEST = Manifest(
    parts=(PartFact("one", 2_000_000),),
    files=(
        FileFact("usr/bin/big", 3_000_000, "big", "one", "a/engine"),
        FileFact("usr/bin/small", 500_000, "small", "one", "a/engine"),
        FileFact("usr/bin/sh", 500_000, "busybox", "one", "base"),
    ),
    packages=(),
    kernel_layer="a/board",
)
ARTEFACTS = tuple(
    Artefact(name, Path(name), size, "") for name, size in (("kernel", 4_000_000), ("initramfs", 2_000_000))
)


def test_a_layer_has_what_it_brings_names_or_loads_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, facts = Tree(), {}

    def add(path: str, origin: str, *needed: str) -> None:
        source = tmp_path / path.replace("/", "_")
        source.write_bytes(b"")
        facts[source] = ElfFacts(needed, (), "", 62)
        tree.add(path, Entry(Kind.FILE, 0o755, origin, source=source))

    monkeypatch.setattr(elf, "read_elf", facts.get)
    add("usr/bin/rsync", "rsync", "libc.so.6")
    add("usr/bin/podman", "podman", "libgpgme.so.11", "libc.so.6")
    add("usr/share/defaults", "common-data")
    add(f"{LIB}/libc.so.6", "libc6")
    add(f"{LIB}/libgpgme.so.11", "libgpgme11")
    add(f"{LIB}/libnss_dns.so.2", "libc6")
    add("usr/lib/skiff/own", "layer a/engine")
    for name in ("virtio_net", "nf_nat", "nf_conntrack"):
        tree.add(f"{MODULES}/kernel/{name}.ko", Entry(Kind.FILE, 0o644, "linux (modules)", source=b""))
    lists = b"kernel/nf_nat.ko: kernel/nf_conntrack.ko\nkernel/nf_conntrack.ko:\nkernel/virtio_net.ko:\n"
    tree.add(f"{MODULES}/modules.dep", Entry(Kind.FILE, 0o644, "linux (modules)", source=lists))
    recipe = Recipe(
        Arch.AMD64,
        tuple(LayerRef(name, tmp_path) for name in ("base", "a/engine")),
        origins={
            "packages[rsync]": "base",
            "modules[?virtio-net]": "base",
            "boot_modules[loop]": "base",
            "packages[podman]": "a/engine",
            "keep[common-data]": "a/engine",
            "modules[nf_nat]": "a/engine",
        },
    )
    kernel = Kernel("6.12", tmp_path, "linux", {}, ("loop",))
    assert owners(tree, recipe, kernel, Linker(tree, Arch.AMD64)) == {
        "usr/bin/rsync": "base",
        f"{LIB}/libc.so.6": "base",
        f"{MODULES}/kernel/virtio_net.ko": "base",
        "modules/loop.ko": "base",
        "usr/bin/podman": "a/engine",
        f"{LIB}/libgpgme.so.11": "a/engine",
        "usr/share/defaults": "a/engine",
        "usr/lib/skiff/own": "a/engine",
        f"{MODULES}/kernel/nf_nat.ko": "a/engine",
        f"{MODULES}/kernel/nf_conntrack.ko": "a/engine",
    }


def test_the_kernel_counts_for_the_layer_that_chose_it() -> None:
    assert by_layer(MANIFEST, ARTEFACTS) == [
        Row("a/board", 4_000_000, 4_000_000),
        Row("a/engine", 3_500_000, 1_750_000),
        Row("base", 500_000, 250_000),
    ]


def test_a_tenth_above_the_budget_is_borne_and_more_is_not() -> None:
    check_budgets({"a/engine": 1.6, "base": 0.25, "a/board": 3.7}, MANIFEST, ARTEFACTS)
    with pytest.raises(UserError) as raised:
        check_budgets({"a/engine": 1.5, "base": 0.25, "a/board": 2}, MANIFEST, ARTEFACTS)
    assert raised.value.message == (
        "layer a/engine adds 1.8 MB, its budget is 1.5 MB: big 1.5, small 0.2; "
        "layer a/board adds 4.0 MB, its budget is 2 MB: kernel 4.0"
    )
    assert "size.budget" in raised.value.hint


def test_each_layer_keeps_its_own_budget_for_its_cpu(tree: LayerTree) -> None:
    tree.add("a/one", "[size.budget]\namd64 = 1.5\narm64 = 2\n")
    tree.add("a/two", "[size.budget]\narm64 = 3\n")
    assert tree.resolve("a/one", "a/two").budgets == {"a/one": 1.5}
    both = tree.resolve("a/one", "a/two", arch=Arch.ARM64)
    assert both.budgets == {"a/one": 2, "a/two": 3}
    assert both.origins["budgets[a/two]"] == "a/two"


def test_budgets_hold_for_the_smallest_compression(tree: LayerTree) -> None:
    tree.add("a/one", "[size.budget]\namd64 = 1.5\n")
    tree.add("a/quick", '[size]\ncompressor = "zstd"\n')
    tree.add("a/quicker", '[size]\ncompressor = "zstd:3"\n')
    tree.add("a/small", '[size]\ncompressor = "xz"\n')
    assert tree.resolve("a/one", "a/quick").budgets == {}
    assert tree.resolve("a/one", "a/quicker").budgets == {}
    assert tree.resolve("a/one", "a/quick", "a/small").budgets == {"a/one": 1.5}
