"""The command line: a group that loads one verb from one file, and only the verb that is asked for."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

import click

import skiff

# Verb → its line in `skiff --help`. Written here too, so that help need not load every verb.
VERBS = {
    "layers": "List the layers there are.",
    "show": "Show what the layers add up to, and which layer set what.",
    "configure": "Choose a workspace's layers and remember them.",
    "lock": "Write down the exact packages, to build from them again.",
    "build": "Build the image.",
    "disk": "Build the image as a disk image that boots by itself.",
    "flash": "Write the disk image to a card, and check it there.",
    "run": "Build the image and boot it in a virtual machine.",
    "ssh": "Log in to the machine, or run a command there.",
    "crew": "Look after the apps of a device.",
    "status": "Tell how the machine is.",
    "stop": "Stop the machine.",
    "push": "Update a device over SSH; it goes back by itself when the update is no good.",
    "rollback": "Take a device back to the image that it ran before.",
    "fleet": "Look after many devices at once.",
    "discover": "Find devices on the local network.",
    "slots": "Show what a device's two slots hold.",
    "backup": "Write a device's settings to a file.",
    "restore": "Put settings from a file onto a device.",
    "reset": "Restart a device as after its first start.",
    "size": "Show what the image's bytes are spent on.",
    "sbom": "List the packages in the image, with versions and licences.",
    "audit": "Look packages up in Debian's list of known security holes.",
    "boot-chart": "Show what a boot's time went into.",
    "kernel": "Show or change the configuration of a kernel from source.",
    "br": "Call Buildroot: its menus, sources and other targets.",
    "cmd": "Run a command of a SkiffOS config package.",
    "import-skiffos": "Turn a SkiffOS config package into a layer.",
    "port": "Rebuild a container image for other CPUs.",
    "clean": "Remove what was built.",
    "completion": "Print the shell's completion script.",
}

EPILOG = """\b
Examples:
  skiff run -d virt/qemu,engine/docker    build, boot, wait until it answers
  skiff ssh                               log in to it
  skiff build --help                      all about one verb"""


def _module(verb: str) -> str:
    return verb.replace("-", "_")


class Verbs(click.Group):
    """Finds a verb in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order in which one meets them."""
        folder = Path(__file__).parent
        return [name for name in VERBS if (folder / f"{_module(name)}.py").exists()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one verb. None for a word that is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"skiff.cli.{_module(cmd_name)}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, which cannot guess at verbs that are not loaded."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            ctx.fail(f"there is no verb {args[0]!r}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, without loading them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, VERBS[name]) for name in self.list_commands(ctx)])


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
    subcommand_metavar="VERB [WORDS]…",
)
@click.version_option(skiff.__version__, prog_name="skiff", message="%(prog)s %(version)s")
def cli() -> None:
    """Compose layers into a small system image that runs from RAM; build it, run it, reach it."""
