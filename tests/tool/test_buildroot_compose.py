"""From what Buildroot made to tree and kernel: owners, modes, layers, modules, and what is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from skiff.builders.buildroot.tree import compose
from skiff.builders.built import Built
from skiff.host.errors import UserError
from skiff.layers import resolve
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe
from skiff.model.tree import Kind
from tests.unit.layer_tree import LayerTree

VERSION = "6.12.90"


class Output:
    """An output folder of Buildroot's, as far as it is read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        modules = root / "target/usr/lib/modules" / VERSION
        modules.mkdir(parents=True)
        (modules / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
        (modules / "modules.order").write_text("")
        (root / "images").mkdir()
        (root / "images/Image").write_bytes(b"plain kernel")
        (root / "build").mkdir()
        (root / "build/packages-file-list.txt").write_text("busybox,./bin/busybox\nrsync,./usr/bin/rsync\n")
        self.entries: list[tuple[str, str, int, int]] = [
            ("./usr", "dir", 0o755, 0),
            ("./bin", "usr/bin", 0o777, 0),
            ("./usr/bin", "dir", 0o755, 0),
            ("./usr/bin/busybox", "file", 0o4755, 0),
            ("./usr/bin/rsync", "file", 0o755, 0),
            ("./usr/bin/rsync-ssl", "= ./bin/rsync", 0o755, 0),
            ("./development", "file", 0o644, 0),
            ("./var", "dir", 0o755, 0),
            ("./var/log", "dir", 0o755, 0),
            ("./dev/null", "file", 0o666, 0),
            ("./etc/resolv.conf", "../tmp/resolv.conf", 0o777, 0),
            ("./etc/passwd", "file", 0o644, 0),
            ("./etc/shadow", "file", 0o640, 42),
        ]

    def write(self) -> Path:
        with tarfile.open(self.root / "images/rootfs.tar", "w") as tar:
            for path, what, mode, group in self.entries:
                info = tarfile.TarInfo(path)
                info.mode, info.gid = mode, group
                if what == "dir":
                    info.type = tarfile.DIRTYPE
                elif what.startswith("= "):
                    info.type, info.linkname = tarfile.LNKTYPE, what.removeprefix("= ")
                elif what != "file":
                    info.type, info.linkname = tarfile.SYMTYPE, what
                text = "root:x:0:0::/root:/bin/sh\n" if path == "./etc/passwd" else path
                content = text.encode() if what == "file" else b""
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return self.root


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "output")


def recipe(tmp_path: Path, text: str = "") -> Recipe:
    tree = LayerTree(tmp_path / "project")
    ref = tree.add("my/app", text)
    (ref.path / "rootfs/etc").mkdir(parents=True, exist_ok=True)
    (ref.path / "rootfs/etc/motd").write_text("hello\n")
    return resolve(["my/app"], Arch.ARM64, tree.search, builder="buildroot")


def composed(made: Recipe, output: Output) -> Built:
    return compose(made, output.write(), [], {}, 1771000000, lambda _: None)


def test_files_keep_mode_owner_and_package(output: Output, tmp_path: Path) -> None:
    tree = composed(recipe(tmp_path), output).tree
    assert (tree["usr/bin/busybox"].mode, tree["usr/bin/busybox"].origin) == (0o4755, "busybox")
    assert tree["usr/bin/rsync"].origin == "rsync"
    assert (tree["etc/shadow"].mode, tree["etc/shadow"].gid) == (0o640, 42)
    assert tree["usr/bin/busybox"].read() == b"./usr/bin/busybox"
    assert tree["usr/bin/rsync-ssl"].read() == b"./usr/bin/rsync"
    assert "development" in tree
    # What the kernel makes is left out; logs go to RAM as in every image.
    assert "dev/null" not in tree
    assert tree["var/log"].target == "/run/log"


def test_layers_lie_over_it(output: Output, tmp_path: Path) -> None:
    text = (
        '[tree.links]\n"/etc/resolv.conf" = "/run/a"\n"/usr/lib/x" = "y"\n'
        '[buildroot.links]\n"/usr/lib/x" = "z"\n'
    )
    tree = composed(recipe(tmp_path, text), output).tree
    assert tree["etc/motd"].read() == b"hello\n"
    assert tree["etc/resolv.conf"].target == "/run/a"
    assert tree["usr/lib/x"].target == "z"
    assert tree["etc/skiff/layers"].read() == b"base\nmy/app\n"


def test_the_packed_kernel_is_taken_where_there_is_one(output: Output, tmp_path: Path) -> None:
    assert composed(recipe(tmp_path), output).kernel.file.name == "Image"
    (output.root / "images/Image.gz").write_bytes(b"packed")
    built = composed(recipe(tmp_path), output)
    assert (built.kernel.file.name, built.kernel.version) == ("Image.gz", VERSION)
    # `ext4` of base is a part of this kernel.
    assert built.kernel.modules == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[kernel]\nmodules = ["wifi"]\n', "has no module wifi"),
        ('[tree]\nprograms = ["/usr/bin/gone"]\n', r"/usr/bin/gone \(layer my/app\)"),
        ('[disk]\ndtbs = ["a/b.dtb"]\n', r"a/b\.dtb: this kernel gave no such device tree \(layer my/app\)"),
    ],
)
def test_what_a_layer_promises_and_buildroot_did_not_make(
    output: Output, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        composed(recipe(tmp_path, text), output)


def test_no_root_file_system_no_kernel(output: Output, tmp_path: Path) -> None:
    (output.root / "images/Image").unlink()
    with pytest.raises(UserError, match="Buildroot made no kernel"):
        composed(recipe(tmp_path), output)
    with pytest.raises(UserError, match="Buildroot made no root file system"):
        compose(recipe(tmp_path), tmp_path, [], {}, 0, lambda _: None)


def test_device_trees_come_along(output: Output, tmp_path: Path) -> None:
    (output.root / "images/a").mkdir()
    (output.root / "images/a/b.dtb").write_bytes(b"tree")
    built = composed(recipe(tmp_path, '[disk]\ndtbs = ["a/b.dtb"]\n'), output)
    assert built.boot == {"dtbs/a/b.dtb": output.root / "images/a/b.dtb"}
    assert built.tree["etc"].kind is Kind.DIR
