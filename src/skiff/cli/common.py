"""What several verbs do first: settle what was chosen, and resolve it into a recipe.

A verb that builds looks like this::

    @click.command(epilog=examples("skiff build virt/qemu    build for a virtual machine"))
    @recipe_options      # → choice: Choice
    @workspace_option    # → workspace: Workspace
    @ui_option           # → ui: Ui
    @json_option         # → as_json: bool
    def command(choice, workspace, ui, as_json):
        recipe = resolve_recipe(choice, workspace, ui)
        with hold(workspace):
            ...              # hold() is in skiff.host.lock, cache_dir() in skiff.host.dirs

The function must be called ``command``: the group looks for that name in ``skiff/cli/<verb>.py``.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

from skiff.cli.options import Choice, split_names
from skiff.host import authorize, json
from skiff.host.errors import UserError
from skiff.host.files import at_home
from skiff.host.lock import hold
from skiff.host.ui import Ui
from skiff.host.workspace import load_config, save_config
from skiff.layers import Search, checkout_recipe, is_path, override_folders, resolve, search_path
from skiff.model.config import Config
from skiff.model.recipe import Recipe
from skiff.model.workspace import Workspace

# Choices that a workspace keeps from one verb to the next.
_REMEMBERED = (
    "arch",
    "builder",
    "kernel",
    "skiffos",
    "layers_dirs",
    "ssh_keys",
    "user_keys",
    "workspace_key",
    "allow_unreachable",
)


def settle(choice: Choice, workspace: Workspace) -> Config:
    """What holds: the command line, else `SKIFF_CONFIG`, else what the workspace remembers.

    Raises UserError when no layer was chosen anywhere.
    """
    saved = load_config(workspace)
    names = choice.layers or split_names(os.environ.get("SKIFF_CONFIG", ""))
    # Paths are kept absolute: the next command may be given in another folder.
    layers = tuple(_absolute(name) for name in names)
    if not layers and saved is None:
        raise UserError(
            f"no layers are chosen for workspace {workspace.name}",
            hint="name them, as in `skiff configure virt/qemu,engine/docker`; `skiff layers` lists them",
        )
    base = saved or Config(layers=())
    said = {field: value for field in _REMEMBERED if (value := getattr(choice, field)) not in (None, ())}
    if layers and layers != base.layers:
        # The CPU and the kernel belonged to the other layers.
        base = msgspec.structs.replace(base, layers=layers, arch=None, kernel="", skiffos=None)
    return msgspec.structs.replace(base, **said)


def chosen_names(workspace: Workspace) -> tuple[str, ...]:
    """The layers that a verb without words would take; empty when none are chosen."""
    saved = load_config(workspace)
    return split_names(os.environ.get("SKIFF_CONFIG", "")) or (saved.layers if saved else ())


def chosen_search(layers_dirs: tuple[Path, ...], workspace: Workspace) -> Search:
    """Where layers are looked for: in these folders, else in those that the workspace remembers."""
    saved = load_config(workspace)
    return search_path(layers_dirs or (saved.layers_dirs if saved else ()))


def resolve_recipe(
    choice: Choice, workspace: Workspace, ui: Ui, *, remember: bool = True, make_key: bool = True
) -> Recipe:
    """The recipe for what was chosen, with the keys that may log in, of which a notice tells.

    ``remember`` saves the choice in the workspace, so that the next verb needs no words.
    ``make_key`` makes the workspace's key when it is missing; without, only keys that exist are used.
    Raises UserError; then nothing was saved or made.
    """
    config = settle(choice, workspace)
    recipe = resolve_config(config, workspace)
    recipe = with_keys(recipe, config, workspace, ui, make_key=make_key)
    if remember:
        # A build that is refused because of another changes nothing of what the next one takes.
        with hold(workspace):
            save_config(workspace, config)
    return recipe


def resolve_config(config: Config, workspace: Workspace) -> Recipe:
    """The recipe of a configuration, without keys."""
    search = search_path(config.layers_dirs)
    if config.skiffos:
        return checkout_recipe(config.skiffos, config.layers, search.folders, workspace.name)
    overrides = override_folders(Path.cwd(), workspace.name)
    return resolve(
        config.layers, config.arch, search, overrides, builder=config.builder, kernel=config.kernel
    )


def with_keys(recipe: Recipe, config: Config, workspace: Workspace, ui: Ui, *, make_key: bool) -> Recipe:
    """The recipe with the keys that may log in. Raises UserError when nobody could."""
    chosen = authorize.gather(
        workspace,
        files=config.ssh_keys,
        user=config.user_keys,
        own=config.workspace_key,
        make=make_key,
    )
    brought = [path for layer in recipe.layers for path in authorize.in_layer(layer)]
    if make_key and not chosen and not brought:
        if not config.allow_unreachable:
            raise authorize.unreachable()
        ui.warn("no key goes into this image: nobody will be able to log in")
    if chosen or brought:
        ui.notice(authorize.describe(chosen, brought))
    return msgspec.structs.replace(recipe, authorized_keys=tuple(key.line for key in chosen))


def print_json(value: object) -> None:
    """Print a value on stdout as JSON; paths become strings."""
    click.echo(json.encode(value).decode(), nl=False)


def _absolute(name: str) -> str:
    return str(at_home(name).absolute()) if is_path(name) else name


def write_picture(path: Path, svg: str) -> None:
    """Write what `--svg` asks for, and say so. Raises UserError when it cannot be written."""
    try:
        path.write_text(svg)
    except OSError as error:
        raise UserError(f"--svg {path}: {error.strerror}", hint="name a file in a folder of yours") from error
    click.echo(f"{path}", err=True)
