"""Options that several verbs share. Each decorator adds options and hands the verb one ready value."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from click.shell_completion import CompletionItem

from skiff.host.errors import UserError
from skiff.host.files import at_home
from skiff.host.ui import Ui
from skiff.host.workspace import open_workspace
from skiff.model.arch import Arch
from skiff.model.workspace import Workspace

Verb = Callable[..., Any]


class Choice(msgspec.Struct, frozen=True):
    """What was asked for on this command line. None or empty: not said."""

    layers: tuple[str, ...] = ()
    arch: Arch | None = None
    builder: str | None = None
    kernel: str | None = None
    skiffos: Path | None = None
    layers_dirs: tuple[Path, ...] = ()
    ssh_keys: tuple[Path, ...] = ()
    user_keys: bool | None = None
    workspace_key: bool | None = None
    allow_unreachable: bool | None = None


# poll(2) counts milliseconds in 31 bits.
_LONGEST = 2_000_000


class Seconds(click.FloatRange):
    """A time to wait that can be waited for: not for ever, and a number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As click's own; fails for more seconds than there can be, too, and for `nan`, in every range."""
        seconds: float = super().convert(value, param, ctx)
        if not seconds <= _LONGEST:
            self.fail(f"{value} is no number of seconds up to {_LONGEST}.", param, ctx)
        return seconds


def examples(*lines: str) -> str:
    """The end of a verb's help. Each line is a command, two spaces or more, and what it does."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def split_names(*words: str) -> tuple[str, ...]:
    """Layer names from words in which commas and spaces separate them, as in `SKIFF_CONFIG`.

    A path of a folder that is there is one name, with whatever is in it.
    """
    return tuple(name for word in words for name in _names(word, ",", None))


def _names(text: str, *separators: str | None) -> Iterator[str]:
    from skiff.layers import is_path

    text = text.strip()
    if is_path(text) and os.path.isdir(at_home(text)):  # noqa: PTH112 (false for any path that cannot be)
        yield text
    elif separators:
        for part in text.split(separators[0]):
            yield from _names(part, *separators[1:])
    elif text:
        yield text


def _complete_layers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from skiff.layers import available, search_path

    done, comma, last = incomplete.rpartition(",")
    names = available(search_path(ctx.params.get("layers_dirs") or ()))
    return [CompletionItem(f"{done}{comma}{name}") for name in names if name.startswith(last)]


def _complete_workspaces(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    parent = open_workspace("any").root.parent
    names = sorted(path.name for path in parent.glob("*/")) if parent.is_dir() else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_LAYERS_DIR = click.option(
    "--layers-dir",
    "layers_dirs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="A folder with layers of your own (DIR/<namespace>/<name>). Can be given several times.",
)


class _Cpu(click.Choice[str]):
    """A CPU by Debian's name, or by the one that `uname -m` prints there."""

    def __init__(self) -> None:
        super().__init__([arch.value for arch in Arch.bootable()])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(
            {arch.machine: arch.value for arch in Arch.bootable()}.get(value, value), param, ctx
        )


_RECIPE_PARAMETERS = [
    click.argument("layers", nargs=-1, shell_complete=_complete_layers),
    click.option(
        "--arch",
        type=_Cpu(),
        help="The CPU to build for. [default: what the layers are for, this machine's if they allow it]",
    ),
    click.option(
        "--builder",
        type=click.Choice(["debian", "buildroot"]),
        envvar="SKIFF_BUILDER",
        help="Packages of Debian, or all compiled from source by Buildroot. [default: debian]",
    ),
    click.option(
        "--kernel",
        type=click.Choice(["package", "source"]),
        help="Debian's own kernel, or one compiled from its source. [default: what the layers say]",
    ),
    click.option(
        "--skiffos",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="A checkout of SkiffOS: the names are its packages, and the system is its own.",
    ),
    _LAYERS_DIR,
    click.option(
        "--ssh-key",
        "ssh_keys",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="FILE",
        help="A file with one public key that may log in. Can be given several times.",
    ),
    click.option(
        "--user-keys/--no-user-keys",
        default=None,
        help="Whether your own public keys (~/.ssh/id_*.pub) may log in. [default: they may]",
    ),
    click.option(
        "--workspace-key/--no-workspace-key",
        default=None,
        help="Whether the key that `skiff ssh` uses, made in the workspace, may log in. [default: it may]",
    ),
    click.option(
        "--allow-unreachable/--no-allow-unreachable",
        default=None,
        help="Build even when no key at all may log in.",
    ),
]


def with_options(verb: Verb, *options: Callable[[Verb], Verb]) -> Verb:
    """The verb with these options and arguments of click, in the order in which its help shows them."""
    for option in reversed(options):
        verb = option(verb)
    return verb


def recipe_options(verb: Verb) -> Verb:
    """LAYERS and the options that say what the image is made of, as ``choice: Choice``."""

    @functools.wraps(verb)
    def wrapper(
        *args: Any,
        layers: tuple[str, ...],
        arch: str | None,
        builder: str | None,
        kernel: str | None,
        skiffos: Path | None,
        layers_dirs: tuple[Path, ...],
        ssh_keys: tuple[Path, ...],
        user_keys: bool | None,
        workspace_key: bool | None,
        allow_unreachable: bool | None,
        **kwargs: Any,
    ) -> Any:
        choice = Choice(
            layers=split_names(*layers),
            arch=Arch(arch) if arch else None,
            builder=builder,
            kernel=kernel,
            skiffos=skiffos.absolute() if skiffos else None,
            layers_dirs=tuple(path.absolute() for path in layers_dirs),
            ssh_keys=tuple(at_home(path).absolute() for path in ssh_keys),
            user_keys=user_keys,
            workspace_key=workspace_key,
            allow_unreachable=allow_unreachable,
        )
        return verb(*args, choice=choice, **kwargs)

    return with_options(wrapper, *_RECIPE_PARAMETERS)


def layers_dir_option(verb: Verb) -> Verb:
    """`--layers-dir DIR`, as ``layers_dirs: tuple[Path, ...]``; already among `recipe_options`."""
    return _LAYERS_DIR(verb)


# Verbs of one workspace that hints name; `crew` is left out, for with a device it is of none.
_OF_A_WORKSPACE = re.compile(
    r"\bskiff (br|build|clean|cmd|configure|disk|flash|kernel|lock|push|run|size|ssh|status|stop)\b"
)


def workspace_option(verb: Verb) -> Verb:
    """`--workspace NAME`, as ``workspace: Workspace``. Errors' hints name it where it is to be said again."""

    def opened(ctx: click.Context, param: click.Parameter, value: str | None) -> Workspace:
        return open_workspace(value)

    @functools.wraps(verb)
    def wrapper(*args: Any, workspace: Workspace, **kwargs: Any) -> Any:
        try:
            return verb(*args, workspace=workspace, **kwargs)
        except UserError as error:
            if workspace.name != open_workspace().name:
                error.hint = _OF_A_WORKSPACE.sub(rf"\g<0> -w {workspace.name}", error.hint)
            raise

    return click.option(
        "-w",
        "--workspace",
        metavar="NAME",
        callback=opened,
        shell_complete=_complete_workspaces,
        help="The workspace, a folder in ./workspaces. [default: SKIFF_WORKSPACE, else default]",
    )(wrapper)


def ui_option(verb: Verb) -> Verb:
    """`--quiet`, as ``ui: Ui``."""

    def made(ctx: click.Context, param: click.Parameter, value: bool) -> Ui:
        return Ui(quiet=value or os.environ.get("SKIFF_QUIET", "") not in ("", "0"))

    return click.option(
        "-q",
        "--quiet",
        "ui",
        is_flag=True,
        callback=made,
        help="Say nothing but results, warnings and errors.",
    )(verb)


def json_option(verb: Verb) -> Verb:
    """`--json`, as ``as_json: bool``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")(verb)
