"""`skiff fleet push`, and `skiff push --all`: updates of many devices, each with the image that is for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import msgspec

from skiff import pipeline
from skiff.cli.build import build_image, build_options
from skiff.cli.common import resolve_recipe
from skiff.cli.fleet_work import Work, telling, work_options
from skiff.cli.options import (
    Choice,
    Verb,
    examples,
    json_option,
    recipe_options,
    ui_option,
    with_options,
    workspace_option,
)
from skiff.cli.reach import Way, way_options
from skiff.host.dirs import cache_dir
from skiff.host.files import at_home
from skiff.host.keys import check_signer
from skiff.host.ui import Ui
from skiff.host.workspace import open_workspace
from skiff.machine import push as update
from skiff.machine.push import Wish
from skiff.machine.remote import Remote
from skiff.model.fleet import Answer, Host
from skiff.model.workspace import Workspace


class Source(msgspec.Struct, frozen=True):
    """What an update is made of, as the command line says it."""

    choice: Choice
    workspace: Workspace
    how: pipeline.Options
    # Private SSH key to sign with; None: `SKIFF_SIGN_KEY`, else unsigned.
    sign: Path | None = None

    @contextmanager
    def slot(self, ui: Ui) -> Iterator[Path]:
        """Build, and give a folder with the files of a slot, for as long as the block runs."""
        key = self.sign or _usual_key()
        if key is not None:
            check_signer(key)
        recipe = resolve_recipe(self.choice, self.workspace, ui)
        image, _ = build_image(recipe, self.workspace, ui, self.how)
        self.workspace.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".slot-", dir=self.workspace.root) as name:
            pipeline.slot(Path(name), image, cache_dir(), key, ui)
            yield Path(name)

    def of(self, workspace: str) -> Source:
        """The same with what another workspace remembers; with empty words, this one."""
        if workspace in ("", self.workspace.name):
            return self
        return msgspec.structs.replace(self, choice=Choice(), workspace=open_workspace(workspace))


def update_options(verb: Verb) -> Verb:
    """The options of how an update goes."""
    return with_options(
        verb,
        click.option(
            "--sign",
            type=click.Path(path_type=Path),
            metavar="KEY",
            help="Sign the image with this private SSH key. [default: SKIFF_SIGN_KEY]",
        ),
        click.option(
            "--tries", default=3, show_default=True, help="Starts in which the new image has to come up."
        ),
        click.option(
            "--confirm-within",
            default=300,
            show_default=True,
            metavar="SECONDS",
            help="After a start that nobody confirms the device waits so long, then goes back by itself.",
        ),
        click.option(
            "--patience",
            default=900,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for its return.",
        ),
        click.option("--again", is_flag=True, help="Update a device that runs this very image already, too."),
    )


@click.command(
    short_help="Update devices in waves.",
    epilog=examples(
        "skiff fleet push                       one first, then a quarter of all at a time",
        "skiff fleet push --wave 1,10,50% --max-failures 5%",
        "skiff fleet push pc/uefi --on kiosks   other layers, for a group",
    ),
)
@recipe_options
@work_options
@update_options
@way_options
@build_options
@workspace_option
@json_option
@ui_option
def push(
    choice: Choice,
    work: Work,
    sign: Path | None,
    tries: int,
    confirm_within: int,
    patience: int,
    again: bool,
    way: Way,
    how: pipeline.Options,
    workspace: Workspace,
    as_json: bool,
    ui: Ui,
) -> None:
    """Build the image, and update devices in waves, each as `skiff push` does.

    Without other words, it is one first, then a quarter of all at a time, and the first failure ends it.
    Devices that failed run what they ran before. Those that run this very image already are left alone, so
    that the same command goes on where it ended. A device whose inventory names a `workspace` gets the image
    of that one.
    """
    wish = Wish(tries, confirm_within, patience, again=again)
    roll_out(work, Source(choice, workspace, how, sign), wish, way, ui, as_json)


def roll_out(work: Work, source: Source, wish: Wish, way: Way, ui: Ui, as_json: bool) -> None:
    """Build what is needed, update the devices, and tell how that went."""
    chosen = work.load(ui)
    with ExitStack() as slots:
        folders = {
            name: slots.enter_context(source.of(name).slot(ui))
            for name in dict.fromkeys(host.workspace for host in chosen[1])
        }

        def deed(host: Host, remote: Remote, steps: Ui) -> Answer:
            done = update.push(remote, folders[host.workspace], wish, steps)
            if done.already:
                return Answer(f"slot {done.slot} runs this image already", done)
            text = f"slot {done.slot}, confirmed after {done.seconds:.1f} s; {done.sent / 1e6:.2f} MB sent"
            return Answer(text, done)

        work.carry_out(deed, way, ui, telling(as_json), changes=True, chosen=chosen)


def _usual_key() -> Path | None:
    named = os.environ.get("SKIFF_SIGN_KEY", "")
    return at_home(named) if named else None
