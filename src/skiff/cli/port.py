"""`skiff port`: a container image, rebuilt for other CPUs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click
import msgspec

from skiff import porting
from skiff.cli.common import print_json
from skiff.cli.options import Verb, examples, json_option, ui_option, with_options
from skiff.cli.port_options import building_options
from skiff.host.dirs import cache_dir
from skiff.host.files import write_atomic
from skiff.host.ui import Ui
from skiff.model.port import Plan, Platform
from skiff.model.ported import Ported
from skiff.port.graph import source_folder
from skiff.port.picture import dot_text, svg_text
from skiff.port.planning import Wish, planned
from skiff.port.show import finding_lines, for_programs, summary, tree_lines


def _platforms(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Platform, ...]:
    try:
        return tuple(dict.fromkeys(Platform.known(name) for text in value for name in text.split(",")))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _pairs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    if wrong := next((text for text in value if "=" not in text), None):
        raise click.BadParameter(f"{wrong}: not NAME=VALUE")
    return {name: text for name, _, text in (one.partition("=") for one in value)}


_FILE = click.Path(dir_okay=False, path_type=Path)
_OPTIONS = (
    click.argument("image", metavar="IMAGE|PATH"),
    click.option(
        "--arch",
        "platforms",
        multiple=True,
        required=True,
        callback=_platforms,
        metavar="CPU",
        help="A CPU to build for: arm64, armhf, riscv64, linux/arm/v6 … Can be given several times.",
    ),
    click.option("-f", "--file", default="", metavar="FILE", help="The Dockerfile, within PATH."),
    click.option("--target", default="", metavar="STAGE", help="Stage to build. [default: the last]"),
    click.option(
        "--build-arg",
        "args",
        multiple=True,
        callback=_pairs,
        metavar="NAME=VALUE",
        help="An argument of the Dockerfile. Can be given several times.",
    ),
    click.option(
        "--source",
        "sources",
        multiple=True,
        metavar="IMAGE=SOURCE",
        help="Where an image's source is: GIT_URL#REF:FOLDER, or a folder. Can be given several times.",
    ),
    click.option(
        "--library", default="", metavar="DIR|URL", help="Library of official images. [default: Docker's]"
    ),
    click.option(
        "--port-file", type=_FILE, metavar="FILE", help="What you tell of images. [default: ./port.toml]"
    ),
    click.option(
        "--no-rewrite", is_flag=True, help="Leave Dockerfiles as they are; only tell what is found."
    ),
    click.option("--ground-up", is_flag=True, help="Reuse no image for the CPU that can be made."),
    click.option("--update", is_flag=True, help="Fetch the library even if today's is there."),
)


def _planning_options(verb: Verb) -> Verb:
    """What to port, and where sources are, as ``wish: Wish``."""

    @functools.wraps(verb)
    def wrapper(
        *args: Any,
        image: str,
        platforms: tuple[Platform, ...],
        file: str,
        target: str,
        sources: tuple[str, ...],
        library: str,
        port_file: Path | None,
        no_rewrite: bool,
        ground_up: bool,
        update: bool,
        **kwargs: Any,
    ) -> Any:
        wish = Wish(
            image=image,
            platforms=platforms,
            file=file,
            target=target,
            args=kwargs.pop("args"),
            sources=sources,
            library=library,
            port_file=port_file,
            rewrite=not no_rewrite,
            ground_up=ground_up,
            update=update,
        )
        return verb(*args, wish=wish, **kwargs)

    return with_options(wrapper, *_OPTIONS)


@click.command(
    epilog=examples(
        "skiff port ./app --arch arm64 --plan             what would be built, and why",
        "skiff port ./app --arch arm64 --load             build it, for this machine's engine",
        "skiff port redis:7 --arch riscv64 --output x.tar an image by its name, as an OCI archive",
        "skiff port ./app --arch arm64,armhf --push NAME  for two CPUs, into a registry",
    )
)
@_planning_options
@building_options
@click.option("--plan", "only_plan", is_flag=True, help="Show the plan and what was found; build nothing.")
@click.option("--svg", type=_FILE, metavar="FILE", help="Write a picture of the plan (with Graphviz).")
@click.option("--dot", type=_FILE, metavar="FILE", help="Write the plan in Graphviz' language.")
@json_option
@ui_option
def command(
    wish: Wish,
    building: porting.Options,
    only_plan: bool,
    svg: Path | None,
    dot: Path | None,
    as_json: bool,
    ui: Ui,
) -> None:
    """Rebuild a container image, and all it is based on, for other CPUs.

    IMAGE is a name, PATH a folder with a Dockerfile: ./app or app/. First comes a plan: what is there for the
    CPU is reused, the rest is rebuilt from its source or, for bases, made of a distribution's packages. What
    ties a Dockerfile to another CPU is told, and rewritten where that is safe.

    With --plan, exit status 1 says that the plan is there, and that something is missing to carry it out.
    """
    wish = msgspec.structs.replace(wish, tag=building.tag)
    with (
        porting.world(building, cache_dir(), ui) as world,
        planned(wish, world.images, porting.build_platform(), cache_dir(), ui.warn) as made,
    ):
        if dot is not None:
            write_atomic(dot, dot_text(made.plan).encode())
        if svg is not None:
            write_atomic(svg, svg_text(made.plan))
        if only_plan:
            _show_plan(made.plan, as_json)
            if made.plan.missing:
                raise click.exceptions.Exit(1)
            return
        if not as_json:
            _tell(made.plan, ui)
        checkout = functools.partial(source_folder, sources=made.sources)
        ported = porting.carry_out(made.plan, world, checkout, building, ui)
    _show_ported(ported, as_json)


def _show_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        print_json(for_programs(plan))
        return
    lines = [*tree_lines(plan), ""]
    found = list(finding_lines(plan))
    click.echo("\n".join([*lines, *found, *([""] if found else []), summary(plan)]))


def _tell(plan: Plan, ui: Ui) -> None:
    for line in tree_lines(plan):
        ui.notice(line)
    for node in plan.nodes:
        for finding in node.findings:
            if finding.blocks and not finding.after:
                ui.warn(f"{finding.file}:{finding.line}: {finding.what}: {finding.why}")
    ui.notice(summary(plan))


def _show_ported(ported: Ported, as_json: bool) -> None:
    if as_json:
        print_json(ported)
        return
    for result in ported.results:
        seen = f"; {result.verified}" if result.verified else ""
        click.echo(
            f"{result.bytes / 1e6:8.2f} MB  {result.image} {result.platform}: "
            f"{result.elf_files} programs and libraries, all for it{seen}"
        )
    for output in ported.outputs:
        click.echo(output)
