"""The way from an image to the same image for another CPU: where the parts of `port` meet."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import require
from skiff.host.ui import Ui
from skiff.model.arch import Arch
from skiff.model.port import Action, Node, Plan, Platform, Reference
from skiff.model.ported import Done, Outcome, Ported, Result
from skiff.port import emulate, engines, index, report
from skiff.port.archive import from_layout
from skiff.port.base import Bases
from skiff.port.build import Builder, Checkout, How
from skiff.port.engine import Engine
from skiff.port.engines import Remote
from skiff.port.lookup import Images
from skiff.port.prove import Proven, Shelf
from skiff.port.registry import Registry
from skiff.port.verify import verify


class Options(msgspec.Struct, frozen=True):
    """How to carry out a plan, and where the images go."""

    how: How = How()
    # `auto`, `docker`, `podman` or `buildah`.
    engine: str = "auto"
    devices: tuple[Remote, ...] = ()
    # Registries that may be asked without TLS.
    insecure: tuple[str, ...] = ()
    # In place of the distributions' own, by their names.
    mirrors: Mapping[str, str] = {}
    # Asked when an emulator is missing; whether to set it up.
    consent: Callable[[str], bool] = lambda _: False
    # Paths in images that may be for another CPU.
    allowed: tuple[str, ...] = ()
    verify: bool = False
    # The name for the images; without one, that of the plan's root.
    tag: Reference | None = None
    load: bool = False
    output: Path | None = None
    push: tuple[Reference, ...] = ()
    report: Path | None = None


class World(msgspec.Struct, frozen=True):
    """What planning asks and building uses: images that are there, and engines."""

    images: Images
    cache: Path
    devices: tuple[Engine, ...] = ()
    # Why this machine has no engine; a plan can be made without.
    problem: UserError | None = None

    def engines(self) -> tuple[Engine, ...]:
        """This machine's engine first. Raises UserError when there is none."""
        if self.images.engine is None:
            raise self.problem or UserError("no container engine")
        return (self.images.engine, *self.devices)


@contextmanager
def world(options: Options, cache: Path, ui: Ui) -> Iterator[World]:
    """What there is, while the block runs. Raises UserError for a device that cannot be reached."""
    engine, problem = None, None
    try:
        engine = engines.local(options.engine)
    except UserError as error:
        problem = error
    with ExitStack() as stack:
        devices = tuple(stack.enter_context(engines.on_device(device)) for device in options.devices)
        bases = Bases(cache, ui.warn, options.mirrors, _keyring(options, cache, ui))
        images = Images(Registry(cache, options.insecure), bases, cache, ui.warn, engine)
        yield World(images, cache, devices, problem)


def _keyring(options: Options, cache: Path, ui: Ui) -> Callable[[str, str], Path]:
    """Fetches a file of one of Debian's packages of keys, checked as all of Debian's are."""
    mirror = options.mirrors.get("debian")

    def fetch(package: str, path: str) -> Path:
        # Loaded only when it is needed: a plan is made in less than a second.
        from skiff.builders.debian.one_package import find_package, package_file

        # It is the same for all CPUs.
        found = find_package(Arch.AMD64, package, cache, mirror, ui.warn)
        return package_file(found, path, Arch.AMD64, cache, mirror)

    return fetch


def refuse_missing(plan: Plan) -> None:
    """Raise UserError when something stands in the way of carrying out the plan."""
    if plan.missing:
        lines = [f"{node.reference.short} for {node.platform}: {node.why}" for node in plan.missing]
        raise UserError(
            "the plan cannot be carried out:\n  " + "\n  ".join(lines),
            hint="--source IMAGE=GIT_URL#REF:DIR names the source of an image, --mirror a base's archive",
        )


def _check_files(options: Options) -> None:
    """Raise UserError, before any work, for files that could not be written after it."""
    if options.report is not None:
        report.check(options.report)
    if options.output is not None and not options.output.absolute().parent.is_dir():
        raise UserError(f"{options.output}: the folder is not there")


def carry_out(plan: Plan, there: World, checkout: Checkout, options: Options, ui: Ui) -> Ported:
    """Build, prove, verify; only when all is well does any image get its name. Raises UserError."""
    started = time.monotonic()
    require("skopeo")
    refuse_missing(plan)
    _check_files(options)
    builder = Builder(plan, there.images, there.engines(), checkout, there.cache, options.how, ui)
    shelf = Shelf(there.cache)
    roots = [builder.nodes[name] for name in plan.roots]
    if options.verify:
        _can_run(roots, builder)
    wanted = builder.wanted([root.id for root in roots if _to_build(root, builder, shelf, options)])
    _have_emulators(builder.foreign(wanted), options, ui)
    if wanted:
        builder.run(wanted)
    results = _prove(roots, builder, shelf, options, ui)
    outputs = _publish(roots, builder, shelf, options, there, ui)
    ported = Ported(tuple(results), _told(plan, builder), tuple(outputs), time.monotonic() - started)
    if options.report is not None:
        report.save(ported, plan, options.report)
    return ported


def _can_run(roots: Sequence[Node], builder: Builder) -> None:
    for engine in map(builder.engine, roots):
        if not engine.runs_images:
            raise UserError(
                f"{engine.name} builds images, and runs none for --verify",
                hint="--engine podman or --engine docker; or leave --verify out",
            )


def _to_build(root: Node, builder: Builder, shelf: Shelf, options: Options) -> bool:
    """Whether the engine has to have the image: not when it lies on the shelf, or in a registry."""
    if root.action is Action.REUSE and builder.images.manifest(root.reference, root.found or root.platform):
        return False
    return shelf.known(builder.keys[root.id], options.allowed) is None


def _have_emulators(foreign: Sequence[Node], options: Options, ui: Ui) -> None:
    if os.environ.get("DOCKER_HOST", "unix:").partition(":")[0] != "unix":
        # The engine is another machine's, and so are its emulators.
        foreign = [node for node in foreign if node.action is Action.SYNTHESISE]
    targets = [arch for node in foreign if (arch := node.platform.debian) is not None]
    lacking = emulate.missing(engines.host_arch(), targets)
    if not lacking:
        return
    names = ", ".join(one.debian for one in lacking)
    if not options.consent(f"This machine does not run programs for {names}. Set up emulation"):
        raise emulate.refusal(lacking)
    emulate.set_up(lacking, ui)


def _prove(roots: Sequence[Node], builder: Builder, shelf: Shelf, options: Options, ui: Ui) -> list[Result]:
    results = []
    with ui.step("prove", total=len(roots)) as step:
        for root in roots:
            key = builder.keys[root.id]
            step.detail(f"{root.reference.short} {root.platform}")
            proven = shelf.known(key, options.allowed) or shelf.put(root, builder, options.allowed)
            seen = _verified(root, builder, shelf, step.detail) if options.verify else ""
            results.append(_result(root, proven, shelf.layout(key), seen))
            step.advance()
    return results


def _result(root: Node, proven: Proven, layout: Path, seen: str) -> Result:
    return Result(
        root.id,
        root.reference.short,
        root.platform,
        index.single(layout).digest,
        index.size(layout),
        proven.files,
        seen,
    )


def _verified(root: Node, builder: Builder, shelf: Shelf, tell: Callable[[str], None]) -> str:
    engine = builder.engine(root)
    tag = _in_engine(root, engine, builder, shelf)
    return verify(engine, tag, root.reference.short, root.platform, tell)


def _in_engine(root: Node, engine: Engine, builder: Builder, shelf: Shelf) -> str:
    """The name that the image has in an engine, brought from the shelf when it is not there."""
    tag = builder.tags[root.id]
    if tag not in engine.tags():
        layout = shelf.layout(builder.keys[root.id])
        with tempfile.TemporaryDirectory(prefix="skiff-port-") as scratch:
            archive = Path(scratch) / "image.tar"
            from_layout(layout, tag, archive)
            engine.load(archive)
    return tag


def _publish(
    roots: Sequence[Node], builder: Builder, shelf: Shelf, options: Options, there: World, ui: Ui
) -> list[str]:
    """Hand the images on: from here on names move, the registry's last."""
    name = options.tag or roots[0].reference
    outputs = []
    if options.output is None and not options.push and not options.load:
        return []
    with ui.step("publish") as step:
        layouts = [(root.platform, shelf.layout(builder.keys[root.id])) for root in roots]
        (there.cache / "port" / "tmp").mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=there.cache / "port" / "tmp"))
        try:
            digest = index.join(layouts, folder / "oci", str(name))
            if options.load:
                outputs += _load(roots, name, builder, shelf)
            if options.output is not None:
                step.detail(str(options.output))
                index.pack(folder / "oci", options.output)
                outputs.append(f"{options.output} ({digest})")
            for target in options.push:
                step.detail(str(target))
                there.images.registry.push(folder / "oci", str(name), target)
                outputs.append(f"{target} ({digest})")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return outputs


def _load(roots: Sequence[Node], name: Reference, builder: Builder, shelf: Shelf) -> list[str]:
    engine = builder.engines[0]
    tags = [_in_engine(root, engine, builder, shelf) for root in roots]
    names = index.local_names(name, [root.platform for root in roots])
    for tag, wanted in zip(tags, names, strict=True):
        engine.tag(tag, wanted)
    return [f"{wanted} in {engine.name}" for wanted in names]


def _told(plan: Plan, builder: Builder) -> tuple[Done, ...]:
    """All nodes: those of this run, and those that were there."""
    there = {tag for engine in builder.engines for tag in builder.have(engine)}

    def outcome(node: Node) -> Outcome:
        if node.id in plan.roots:
            return Outcome.FETCHED if node.action is Action.REUSE else Outcome.KEPT
        return Outcome.KEPT if builder.tags[node.id] in there else Outcome.UNUSED

    return tuple(
        builder.done.get(node.id)
        or Done(node.id, node.reference.short, node.platform, node.action, outcome(node))
        for node in plan.nodes
    )


def build_platform() -> Platform:
    """What builds run on without emulation: this machine."""
    return Platform.of(engines.host_arch())
