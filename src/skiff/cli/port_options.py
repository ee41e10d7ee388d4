"""The options of `skiff port` for building: with which engines, what is allowed, and where the images go."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from skiff import porting
from skiff.cli.options import Verb, with_options
from skiff.port.build import How
from skiff.port.distributions import distributions
from skiff.port.engines import Remote
from skiff.port.reference import parse_reference

_ADDRESS = re.compile(r"(https?|file)://")


def _mirrors(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in value:
        name, _, url = ("debian", "", text) if _ADDRESS.match(text) else text.partition("=")
        if name not in distributions() or not _ADDRESS.match(url):
            raise click.BadParameter(f"{text}: not URL, nor {' or '.join(distributions())}=URL")
        found[name] = url.rstrip("/")
    return found


_OPTIONS = (
    click.option("--tag", metavar="NAME", help="Name for the images. [default: the name that was asked for]"),
    click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write an OCI archive with an index of all CPUs.",
    ),
    click.option(
        "--load", is_flag=True, help="Name them in this machine's engine; with several CPUs, NAME-CPU."
    ),
    click.option(
        "--push",
        multiple=True,
        metavar="NAME",
        help="Push the index to a registry. Can be given several times.",
    ),
    click.option("--verify", is_flag=True, help="Run each image: its HEALTHCHECK, or what it starts."),
    click.option(
        "--report",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Save what was done and with which outcome: FILE.md or FILE.json.",
    ),
    click.option(
        "--allow-foreign",
        "allowed",
        multiple=True,
        metavar="PATTERN",
        help="Paths in an image whose programs may be for another CPU, as in '/opt/firmware/*'.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["auto", "docker", "podman", "buildah"]),
        default="auto",
        show_default=True,
        help="What builds on this machine.",
    ),
    click.option(
        "--on",
        "devices",
        multiple=True,
        metavar="USER@HOST[:PORT]",
        help="A device that builds for its own CPU, reached by SSH. Can be given several times.",
    ),
    click.option(
        "--ssh-option",
        "ssh_options",
        multiple=True,
        metavar="KEY=VALUE",
        help="An option for ssh on the way to devices, as in IdentityFile=FILE.",
    ),
    click.option(
        "--setup-emulation/--no-setup-emulation",
        "emulation",
        default=None,
        help="Whether to set up emulation where it is missing. [default: ask on a terminal]",
    ),
    click.option("--jobs", type=click.IntRange(1), metavar="N", help="Builds at a time. [default: the CPUs]"),
    click.option(
        "--network",
        type=click.Choice(["default", "none", "host"]),
        default="default",
        show_default=True,
        help="Network of what Dockerfiles run.",
    ),
    click.option(
        "--insecure-registry",
        "insecure",
        multiple=True,
        metavar="HOST[:PORT]",
        help="A registry that may be asked without TLS. This machine's own may always.",
    ),
    click.option(
        "--mirror",
        "mirrors",
        multiple=True,
        callback=_mirrors,
        metavar="[DISTRIBUTION=]URL",
        help="Mirror for bases: Debian's, or ubuntu=URL. [default: this host's own; Ubuntu's]",
    ),
)


def building_options(verb: Verb) -> Verb:
    """The options above, as ``building: porting.Options``."""

    @functools.wraps(verb)
    def wrapper(
        *args: Any,
        tag: str | None,
        push: tuple[str, ...],
        devices: tuple[str, ...],
        ssh_options: tuple[str, ...],
        emulation: bool | None,
        jobs: int | None,
        network: str,
        output: Path | None,
        load: bool,
        verify: bool,
        report: Path | None,
        allowed: tuple[str, ...],
        engine: str,
        insecure: tuple[str, ...],
        mirrors: dict[str, str],
        **kwargs: Any,
    ) -> Any:
        building = porting.Options(
            how=How(jobs or os.cpu_count() or 1, network),
            engine=engine,
            devices=tuple(Remote(device, ssh_options) for device in devices),
            insecure=insecure,
            mirrors=mirrors,
            consent=_consent(emulation),
            allowed=allowed,
            verify=verify,
            tag=parse_reference(tag) if tag else None,
            load=load,
            output=output,
            push=tuple(parse_reference(name) for name in push),
            report=report,
        )
        return verb(*args, building=building, **kwargs)

    return with_options(wrapper, *_OPTIONS)


def _consent(said: bool | None) -> Callable[[str], bool]:
    def ask(question: str) -> bool:
        if said is not None:
            return said
        return sys.stdin.isatty() and click.confirm(question, default=False, err=True)

    return ask
