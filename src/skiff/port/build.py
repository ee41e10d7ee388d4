"""Carries out a plan: upwards from what is there, side by side where the graph allows, resumable.

A node that is done has a name of its own in the engine, which tells by its key what it was made of; the next
run finds it there. Names that people use are none of this module's.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import Group
from skiff.host.ui import Step, Ui
from skiff.model.port import Action, GitSource, LocalSource, Node, Plan, Source
from skiff.model.ported import Done, Outcome
from skiff.port.archive import from_layout
from skiff.port.base import Base, write_archive
from skiff.port.engine import Engine, Job
from skiff.port.index import ONE
from skiff.port.keys import key_of, tag_of
from skiff.port.lookup import Images, tagged
from skiff.port.pin import pin
from skiff.port.progress import Watch
from skiff.port.reference import parse_reference

# The folder that a node is built from; None if it needs none.
Checkout = Callable[[Node], Path | None]
_OUTCOMES = {Action.REUSE: Outcome.FETCHED, Action.SYNTHESISE: Outcome.MADE, Action.REBUILD: Outcome.BUILT}


class How(msgspec.Struct, frozen=True):
    """How to build, as opposed to what."""

    # Builds at a time, in all engines together.
    jobs: int = 2
    # As `docker build --network`.
    network: str = "default"


class Builder:
    """One run over one plan. ``engines``: this machine's first, then devices."""

    def __init__(
        self,
        plan: Plan,
        images: Images,
        engines: Sequence[Engine],
        checkout: Checkout,
        cache: Path,
        how: How,
        ui: Ui,
    ) -> None:
        self.plan = plan
        self.images = images
        self.engines = tuple(engines)
        self.how = how
        self.ui = ui
        self.group = Group()
        self.nodes = {node.id: node for node in plan.nodes}
        self.done: dict[str, Done] = {}
        self._checkout = checkout
        self._cache = cache / "port"
        self._have: dict[Engine, set[str]] = {engine: set(engine.tags()) for engine in engines}
        self._locks: dict[str, threading.Lock] = {node.id: threading.Lock() for node in plan.nodes}
        self._checkouts = threading.Lock()
        self._bases: dict[str, Base] = {}
        self.keys: dict[str, str] = {}
        for node in plan.nodes:
            self.keys[node.id] = key_of(
                node, self.keys, present=self._present, base=self._base, network=how.network
            )
        self.tags = {node.id: tag_of(node, self.keys[node.id]) for node in plan.nodes}

    def engine(self, node: Node) -> Engine:
        """Where a node is built: on a device of its CPU if there is one that has all it needs, else here.

        What is built for another CPU than its own on purpose (`--platform=$BUILDPLATFORM`) stays here.
        """
        platforms = {node.platform, *(self.nodes[parent.node].platform for parent in node.parents)}
        for engine in self.engines[1:]:
            if all(engine.runs(platform) for platform in platforms):
                return engine
        return self.engines[0]

    def have(self, engine: Engine) -> frozenset[str]:
        """The names of ours that an engine has."""
        return frozenset(self._have[engine])

    def wanted(self, roots: Sequence[str]) -> list[Node]:
        """The nodes that have to be made, so that ``roots`` are there; in the plan's order."""
        found: set[str] = set()
        todo = list(roots)
        while todo:
            name = todo.pop()
            node = self.nodes[name]
            if name in found or self.tags[name] in self._have[self.engine(node)]:
                continue
            found.add(name)
            if node.action is Action.REBUILD:
                todo += [parent.node for parent in node.parents]
        return [node for node in self.plan.nodes if node.id in found]

    def foreign(self, wanted: Sequence[Node]) -> list[Node]:
        """Those that this machine can make only with an emulator."""
        here = self.engines[0]
        return [
            node
            for node in wanted
            if (
                node.action is Action.SYNTHESISE
                or (node.action is Action.REBUILD and self.engine(node) is here)
            )
            and not here.runs(node.platform)
            and not here.remote
        ]

    def run(self, wanted: Sequence[Node]) -> None:
        """Make them. Raises the first failure; what was made until then is kept."""
        with self.ui.step("build", total=len(wanted)) as step, ThreadPoolExecutor(self.how.jobs) as pool:
            waiting = {node.id: node for node in wanted}
            running: dict[Future[Done], Node] = {}
            try:
                while waiting or running:
                    for node in self._ready(waiting, {node.id for node in running.values()}):
                        if len(running) < self.how.jobs:
                            running[pool.submit(self._make, waiting.pop(node.id), step)] = node
                    ended, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        del running[future]
                        self._note(future.result(), step)
            except BaseException:
                self.group.stop()
                raise

    def _ready(self, waiting: dict[str, Node], running: set[str]) -> list[Node]:
        """Those whose parents are all done; in the plan's order."""
        undone = {*waiting, *running}
        return [
            node for node in waiting.values() if not any(parent.node in undone for parent in node.parents)
        ]

    def _note(self, done: Done, step: Step) -> None:
        self.done[done.id] = done
        step.advance()
        where = f" on {done.where}" if len(self.engines) > 1 else ""
        self.ui.notice(f"  {done.image} {done.platform}: {done.outcome.value}{where}, {done.seconds:.1f} s")

    def _make(self, node: Node, step: Step) -> Done:
        started = time.monotonic()
        engine = self.engine(node)

        def tell(text: str) -> None:
            step.detail(f"{node.reference.short} {node.platform}: {text}")

        tell(node.action.value)
        if node.action is Action.REBUILD and node.builder == "dockerfile":
            self._build(node, engine, tell)
        else:
            self._bring(node, engine, tell)
        return Done(
            node.id,
            node.reference.short,
            node.platform,
            node.action,
            _OUTCOMES[node.action],
            engine.name,
            time.monotonic() - started,
            sum(1 for finding in node.findings if finding.after),
            sum(1 for finding in node.findings if not finding.after),
        )

    def _build(self, node: Node, engine: Engine, tell: Callable[[str], None]) -> None:
        for parent in node.parents:
            self._ensure(self.nodes[parent.node], engine)
        watch = Watch(self._cache / "logs" / f"{self.keys[node.id]}.log", tell)
        with self._checkouts:
            found = self._checkout(node)
        with tempfile.TemporaryDirectory(prefix="skiff-port-") as scratch:
            context = found or Path(scratch) / "context"
            context.mkdir(exist_ok=True)
            dockerfile = Path(scratch) / "Dockerfile"
            parents = {
                parent.node: (self.tags[parent.node], self.nodes[parent.node].platform)
                for parent in node.parents
            }
            dockerfile.write_text(pin(node, parents, self._has_reader))
            ignore = _ignore_file(node.source, context)
            if ignore is not None:
                (Path(scratch) / "Dockerfile.dockerignore").write_bytes(ignore.read_bytes())
            job = Job(
                tag=self.tags[node.id],
                platform=node.platform,
                dockerfile=dockerfile,
                context=context,
                target=node.target,
                args=node.args,
                network=self.how.network,
            )
            try:
                failed = engine.build(job, self.group, watch)
            finally:
                watch.close()
        if failed:
            raise watch.failure(node)
        self._have[engine].add(self.tags[node.id])

    def _bring(self, node: Node, engine: Engine, tell: Callable[[str], None]) -> None:
        """Have an image in the engine that is not built from a Dockerfile."""
        tag = self.tags[node.id]
        own = self.images.local(node.reference) if node.action is Action.REUSE else None
        if own is not None and not self._digest(node) and engine is self.engines[0]:
            engine.tag(own.id, tag)
            self._have[engine].add(tag)
            return
        (self._cache / "tmp").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache / "tmp") as scratch:
            archive = Path(scratch) / "image.tar"
            self._write_archive(node, archive, tell)
            engine.load(archive)
        self._have[engine].add(tag)

    def _write_archive(self, node: Node, archive: Path, tell: Callable[[str], None]) -> None:
        tag = self.tags[node.id]
        if node.action is Action.SYNTHESISE:
            base = self._base(node)
            folder = self.images.bases.make(base, self.group, tell)
            write_archive(base, folder, node.platform, tag, archive)
        elif node.action is Action.REBUILD:
            with self._checkouts:
                layout = self._checkout(node)
            assert layout is not None
            from_layout(layout, tag, archive)
        else:
            layout = archive.with_name("oci")
            self.images.registry.copy(node.reference, self._digest(node), f"oci:{layout}:{ONE}")
            from_layout(layout, tag, archive)

    def _ensure(self, node: Node, engine: Engine) -> None:
        """Have a node that is done in an engine, brought from another one when it was made there."""
        tag = self.tags[node.id]
        with self._locks[node.id]:
            if tag in self._have[engine]:
                return
            holder = next((one for one in self.engines if tag in self._have[one]), None)
            if holder is None:
                self._bring(node, engine, lambda _: None)
                return
            (self._cache / "tmp").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._cache / "tmp") as scratch:
                archive = Path(scratch) / "image.tar"
                holder.save(tag, archive)
                engine.load(archive)
            self._have[engine].add(tag)

    def _digest(self, node: Node) -> str:
        return self.images.manifest(node.reference, node.found or node.platform)

    def _present(self, node: Node) -> str:
        found = self._digest(node)
        own = self.images.local(node.reference)
        if not found and own is None:
            raise UserError(f"{node.reference.short}: it was there for {node.platform}, and is gone")
        return found or (own.id if own is not None else "")

    def _base(self, node: Node) -> Base:
        if node.id not in self._bases:
            base = self.images.bases.find(tagged(node.reference), node.platform)
            if base is None:
                raise UserError(f"{node.reference.short}: the archive has it no longer for {node.platform}")
            self._bases[node.id] = base
        return self._bases[node.id]

    def _has_reader(self, image: str) -> bool:
        with suppress(UserError):
            return self.images.platforms(parse_reference(image)) is not None
        return False


def _ignore_file(source: Source | None, context: Path) -> Path | None:
    """What the Dockerfile's own list of ignored files is, if it has one beside it."""
    name = source.file if isinstance(source, GitSource | LocalSource) else "Dockerfile"
    file = context / f"{name}.dockerignore"
    return file if file.is_file() else None
