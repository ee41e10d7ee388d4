"""Images built once, devices that always end, and reports that show what the device said."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from skiff import pipeline
from skiff.host.dirs import cache_dir
from skiff.host.errors import UserError
from skiff.host.run import run, which
from skiff.host.ui import Ui
from skiff.image.assemble import load
from skiff.image.disk import write_disk
from skiff.machine import kvm
from skiff.machine.files import MachineFiles
from skiff.model.arch import Arch
from skiff.model.firmware import Boot
from skiff.model.image import Image
from tests.vm.disks import MIB
from tests.vm.driver import Device, HarnessError
from tests.vm.kernels import unpacked
from tests.vm.mirrors import mirror_for
from tests.vm.sources import chosen, workspace_name

# Devices of the test that runs, for its report.
_DEVICES = pytest.StashKey[list[Device]]()

# Several tests run at a time, on two cores as likely as not: a second thread for a machine is of no use.
# And QEMU 7.2 has races between them: a guest that patches its code may panic, a timer may be lost.
# Two virtual CPUs on one thread would only wait for each other.
_THREADS = {Arch.AMD64: "single"}
_CPUS = {Arch.AMD64: 1}
# The kernel's trials of its own ciphers are a fifth of a start, those of its random numbers a twentieth.
_WORDS = ("cryptomgr.notests", "initcall_blacklist=jent_mod_init,crypto_kdf108_init")

# Files of tests that keep a processor busy for minutes, the longest first; and of those that wait as long for
# clocks, limits and chance.
_BUSY = ("test_crew.py", "test_core.py", "test_update.py", "test_engine.py")
_WAITING = ("test_power.py", "test_wifi.py", "test_guard.py", "test_torture.py")

# Last lines of a console in a report.
_TAIL = 60


# Seconds that everything may take to be compiled by a slow machine.
COMPILING = 5400


class Images:
    """Images by their layers, built by `skiff build` into the cache and kept there between test runs."""

    def __init__(self) -> None:
        chosen = os.environ.get("SKIFF_TEST_CACHE")
        self.cache = Path(chosen).absolute() if chosen else cache_dir()
        self.workspaces = self.cache / "test-workspaces"
        self._built: dict[tuple[str, ...], Image] = {}
        self._mirrors = ExitStack()
        self._mirror: dict[Arch, str | None] = {}

    def build(self, *words: str, shipped: bool = False) -> Image:
        """The image for layers and options, as they are given to `skiff build`; packed as users have it when
        it is to be as ``shipped``, and else so that emulated machines start sooner."""
        words = chosen(words, shipped=shipped)
        if words not in self._built:
            folder = self.workspaces / workspace_name(words)
            environment = {
                "SKIFF_WORKSPACES": str(self.workspaces),
                "SKIFF_WORKSPACE": folder.name,
                "SKIFF_CACHE": str(self.cache),
                "SKIFF_CONFIG": "",
            }
            arch = _arch(words)
            mirror = self.mirror(arch)
            options = ["--mirror", mirror] if mirror else []
            argv = [sys.executable, "-m", "skiff", "build", "--quiet", *words, *options]
            try:
                with self._alone(f"{arch.value}-shipped" if shipped else arch.value):
                    run(argv, env=environment, input=b"", timeout=COMPILING if "buildroot" in words else 1500)
            except UserError as error:
                raise HarnessError(f"no image to test: {error}") from error
            image = load(folder / "image")
            if image is None:
                raise HarnessError(f"{folder}: built, but there is no image")
            self._built[words] = image
        return self._built[words]

    @contextmanager
    def _alone(self, kind: str) -> Iterator[None]:
        """Tests run side by side in several processes: one builds, the others wait and find it built.

        Only images of one kind have much in common, which would be made twice.
        """
        self.workspaces.mkdir(parents=True, exist_ok=True)
        with (self.workspaces / f".{kind}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def mirror(self, arch: Arch) -> str | None:
        """The mirror to build from; None: the host's own."""
        if arch not in self._mirror:
            self._mirror[arch] = self._mirrors.enter_context(mirror_for(arch))
        return self._mirror[arch]

    def close(self) -> None:
        """End the mirrors."""
        self._mirrors.close()

    def key(self, *words: str, shipped: bool = False) -> Path:
        """Private key that logs in to that image."""
        name = workspace_name(chosen(words, shipped=shipped))
        return self.workspaces / name / "keys" / "id_ed25519"


def _arch(words: tuple[str, ...]) -> Arch:
    return Arch(words[words.index("--arch") + 1]) if "--arch" in words else Arch.host()


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """Builds each image once per test run."""
    if which("qemu-system-x86_64") is None:
        raise HarnessError("qemu-system-x86_64 is not installed: `make setup` installs it")
    made = Images()
    yield made
    made.close()


@pytest.fixture
def device(images: Images, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Device]]:
    """Makes devices: `device("virt/qemu", "engine/docker")`, switched off at first. All end with the test.

    With `shipped=True` kernel and image are as users have them, which takes longer.
    """
    made: list[Device] = request.node.stash.setdefault(_DEVICES, [])

    def make(*words: str, shipped: bool = False) -> Device:
        image = images.build(*words, shipped=shipped)
        name = f"device{len(made) + 1}" if made else "device"
        new = Device(image, tmp_path / name, images.key(*words, shipped=shipped), name=name)
        new.accel = kvm.choose(image, "auto", images.cache, lambda _: None)
        threads = _THREADS.get(image.arch, new.options.threads)
        cpus = _CPUS.get(image.arch, new.options.cpus)
        new.options = msgspec.structs.replace(new.options, threads=threads, cpus=cpus, append=_WORDS)
        if new.accel == "tcg" and not shipped:
            new.image = unpacked(image, images.cache)
        made.append(new)
        return new

    yield make
    for each in made:
        each.close()
        # Disks are large even when sparse; pytest keeps the folders of several runs.
        MachineFiles(each.files.root).persist.unlink(missing_ok=True)


@pytest.fixture
def from_disk(device: Callable[..., Device], images: Images, tmp_path: Path) -> Callable[..., Device]:
    """Makes devices that have their disk image on a card which is 512 MiB larger."""

    def make(*words: str, shipped: bool = False) -> Device:
        machine = device(*words, shipped=shipped)
        # Firmware starts a kernel as it is in the image.
        machine.image = images.build(*words, shipped=shipped)
        ui = Ui(quiet=True)
        made, _ = write_disk(tmp_path / "disk", machine.image, {}, images.cache, lambda _: None)
        options = pipeline.Options(images.mirror(machine.image.arch))
        firmware = pipeline.firmware_for(machine.image, images.cache, options, ui)
        machine.options = msgspec.structs.replace(
            machine.options, boot=Boot(firmware, made), persist_bytes=512 * MIB
        )
        return machine

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failed test's report what its devices say of themselves."""
    report = yield
    if call.when == "call" and report.failed:
        for each in item.stash.get(_DEVICES, []):
            tail = "\n".join(each.console().splitlines()[-_TAIL:])
            report.sections.append((f"console of {each.name}", tail))
            report.sections.append((f"skiff-status of {each.name}", each.status()))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Every test in this folder boots a machine. Of those that are chosen the longest come first.

    There may be two processors: the last worker begins with tests that wait, and the others share those that
    work. Each worker begins at its part of the list, and then takes from another's end.
    """
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vm)
    yield
    busy, waiting = (
        sorted(
            (item for item in items if item.path.name in files), key=lambda item: files.index(item.path.name)
        )
        for files in (_BUSY, _WAITING)
    )
    rest = iter([item for item in items if item.path.name not in (*_BUSY, *_WAITING)])
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    others = max(1, workers - 1)
    parts = [*(busy[number::others] for number in range(others)), waiting]
    size = -(-len(items) // len(parts))
    items[:] = [item for part in parts for item in (*part, *islice(rest, max(0, size - len(part))))] + [*rest]
