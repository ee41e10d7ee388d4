"""A virtual machine's life: start, wait until it answers, look, stop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.files import digest
from skiff.host.ports import free_port, is_free
from skiff.host.run import DEVNULL, require, spawn
from skiff.machine import qemu, qmp, ssh
from skiff.machine.card import insert_card, make_variables
from skiff.machine.files import MachineFiles, State
from skiff.machine.process import Process
from skiff.model.image import Image

# Seconds that QEMU may take until it has set up its devices; it needs far less than one.
_START_LIMIT = 60.0


def identity(image: Image) -> str:
    """What tells one image from another: its kernel and initramfs."""
    return digest("\n".join(item.sha256 for item in image.artefacts if item.name in ("kernel", "initramfs")))


def start(image: Image, options: qemu.Options, files: MachineFiles, accel: str) -> State:
    """Start QEMU in the background and return when its devices are set up.

    Raises UserError when a machine of this workspace runs already, the port is in use, a disk is
    missing or in use, or QEMU refuses for another reason. Nothing is left running then.
    """
    require(image.arch.qemu)
    _check_disks(options)
    files.root.mkdir(parents=True, exist_ok=True)
    with _only_one(files):
        running = Process.find(files)
        if running is not None:
            running.close()
            raise UserError("this workspace's machine is running already", hint="skiff stop")
        for path in (files.qmp, files.console, files.console_log, files.qemu_log, files.state):
            path.unlink(missing_ok=True)
        if options.boot is not None:
            make_variables(options.boot.firmware, files)
            insert_card(files, options.boot.disk, options.persist_bytes)
        elif options.persist:
            make_persist(files, options.persist_bytes)
        try:
            state = _power_on(image, options, files, accel)
            files.save_state(state)
        except BaseException:
            cut_power(files)
            raise
        return state


def _power_on(image: Image, options: qemu.Options, files: MachineFiles, accel: str) -> State:
    started = time.time()
    port = _start_on_some_port(image, options, files, accel)
    found = Process.find(files)
    if found is None:
        raise _ended(files)
    with found:
        return State(
            pid=found.pid,
            starter=os.getpid(),
            ssh_port=port,
            accel=accel,
            memory=options.memory or image.qemu_memory,
            cpus=options.cpus or image.qemu_cpus,
            persist=options.persist,
            started=started,
            image=identity(image),
            append=options.append,
            disks=tuple(str(disk) for disk in options.disks),
            loader=options.boot.firmware.loader if options.boot else "",
        )


def make_persist(files: MachineFiles, size: int) -> None:
    """Make a blank persist disk if there is none; the system partitions it on its first boot."""
    if files.persist.exists():
        return
    # A new disk means new host keys.
    files.known_hosts.unlink(missing_ok=True)
    partial = files.persist.with_suffix(".new")
    with partial.open("wb") as file:
        file.truncate(size)
    partial.replace(files.persist)


def target(files: MachineFiles, state: State, keys: tuple[Path, ...], user: str = "root") -> ssh.Target:
    """How to reach a machine that was started."""
    known_hosts = files.known_hosts if state.persist else None
    return ssh.Target(port=state.ssh_port, known_hosts=known_hosts, user=user, keys=keys)


def is_running(files: MachineFiles) -> bool:
    """Whether this workspace's machine runs now."""
    found = Process.find(files)
    if found is not None:
        found.close()
    return found is not None


def is_on_network(files: MachineFiles) -> bool:
    """Whether the guest uses a network card, as far as QEMU can tell: True when it cannot."""
    try:
        cards = qmp.execute(files.qmp, "query-rx-filter", timeout=1.0)
    except qmp.QmpError:
        return True
    # Each takes all packets until its driver says which it wants.
    return not cards or not all(card["promiscuous"] for card in cards)


def watcher(files: MachineFiles) -> Callable[[], None]:
    """A check to call while waiting: raises UserError with the console's last lines once QEMU ended."""

    def check() -> None:
        if not is_running(files):
            raise _ended(files)

    return check


def too_late(files: MachineFiles, what: str, seconds: float) -> UserError:
    """The error for a machine that took too long."""
    return UserError(f"no {what} within {seconds:.0f} s{_last_words(files)}", hint=_where(files))


def stop(
    files: MachineFiles,
    *,
    power_off: Callable[[], bool] | None,
    patience: float = 20.0,
    quit_limit: float = 3.0,
) -> bool:
    """End this workspace's machine and return whether there was one.

    ``power_off`` asks the guest to shut down and tells whether that was possible; the guest then gets
    ``patience`` seconds. Without it, or after that, the power is cut: QEMU gets ``quit_limit`` seconds
    to go by itself, then is killed.
    """
    found = Process.find(files)
    if found is None:
        return False
    with found:
        if power_off is not None and power_off() and found.wait(patience):
            _forget(files)
            return True
        # Asked over its own socket QEMU still closes its files in order.
        with contextlib.suppress(qmp.QmpError):
            qmp.execute(files.qmp, "quit", timeout=quit_limit)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if found.wait(quit_limit):
                break
            found.signal(number)
        found.wait(10.0)
    _forget(files)
    return True


def cut_power(files: MachineFiles) -> bool:
    """Kill QEMU at once, as pulling the plug does; whether there was one."""
    found = Process.find(files)
    if found is None:
        return False
    with found:
        found.signal(signal.SIGKILL)
        if not found.wait(30.0):
            raise UserError(f"process {found.pid} does not end", hint="its disk may hang")
    _forget(files)
    return True


def _forget(files: MachineFiles) -> None:
    for path in (files.pid, files.qmp, files.console):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _only_one(files: MachineFiles) -> Iterator[None]:
    """Two starts of one workspace at a time would share a disk."""
    handle = os.open(files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another command is starting this workspace's machine", hint="wait for it"
            ) from None
        yield
    finally:
        os.close(handle)


def _check_disks(options: qemu.Options) -> None:
    for disk in options.disks:
        if not disk.path.exists():
            raise UserError(f"disk {disk.path}: no such file", hint="truncate -s 1G FILE makes a blank one")
        if not os.access(disk.path, os.R_OK if disk.read_only else os.R_OK | os.W_OK):
            raise UserError(f"disk {disk.path}: not allowed", hint="for reading only, write --disk FILE,ro")


def _start_on_some_port(image: Image, options: qemu.Options, files: MachineFiles, accel: str) -> int:
    """Start QEMU and return the SSH port. A free port may be taken before QEMU has it: then the next."""
    if options.ssh_port and not is_free(options.ssh_port):
        raise _port_in_use(options.ssh_port)
    for _ in range(5):
        port = options.ssh_port or free_port()
        words = qemu.command(image, options, files, accel=accel, ssh_port=port)
        status = _spawn(words, files)
        if status == 0:
            return port
        said = _qemu_said(files)
        if "host forwarding" not in said:
            raise _refused(said, files)
        if options.ssh_port:
            break
    raise _port_in_use(port)


def _spawn(words: list[str], files: MachineFiles) -> int:
    """Run QEMU until it is in the background, or has said what is wrong; its exit status."""
    with files.qemu_log.open("wb") as log:
        process = spawn(words, stdin=DEVNULL, stdout=log, stderr=log, cwd=files.root, new_session=True)
        try:
            return process.wait(_START_LIMIT)
        except BaseException:
            # Ctrl-C, or a QEMU that hangs: its child has the same process group.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def _port_in_use(port: int) -> UserError:
    return UserError(f"port {port} is in use on this machine", hint="choose another with --ssh-port, or none")


def _refused(said: str, files: MachineFiles) -> UserError:
    if 'Failed to get "write" lock' in said or 'Failed to get shared "write" lock' in said:
        return UserError(f"a disk is in use by another machine: {said}", hint="stop that one, or use a copy")
    if "kvm" in said.lower():
        return UserError(f"QEMU cannot use KVM: {said}", hint="--accel tcg does without it")
    return UserError(f"QEMU does not start: {said}", hint=f"its messages: {files.qemu_log}")


def _ended(files: MachineFiles) -> UserError:
    said = _qemu_said(files)
    why = f" (QEMU: {said})" if said else ""
    return UserError(f"the machine ended before it answered{why}{_last_words(files)}", hint=_where(files))


def _qemu_said(files: MachineFiles) -> str:
    lines = files.qemu_log.read_text(errors="replace").strip().splitlines() if files.qemu_log.exists() else []
    return lines[-1] if lines else ""


def _last_words(files: MachineFiles) -> str:
    tail = files.console_tail()
    return f"\nlast lines of its console:\n{tail}" if tail else "\nits console said nothing"


def _where(files: MachineFiles) -> str:
    return f"the whole console log: {files.console_log}"
