"""From image to a machine that answers: started or reused, waited for, and described."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import DEVNULL, PIPE, STDOUT, run, spawn
from skiff.host.ui import Step, Ui
from skiff.machine import lifecycle, ssh
from skiff.machine.files import MachineFiles, State
from skiff.machine.qemu import Options
from skiff.model.image import Image

# Ends when the device keeps its host key on persist, which it makes on its first boot, or after a minute:
# until then a power cut would cost the key that was just accepted.
SETTLED = "/usr/lib/skiff/wait-persist"

# Runs a container through the image's engine, prints what it does, ends with status 0 when it went well.
SELFTEST = "skiff-selftest"


class Ready(msgspec.Struct, frozen=True):
    """A machine that has answered, and how long that took in seconds since power-on."""

    state: State
    ssh_seconds: float | None = None
    engine_seconds: float | None = None


def wait_until_ready(
    files: MachineFiles,
    state: State,
    keys: tuple[Path, ...],
    *,
    engine: str,
    settled: bool,
    power_on: float,
    timeout: float,
    ui: Ui,
) -> Ready:
    """Wait for SSH, for persist when ``settled``, and for a container when ``engine`` is named.

    ``power_on`` is a time of the monotonic clock; ``timeout`` counts from now, in seconds.
    Raises UserError with the console's last lines when the machine ends or takes too long.
    """
    target = lifecycle.target(files, state, keys)
    deadline = time.monotonic() + timeout
    with ui.step("wait for SSH") as step:
        try:
            answer = ssh.wait_for_ssh(
                target,
                deadline=deadline,
                check=_watch(files, step),
                is_up=lambda: lifecycle.is_on_network(files),
            )
        except TimeoutError:
            raise lifecycle.too_late(files, "answer over SSH", timeout) from None
        step.detail("")
    if answer.host_key_changed:
        ui.warn("the machine shows another host key than before: is its persist disk in order?")
        ui.warn("`skiff ssh --new-host-key` accepts the new key, `skiff-status` on the machine tells more")
        target = msgspec.structs.replace(target, known_hosts=None)
    ready = Ready(state, ssh_seconds=answer.at - power_on)
    if state.persist and settled:
        with ui.step("wait for persist"), contextlib.suppress(UserError):
            run(ssh.argv(target, [SETTLED], batch=True), stdin=DEVNULL, timeout=timeout)
    if not engine:
        return ready
    with ui.step(f"wait for {engine} to run a container") as step:
        _selftest(files, target, engine, deadline, timeout, step)
    return msgspec.structs.replace(ready, engine_seconds=time.monotonic() - power_on)


def _watch(files: MachineFiles, step: Step) -> Callable[[], None]:
    """A check that ends the waiting when the machine has ended, and shows what its console says."""
    alive = lifecycle.watcher(files)

    def check() -> None:
        alive()
        step.detail(files.console_tail(1)[:100])

    return check


def _selftest(
    files: MachineFiles, target: ssh.Target, engine: str, deadline: float, timeout: float, step: Step
) -> None:
    # It gives up by itself, with a reason, a little before we do.
    left = max(1, round(deadline - time.monotonic() - 5))
    test = [SELFTEST, "--timeout", str(left)]
    words = ssh.argv(target, test, batch=True, options=("ServerAliveInterval=15",))
    said: list[str] = []
    with spawn(words, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT) as process:
        assert process.stdout is not None
        try:
            for line in _lines(process.stdout, deadline, lifecycle.watcher(files)):
                said.append(line)
                step.detail(line)
        except BaseException as error:
            process.kill()
            if isinstance(error, TimeoutError):
                raise lifecycle.too_late(files, f"container run by {engine}", timeout) from None
            raise
        status = process.wait()
    if status != 0:
        tail = "\n".join(said[-20:]) or "(no message)"
        raise UserError(
            f"{SELFTEST} on the machine failed with status {status}:\n{tail}",
            hint="skiff run --detach --wait ssh, then: skiff ssh -- skiff-status",
        )


def _lines(stream: IO[bytes], deadline: float, check: Callable[[], None]) -> Iterator[str]:
    """Lines as they come, until the stream ends. Raises TimeoutError at the deadline."""
    poll = select.poll()
    poll.register(stream, select.POLLIN | select.POLLHUP)
    rest = b""
    while True:
        check()
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if not poll.poll(1000 * min(left, 1.0)):
            continue
        part = os.read(stream.fileno(), 65536)
        *whole, rest = (rest + part).split(b"\n")
        for line in [*whole, *([rest] if not part and rest else [])]:
            yield line.decode(errors="replace").rstrip()
        if not part:
            return


class Wish(msgspec.Struct, frozen=True):
    """What the user wants of a run besides the machine's own options."""

    # `ssh`, `engine` (of the image, if it has one) or `no`.
    wait: str = "engine"
    # Seconds for all of the waiting.
    timeout: float = 300.0
    # End a machine that runs another image or was started with other options.
    restart: bool = False


def ensure_started(
    image: Image,
    options: Options,
    files: MachineFiles,
    wish: Wish,
    *,
    accel: Callable[[], str],
    ui: Ui,
) -> tuple[State, bool]:
    """The workspace's machine, started unless it runs already, and whether it was started now.

    ``accel`` is asked for `kvm` or `tcg` only when there is something to start.
    """
    state = running(files)
    if state is not None:
        other = difference(state, image, options)
        if not wish.restart or not other:
            ui.notice(f"the machine runs already (process {state.pid})")
            if other:
                ui.warn(f"the machine that runs is not the one asked for: {other}; --restart starts it anew")
            return state, False
        with ui.step("stop the machine that runs"):
            lifecycle.stop(files, power_off=None)
    chosen = accel()
    with ui.step("start QEMU"):
        return lifecycle.start(image, options, files, chosen), True


def bring_up(
    image: Image,
    options: Options,
    files: MachineFiles,
    keys: tuple[Path, ...],
    wish: Wish,
    *,
    accel: Callable[[], str],
    ui: Ui,
) -> Ready:
    """A machine in the background that has answered as far as wished.

    When it does not, or at Ctrl-C, a machine started here is ended again. One that ran before is
    waited for too, but its times mean nothing and are left out.
    """
    with ended_on_failure(files):
        state, new = ensure_started(image, options, files, wish, accel=accel, ui=ui)
        ready = await_wish(image, files, state, keys, wish, ui)
    return ready if new else Ready(state)


@contextlib.contextmanager
def ended_on_failure(files: MachineFiles) -> Iterator[None]:
    """A machine that is started within does not outlive an exception there, be it Ctrl-C at any moment."""
    before = running(files)
    try:
        yield
    except BaseException:
        now = running(files)
        if now is not None and now != before and now.starter == os.getpid():
            lifecycle.cut_power(files)
        raise


def await_wish(
    image: Image, files: MachineFiles, state: State, keys: tuple[Path, ...], wish: Wish, ui: Ui
) -> Ready:
    """Wait for what was wished of a machine that runs."""
    if wish.wait == "no":
        return Ready(state)
    return wait_until_ready(
        files,
        state,
        keys,
        engine=image.engine if wish.wait == "engine" else "",
        settled=wish.wait == "engine",
        power_on=time.monotonic() - (time.time() - state.started),
        timeout=wish.timeout,
        ui=ui,
    )


def running(files: MachineFiles) -> State | None:
    """The State of this workspace's machine if it runs now."""
    return files.load_state() if lifecycle.is_running(files) else None


def difference(state: State, image: Image, options: Options) -> str:
    """Why a running machine is not the one that is asked for; empty when it is.

    What the user leaves open (`0`, nothing) is satisfied by anything.
    """
    if state.image != lifecycle.identity(image):
        return "it runs an older image"
    asked: list[tuple[str, object, object]] = [
        ("memory", options.memory, state.memory),
        ("cpus", options.cpus, state.cpus),
        ("ssh-port", options.ssh_port, state.ssh_port),
        ("append", options.append, state.append),
        ("disk", tuple(str(disk) for disk in options.disks), state.disks),
    ]
    for name, wish, has in asked:
        if wish and wish != has:
            return f"it was started with another --{name}"
    if (options.boot.firmware.loader if options.boot else "") != state.loader:
        return "it was started by something else"
    if not options.persist and state.persist:
        return "it was started with its persist disk"
    return ""
