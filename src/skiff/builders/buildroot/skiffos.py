"""What SkiffOS's config packages bring besides fragments: hooks, compiler flags, extensions, placeholders."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from skiff.host.run import run, which
from skiff.model.recipe import LayerRef, Recipe, SkiffosTree

# Hook of a package → Buildroot's setting for such a script. SkiffOS's `pre` runs before the images are made.
HOOKS = {"pre.sh": "BR2_ROOTFS_POST_BUILD_SCRIPT", "post.sh": "BR2_ROOTFS_POST_IMAGE_SCRIPT"}


def hooks(recipe: Recipe, name: str) -> list[LayerRef]:
    """Packages with that hook, in order."""
    return [layer for layer in recipe.layers if layer.skiffos and (layer.hooks / name).is_file()]


def scripts(recipe: Recipe) -> list[Path]:
    """Every script of a package that a build will run, to be told before."""
    return [layer.hooks / name for name in HOOKS for layer in hooks(recipe, name)]


def hook_script(recipe: Recipe, name: str, environment: Mapping[str, str]) -> str:
    """The script that runs one hook of all packages, with the environment they expect."""
    lines = ["#!/bin/bash", "# Written by skiff.", "set -eo pipefail"]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in environment.items()]
    lines += ['export PATH="$BUILDROOT_DIR/host/bin:$PATH"', 'cd "$BUILDROOT_DIR"']
    for layer in hooks(recipe, name):
        script = layer.hooks / name
        lines.append(f"echo {shlex.quote(f'skiff: running {script}')}")
        lines.append(f"SKIFF_CURRENT_CONF_DIR={shlex.quote(str(layer.path))} {shlex.quote(str(script))}")
    return "\n".join(lines) + "\n"


def environment(recipe: Recipe, output: Path, external: Path) -> dict[str, str]:
    """What hooks and extensions of packages find in their environment, under SkiffOS's names."""
    packages = [layer for layer in recipe.layers if layer.skiffos]
    tree = recipe.skiffos
    root = tree.root if tree else external
    named = dict(tree.packages) if tree else {layer.name: layer.path for layer in packages}
    chosen = [layer.name for layer in packages if not tree or layer.name in named]
    found = {
        "BUILDROOT_DIR": output,
        "SKIFF_BUILDROOT_DIR": output,
        "WORKSPACE_DIR": output,
        "SKIFF_WORKSPACE_DIR": output,
        # It lies in workspaces/NAME/buildroot/.
        "SKIFF_WORKSPACE": tree.workspace if tree else output.parent.parent.name,
        "SKIFF_FINAL_CONFIG_DIR": external,
        "ROOT_DIR": root,
        "SKIFF_ROOT_DIR": root,
        "SKIFF_CONFIGS_DIR": root / "configs",
        "SKIFF_BASE_CONFIGS_DIR": root / "configs-base",
        "SKIFF_OVERRIDES_DIR": root / "overrides",
        "SKIFF_RESOURCES_DIR": root / "resources",
        "SKIFF_SCRIPTS_DIR": root / "scripts",
        "SKIFF_CONFIG": ",".join(chosen),
        "SKIFF_CONFIGS": " ".join(chosen),
        **dict(zip(("SKIFF_VERSION", "SKIFF_VERSION_COMMIT"), version(tree), strict=True)),
    }
    for name, path in named.items():
        word = name.upper().replace("/", "_")
        found[f"SKIFF_CONFIG_PATH_{word}"] = path
        found[f"SKIFF_CONFIG_NAME_{word}"] = name
    return {key: str(value) for key, value in found.items()}


def version(tree: SkiffosTree | None) -> tuple[str, str]:
    """Version and commit of a checkout, as its own scripts tell them."""
    if tree is None or which("git") is None or not (tree.root / ".git").exists():
        return "unknown", "unknown"
    git = ["git", "-C", str(tree.root)]
    head = run([*git, "rev-parse", "--verify", "--short", "HEAD"], check=False)
    if head.returncode:
        return "unknown", "unknown"
    commit = head.stdout.decode().strip()
    described = run([*git, "describe", "--tags", "HEAD"], check=False)
    return (commit if described.returncode else described.stdout.decode().strip()), commit


def flags(recipe: Recipe) -> str:
    """Compiler flags of all packages, in one line; remarks left out."""
    found = []
    for layer in recipe.layers:
        for file in sorted((layer.path / "cflags").glob("*")) if layer.skiffos else ():
            lines = [line for line in file.read_text().splitlines() if not re.match(r"[ \t]*#", line)]
            # A blank for every end of a line, the last one's too: the value is compared with SkiffOS's own.
            text = "".join(f"{line} " for line in lines)
            if text:
                found.append(text)
    return " ".join(found)


def placeholders(recipe: Recipe, folders: Mapping[str, list[Path]], external: Path) -> dict[str, str]:
    """What stands for REPLACEME_… in the fragments of a checkout's base. ``folders``: by the part's name."""

    def words(part: str) -> str:
        return " ".join(str(path) for path in folders[part])

    name, commit = version(recipe.skiffos)
    return {
        "REPLACEME_BR_PATCHES": words("buildroot_patches"),
        "REPLACEME_BUSYBOX_FRAGMENTS": str(external / "busybox.config"),
        "REPLACEME_KERNEL_FRAGMENTS": str(external / "kernel.config"),
        "REPLACEME_KERNEL_PATCHES": words("kernel_patches"),
        "REPLACEME_UBOOT_FRAGMENTS": str(external / "uboot.config"),
        "REPLACEME_UBOOT_PATCHES": words("uboot_patches"),
        "REPLACEME_ROOTFS_OVERLAY": words("root_overlay"),
        # SkiffOS's own name for the script that runs `pre` hooks.
        "REPLACEME_FINAL_CONFIG_DIR": str(external),
        "REPLACEME_SKIFF_VERSION_COMMIT": commit,
        "REPLACEME_SKIFF_VERSION": name,
    }
