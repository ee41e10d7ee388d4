"""What a finished tree has to hold, so that its device starts, lets somebody in and can be updated."""

from __future__ import annotations

from pathlib import PurePosixPath

from skiff.host.errors import UserError
from skiff.model.recipe import Recipe
from skiff.model.tree import Kind, Tree

# Whose updates a device takes, and what verifies them (layer update/signed).
SIGNERS = "etc/skiff/signers"
VERIFIER = "usr/bin/ssh-keygen"
_SERVICES = "etc/service/"
# What the supervisor starts of a service.
_STARTED = ("run", "finish", "log/run", "log/finish")
_HINTS = {
    "debian": "add the package to `debian.packages`, or the path to `debian.keep`",
    "buildroot": "add the package to the layer's buildroot/*.config, or a link to `buildroot.links`",
}


def check_tree(tree: Tree, recipe: Recipe) -> None:
    """Raise UserError for what would be found only on the device, when it is too late."""
    check_places(tree)
    check_programs(tree, recipe)
    check_services(tree)
    check_root(tree)
    check_signers(tree)


def check_places(tree: Tree) -> None:
    """Nothing may lie below what is no folder: a layer's file or link has taken a folder's place."""
    for path in tree:
        above = str(PurePosixPath(path).parent)
        if above in tree and tree[above].kind is not Kind.DIR:
            raise UserError(
                f"{tree[above].origin}: /{above} is no folder there, and /{path} of {tree[path].origin} "
                "lies in it",
                hint=f"make rootfs/{above} a folder, or take it out of the layer",
            )


def check_programs(tree: Tree, recipe: Recipe) -> None:
    """Raise UserError for programs that layers promise and the tree lacks."""
    missing = []
    for program in recipe.programs:
        found = tree.resolve(program.strip("/"))
        if found is None or tree[found].kind is not Kind.FILE or not tree[found].mode & 0o111:
            missing.append(program)
    if missing:
        origins = "; ".join(
            f"{name} (layer {recipe.origins.get(f'programs[{name}]', '?')})" for name in missing
        )
        raise UserError(
            f"programs that layers promise are not in the image: {origins}", hint=_HINTS[recipe.builder]
        )


def check_services(tree: Tree) -> None:
    """A service has a program `run`, and what is started of it names its interpreter."""
    names = {path.split("/")[2] for path in tree if path.startswith(_SERVICES) and path.count("/") > 2}
    for name in sorted(names):
        folder = f"{_SERVICES}{name}"
        if tree.canonical(f"{folder}/run") not in tree:
            raise UserError(f"service {name} has no program `run`", hint=f"write services/{name}/run")
        for program in _STARTED:
            _check_starts(tree, f"{folder}/{program}")


def _check_starts(tree: Tree, path: str) -> None:
    found = tree.resolve(path)
    if found is None or tree[found].kind is not Kind.FILE:
        return
    line = tree[found].read().partition(b"\n")[0].decode(errors="replace")
    if line.startswith("\x7fELF"):
        return
    interpreter = line.removeprefix("#!").lstrip(" ").partition(" ")[0]
    if not line.startswith("#!") or tree.resolve(interpreter.strip("/")) is None:
        raise UserError(
            f"{tree[found].origin}: /{path} cannot be started: its first line is {line[:40]!r}",
            hint="a program of the image has to stand there, as in #!/bin/sh, with a plain end of line",
        )


def check_root(tree: Tree) -> None:
    """Nobody logs in to a system that does not know root."""
    found = tree.resolve("etc/passwd")
    lines = tree[found].read().splitlines() if found else []
    if not any(line.startswith(b"root:") for line in lines):
        raise UserError(
            "/etc/passwd has no line for root: nobody could log in",
            hint="take rootfs/etc/passwd out of the layer; `tree.users` adds users",
        )


def check_signers(tree: Tree) -> None:
    """Raise UserError for a device that takes signed images only and cannot verify a signature."""
    if SIGNERS in tree and tree.resolve(VERIFIER) is None:
        raise UserError(
            f"/{SIGNERS}: the image has no /{VERIFIER}, so its device would refuse every update",
            hint='let the layer that brings the file say `requires = ["update/signed"]`',
        )
