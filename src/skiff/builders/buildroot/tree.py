"""What Buildroot made → tree and kernel, with layers laid over as the `debian` builder does it."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from skiff.builders.built import Built
from skiff.builders.finish import finish
from skiff.builders.kernel import Kernel, add_modules, select_kernel
from skiff.host.errors import UserError
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry, Kind, Tree

_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIR,
    tarfile.SYMTYPE: Kind.LINK,
}
# Made by the kernel, or nothing that a running system reads.
_LEFT_OUT = ("dev", "usr/lib/modules", "THIS_IS_NOT_YOUR_ROOT_FILESYSTEM")
# What the device expects to be links, as every Skiff image has them.
_LINKS = {"var/run": "/run", "var/lock": "/run/lock", "var/log": "/run/log", "etc/mtab": "/proc/self/mounts"}
_DIRS = {
    "dev": 0o755,
    "mnt": 0o755,
    "proc": 0o555,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "var/lib": 0o755,
}
# Names of the kernel's file in `images/`, the packed one first.
_KERNELS = ("Image.gz", "Image", "zImage", "bzImage", "vmlinuz")
# Origin of what belongs to no package: Buildroot's own skeleton.
_SKELETON = "buildroot"


def compose(
    recipe: Recipe,
    output: Path,
    generated: Sequence[tuple[str, Entry]],
    boot: dict[str, Path],
    epoch: int,
    step: Callable[[str], None],
) -> Built:
    """Lay layers and settings over what was compiled, trim, and check the result.

    Raises UserError when a program, a module or a library is missing.
    """
    step("unpack")
    tree = Tree()
    _add_compiled(tree, output)
    kernel = _kernel(recipe, output)
    add_modules(tree, kernel, output)
    step("layers")
    boot = {**_device_trees(recipe, output), **boot}
    # Buildroot compiles the modules of packages itself, with this one.
    python = output / "host/bin/python3"
    return finish(tree, recipe, kernel, generated, boot, epoch, lambda: nullcontext((python,)), output, step)


def _add_compiled(tree: Tree, output: Path) -> None:
    """Buildroot's tar of the root file system, owners and modes as they are in it."""
    archive = output / "images/rootfs.tar"
    if not archive.is_file():
        raise UserError(
            f"{archive}: Buildroot made no root file system", hint="a layer took BR2_TARGET_ROOTFS_TAR away"
        )
    files = output / "skiff-rootfs"
    shutil.rmtree(files, ignore_errors=True)
    owners = _owners(output / "build/packages-file-list.txt")
    with tarfile.open(archive) as tar:
        for member in tar:
            path = _plain(member.name)
            if path and member.islnk():
                # A second name of a file: a file of its own here, packed once all the same.
                tree.add(path, tree[tree.canonical(_plain(member.linkname))])
            elif path and member.type in _KINDS and not _is_left_out(path):
                source = _unpacked(tar, member, files / path) if member.isreg() else b""
                tree.add(
                    path,
                    Entry(
                        kind=_KINDS[member.type],
                        mode=member.mode,
                        origin=owners.get(path, _SKELETON),
                        uid=member.uid,
                        gid=member.gid,
                        source=source,
                        target=member.linkname,
                    ),
                )
    for path, mode in _DIRS.items():
        tree.add(path, Entry(Kind.DIR, mode, _SKELETON))
    for path, target in _LINKS.items():
        tree.remove(path)
        tree.add(path, Entry(Kind.LINK, 0o777, _SKELETON, target=target))


def _plain(name: str) -> str:
    return name.removeprefix("./").strip("/")


def _is_left_out(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in _LEFT_OUT)


def _unpacked(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None
    with target.open("wb") as out:
        shutil.copyfileobj(content, out)
    return target


def _owners(listing: Path) -> dict[str, str]:
    """Path → package, as Buildroot wrote it down: `busybox,./bin/busybox`. With /usr merged."""
    owners = {}
    for line in listing.read_text(errors="replace").splitlines() if listing.is_file() else ():
        package, _, path = line.partition(",")
        path = path.removeprefix("./")
        for short in ("bin/", "sbin/", "lib/"):
            if path.startswith(short):
                path = f"usr/{path}"
        owners[path] = package
    return owners


def _kernel(recipe: Recipe, output: Path) -> Kernel:
    images = output / "images"
    found = [images / name for name in _KERNELS if (images / name).is_file()]
    folders = sorted((output / "target/usr/lib/modules").glob("*"))
    if not found or not folders:
        what = "kernel" if not found else "kernel modules"
        raise UserError(
            f"{images}: Buildroot made no {what}", hint="is BR2_LINUX_KERNEL set, and CONFIG_MODULES?"
        )
    return select_kernel(
        found[0],
        folders[0],
        _lists(output),
        "linux",
        [*recipe.modules, *recipe.load_modules],
        recipe.boot_modules,
    )


def _lists(output: Path) -> Path:
    """A folder for depmod's lists; the modules may have changed, so those of before go."""
    folder = output / "skiff-modules"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _device_trees(recipe: Recipe, output: Path) -> dict[str, Path]:
    found = {}
    for name in recipe.dtbs:
        path = output / "images" / name
        if not path.is_file():
            raise UserError(
                f"disk.dtbs: {name}: this kernel gave no such device tree "
                f"(layer {recipe.origins.get(f'dtbs[{name}]', '?')})",
                hint=f"those of this CPU are in {output}/build/linux-*/arch/{recipe.arch.kernel}/boot/dts",
            )
        found[f"dtbs/{name}"] = path
    return found
