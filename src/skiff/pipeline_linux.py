"""The kernel from source under the `debian` builder: found in the archive, configured, compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skiff.builders.buildroot.fragments import Kind, read
from skiff.builders.buildroot.saved import changes
from skiff.builders.debian.one_package import find_package, package_fact, unpacked_files
from skiff.builders.linux.compile import LINUX, Compiled, check_host, compile_linux, state
from skiff.builders.linux.configure import configure, job_of, lost, menu
from skiff.builders.linux.tarball import unpacked
from skiff.host.errors import UserError
from skiff.host.files import write_atomic
from skiff.host.ui import Ui
from skiff.model.image import PackageFact
from skiff.model.packages import Package
from skiff.model.recipe import Recipe
from skiff.model.workspace import Workspace


def find_linux(
    recipe: Recipe, cache: Path, mirror: str | None, warn: Callable[[str], None], *, update: bool = False
) -> Package | None:
    """The package with the kernel's source text, as the archive has it now; None when none is compiled."""
    if not recipe.kernel_source:
        return None
    return find_package(recipe.arch, LINUX, cache, mirror, warn, update=update)


def linux_package(recipe: Recipe, cache: Path, mirror: str | None, ui: Ui) -> Package:
    """What holds the source text of a recipe's kernel. Raises UserError when none is compiled."""
    if recipe.builder == "buildroot":
        raise UserError(
            "Buildroot compiles its own kernel", hint="`skiff br -- linux-menuconfig` opens that one's menu"
        )
    package = find_linux(recipe, cache, mirror, ui.warn)
    if package is None:
        raise UserError(
            "this recipe takes Debian's own kernel, which is compiled already",
            hint="add the layer util/slim, or say --kernel source",
        )
    return package


def linux_state(recipe: Recipe, package: Package | None) -> list[str]:
    """What a compiled kernel adds to an image's fingerprint."""
    return [state(job_of(recipe), package.sha256)] if package else []


def linux_facts(
    recipe: Recipe, package: Package | None, cache: Path, mirror: str | None
) -> list[PackageFact]:
    """What the owner of an image is told of a kernel that was compiled."""
    return [package_fact(package, recipe.arch, cache, mirror)] if package else []


def compiled_kernel(
    recipe: Recipe, package: Package | None, cache: Path, mirror: str | None, strict: bool, ui: Ui
) -> Compiled | None:
    """The recipe's kernel, from the cache or compiled; settings without effect are told. Raises UserError."""
    if package is None:
        return None
    job = job_of(recipe)
    with ui.step("kernel") as step:
        tarball = _tarball(package, recipe, cache, mirror, step.detail)
        made = compile_linux(job, tarball, package.sha256, cache, step.detail)
        source = unpacked(tarball, package.sha256, cache, step.detail)
        warnings = lost(job, made.config, source, strict=strict)
    for line in warnings:
        ui.warn(line)
    return made


def _tarball(
    package: Package, recipe: Recipe, cache: Path, mirror: str | None, detail: Callable[[str], None]
) -> Path:
    detail("fetch the source")
    files = unpacked_files(package, recipe.arch, cache, mirror)
    return files / "usr/src" / f"{LINUX}.tar.xz"


def configured_kernel(
    recipe: Recipe, package: Package, workspace: Workspace, cache: Path, mirror: str | None, ui: Ui
) -> Path:
    """The configuration that a recipe's layers add up to, written to the workspace. Raises UserError."""
    check_host(recipe.arch)
    job = job_of(recipe)
    with ui.step("configure the kernel") as step:
        source = _source(recipe, package, cache, mirror, step.detail)
        configure(job, source, workspace.kernel)
        warnings = lost(job, workspace.kernel / ".config", source, strict=False)
    for line in warnings:
        ui.warn(line)
    made = workspace.kernel / "layers.config"
    write_atomic(made, (workspace.kernel / ".config").read_bytes())
    return made


def open_menu(
    recipe: Recipe, package: Package, workspace: Workspace, cache: Path, mirror: str | None, ui: Ui
) -> None:
    """The kernel's own menu, in the terminal. Raises CommandError when it cannot be opened."""
    configured_kernel(recipe, package, workspace, cache, mirror, ui)
    source = _source(recipe, package, cache, mirror, lambda _: None)
    menu(job_of(recipe), source, workspace.kernel)


def menu_changes(workspace: Workspace) -> str:
    """What the menu changed since the layers' configuration, as a fragment. Raises UserError without one."""
    before, after = workspace.kernel / "layers.config", workspace.kernel / ".config"
    if not before.exists():
        raise UserError(
            f"workspace {workspace.name} has no configuration of a kernel yet",
            hint="`skiff kernel menuconfig` makes one, and opens the kernel's menu",
        )
    values = [{Kind.KERNEL: read(file.read_text())} for file in (before, after)]
    return changes(*values).get(Kind.KERNEL, "")


def _source(
    recipe: Recipe, package: Package, cache: Path, mirror: str | None, detail: Callable[[str], None]
) -> Path:
    tarball = _tarball(package, recipe, cache, mirror, detail)
    return unpacked(tarball, package.sha256, cache, detail)
