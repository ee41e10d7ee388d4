"""A device under test, in plain words: start it, wait, run commands, pull the plug.

What the product does wrong is a ProductFailure; what keeps the test from being carried out at all is a
HarnessError, so that nobody hunts a ghost in the product.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import CommandError, run
from skiff.machine import lifecycle, qmp, ssh
from skiff.machine.files import Disk, MachineFiles, State
from skiff.machine.knock import Knocker
from skiff.machine.process import Process
from skiff.machine.qemu import Options
from skiff.model.image import Image
from tests.vm import translations

# Where the device keeps the services it supervises.
SERVICES = "/run/skiff/services"


class ProductFailure(AssertionError):
    """The device does not do what it should."""


class HarnessError(Exception):
    """The test could not be carried out: QEMU, disk images or the host are at fault."""


class Result(msgspec.Struct, frozen=True):
    """A command that ended on the device."""

    command: str
    status: int
    stdout: str
    stderr: str


class Unit(msgspec.Struct, frozen=True):
    """One line of `skiff-status`."""

    state: str
    text: str
    hint: str


class _Status(msgspec.Struct, frozen=True):
    """What `skiff-status --json` prints."""

    ok: bool
    units: dict[str, Unit]


class Device:
    """A virtual machine with one image and, unless said otherwise, a persist disk of its own."""

    def __init__(self, image: Image, folder: Path, key: Path, *, name: str = "device") -> None:
        self.name = name
        self.image = image
        self.files = MachineFiles(folder)
        self.files.root.mkdir(parents=True, exist_ok=True)
        self.options = Options()
        self.accel = "tcg"
        self._key = key
        self._state: State | None = None
        self._power_on = 0.0
        self._keyboard: socket.socket | None = None
        # Socket paths are short, temporary folders of tests are not.
        self._control = Path(tempfile.mkdtemp(prefix="skiff-vm."))

    # Power

    @property
    def persist(self) -> Path:
        """The persist disk's image; while the device is off a test may change it."""
        return self.files.persist

    def start(
        self,
        *,
        memory: int | None = None,
        persist: bool | None = None,
        disks: tuple[Disk, ...] | None = None,
        append: tuple[str, ...] | None = None,
        extra: tuple[str, ...] | None = None,
    ) -> None:
        """Switch it on. What is given stays so for later starts. It does not wait for anything."""
        changes = {"memory": memory, "persist": persist, "disks": disks, "append": append, "extra": extra}
        self.options = msgspec.structs.replace(
            self.options, **{key: value for key, value in changes.items() if value is not None}
        )
        self._hang_up()
        self._power_on = time.monotonic()
        options = self.options
        if self.accel == "tcg":
            options = msgspec.structs.replace(options, extra=(*options.extra, *translations.words()))
        try:
            self._state = lifecycle.start(self.image, options, self.files, self.accel)
        except UserError as error:
            raise HarnessError(f"{error.message} ({error.hint})") from error
        if self.accel == "tcg":
            translations.drop_at_resets(self.files.root)

    def boot(self, timeout: float = 120) -> float:
        """Switch it on as last time and wait for SSH; seconds from power-on."""
        self.start()
        return self.wait_for_ssh(timeout)

    def cut_power(self) -> None:
        """Pull the plug: QEMU is killed, nothing on the device gets to say good-bye."""
        self._hang_up()
        if not lifecycle.cut_power(self.files):
            raise HarnessError(f"{self.name} does not run")

    def shut_down(self, timeout: float = 60) -> None:
        """Ask it to power off, and wait until it has."""
        found = Process.find(self.files)
        if found is None:
            raise HarnessError(f"{self.name} does not run")
        with found:
            self.execute("poweroff", timeout=30)
            self._hang_up()
            if not found.wait(timeout):
                self._fail(f"not powered off within {timeout:.0f} s")

    def hold_for(self, seconds: float) -> None:
        """Let it run for a time and look that it does: what a test of random moments is made of."""
        found = Process.find(self.files)
        if found is None or found.wait(seconds):
            self._fail("QEMU has ended")
        found.close()

    def plug(self, *, port: str, net: str) -> None:
        """Plug a network card into a PCI port while it runs; ``net`` is the network that it leads to."""
        qmp.execute(self.files.qmp, "netdev_add", type="user", id="plugged", net=net)
        qmp.execute(
            self.files.qmp, "device_add", driver="virtio-net-pci", id="card", netdev="plugged", bus=port
        )

    def cable(self, *, plugged: bool, card: str = "net0") -> None:
        """Pull or plug the cable of a network card: its first, or ``card``, the one that was plugged in."""
        qmp.execute(self.files.qmp, "set_link", name=card, up=plugged)

    def slow_disk(self, *, slow: bool) -> None:
        """Let its persist disk do one thing a second, or as many as it can."""
        self._throttle("persist", iops=1 if slow else 0)

    def hang_disk(self, disk: str = "persist", *, hang: bool) -> None:
        """Let a disk neither answer nor fail: at one byte a second. ``disk``: `persist`, or `card`."""
        self._throttle(disk, bps=1 if hang else 0)

    def _throttle(self, disk: str, *, iops: int = 0, bps: int = 0) -> None:
        limits = dict.fromkeys(("iops_rd", "iops_wr", "bps_rd", "bps_wr"), 0)
        qmp.execute(self.files.qmp, "block_set_io_throttle", device=disk, iops=iops, bps=bps, **limits)

    def is_running(self) -> bool:
        """Whether QEMU runs."""
        found = Process.find(self.files)
        if found is not None:
            found.close()
        return found is not None

    def close(self) -> None:
        """End it whatever its state, and leave nothing behind but its folder."""
        self._hang_up()
        lifecycle.cut_power(self.files)
        shutil.rmtree(self._control, ignore_errors=True)

    # Reaching it

    @property
    def ssh_port(self) -> int:
        """Port on 127.0.0.1 that leads to the device's SSH."""
        return self._running().ssh_port

    def target(self, user: str = "root") -> ssh.Target:
        """How to log in. Host keys are not checked: tests damage disks, and keys with them."""
        return ssh.Target(port=self.ssh_port, known_hosts=None, user=user, keys=(self._key,))

    def log_in_with(self, key: Path) -> None:
        """From now on use another private key."""
        self._hang_up()
        self._key = key

    def wait_for_ssh(self, timeout: float = 120) -> float:
        """Wait until a new connection runs a command; seconds since power-on."""
        try:
            answer = ssh.wait_for_ssh(
                self.target(),
                deadline=time.monotonic() + timeout,
                check=self._check_alive,
                is_up=self._is_on_network,
            )
        except TimeoutError:
            self._fail(f"no answer over SSH within {timeout:.0f} s")
        except UserError as error:
            self._fail(error.message)
        return answer.at - self._power_on

    def execute(self, command: str, *, timeout: float = 60, input: bytes = b"", user: str = "root") -> Result:
        """Run a shell command on the device, whatever its status. ``timeout`` is in seconds."""
        return self._execute(["sh", "-c", command], command, timeout, input, user)

    def ask(self, command: str, *, user: str, timeout: float = 60, input: bytes = b"") -> Result:
        """Hand words to the log-in program of a user that has no shell, whatever its status."""
        return self._execute(shlex.split(command), command, timeout, input, user)

    def connect(
        self, words: Sequence[str | Path], *, timeout: float = 60, input: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program that connects by SSH, whatever its status; again while the server hangs up at once.

        It takes five log-ins at a time from one address, and given up ones may be among them: those by which
        was seen that it is there. Nothing was run then. Raises CommandError when it does not end.
        """
        deadline = time.monotonic() + timeout
        while True:
            done = run(words, input=input, timeout=timeout, check=False)
            hung_up = b"kex_exchange_identification: " in done.stderr.split(b"\n", 1)[0]
            if not hung_up or time.monotonic() > deadline:
                return done
            self.hold_for(0.3)

    def _execute(self, argv: list[str], command: str, timeout: float, input: bytes, user: str) -> Result:
        words = ssh.argv(self.target(user), argv, batch=True, options=self._sharing(user))
        try:
            done = self.connect(words, timeout=timeout, input=input)
        except CommandError:
            self._check_alive()
            self._fail(f"no end within {timeout:.0f} s: {command}")
        stderr = done.stderr.decode(errors="replace")
        # ssh says the same of a program that a signal ended.
        if done.returncode == 255 and not done.stdout:
            self._fail(f"the connection failed or the command was killed: {command}\n{stderr}")
        return Result(command, done.returncode, done.stdout.decode(errors="replace"), stderr)

    def succeed(self, command: str, *, timeout: float = 60, input: bytes = b"", user: str = "root") -> str:
        """Run a command that must end with status 0; what it printed."""
        done = self.execute(command, timeout=timeout, input=input, user=user)
        if done.status != 0:
            self._fail(f"status {done.status}: {command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def fail(self, command: str, *, timeout: float = 60, user: str = "root") -> str:
        """Run a command that must end with another status than 0; what it printed, errors too.

        A program that is not there at all (status 127) proves nothing: that is a failure of the test.
        """
        done = self.execute(command, timeout=timeout, user=user)
        if done.status in (0, 127):
            self._fail(f"should have failed, ended with {done.status}: {command}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def wait_until_succeeds(self, command: str, timeout: float = 60) -> str:
        """Run a command again and again until it ends with status 0; what it printed then.

        The repeating is done on the device, which costs one log-in however long it takes; once a second, for
        an emulated machine that is asked all the time gets on slowly with what is waited for.
        """
        loop = f"until ({command}); do sleep 1; done"
        # Ended by `timeout`, a shell of its own has a status to tell.
        words = f"timeout {timeout:.0f} sh -c {shlex.quote(loop)} || exit"
        done = self.execute(words, timeout=timeout + 30)
        if done.status != 0:
            self._fail(f"not within {timeout:.0f} s: {command}\n{(done.stdout + done.stderr)[-2000:]}")
        return done.stdout

    def wait_for_service(self, name: str, timeout: float = 60) -> None:
        """Wait until a supervised service is up."""
        self.wait_until_succeeds(f"sv status {SERVICES}/{name} | grep -q ^run:", timeout)

    def wait_for_persist(self, timeout: float = 120) -> None:
        """Wait until the persist partition is mounted and all its folders are there."""
        self.wait_until_succeeds("test -e /run/skiff/persist", timeout)

    def wait_for_engine(self, timeout: float = 400) -> None:
        """Wait until the container engine has run a container."""
        self.succeed("skiff-selftest", timeout=timeout)

    def wait_for_engine_to_answer(self, timeout: float = 400) -> None:
        """The same for who runs containers next anyway: one less to emulate."""
        words = "grep -q -e ^ok -e ^warn /run/skiff/status/engine && docker version"
        self.wait_until_succeeds(words, timeout)

    def copy_to(self, source: Path, target: str) -> None:
        """Copy a file onto the device."""
        self.succeed(f"cat >{shlex.quote(target)}", input=source.read_bytes(), timeout=300)

    def copy_from(self, source: str, target: Path) -> None:
        """Copy a file from the device."""
        words = ssh.argv(self.target(), ["cat", source], batch=True, options=self._sharing("root"))
        done = run(words, input=b"", timeout=300, check=False)
        if done.returncode != 0:
            self._fail(f"cannot read {source}: {done.stderr.decode(errors='replace')}")
        target.write_bytes(done.stdout)

    def scp(self, source: Path | str, target: Path | str) -> None:
        """Copy a file with scp; the device's side is written `device:PATH`."""
        places = [str(place).replace("device:", "root@127.0.0.1:", 1) for place in (source, target)]
        settings = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes"]
        # Not -q: it keeps to itself why it failed.
        settings.append("LogLevel=ERROR")
        words = ["scp", "-B", "-P", str(self.ssh_port), "-i", str(self._key)]
        done = self.connect([*words, *(w for s in settings for w in ("-o", s)), *places], timeout=120)
        if done.returncode != 0:
            self._fail(f"scp: {done.stderr.decode(errors='replace')}")

    def boot_id(self) -> str:
        """What tells one boot from another (proc(5), random/boot_id); empty when it does not answer now."""
        words = ["cat", "/proc/sys/kernel/random/boot_id"]
        try:
            done = run(ssh.argv(self.target(), words, batch=True), input=b"", check=False, timeout=30)
        except CommandError:
            return ""
        return done.stdout.decode().strip()

    def wait_for_restart(self, before: str, timeout: float = 60) -> None:
        """Wait until it answers with another boot id than before."""
        self._hang_up()
        with Knocker("127.0.0.1", self.ssh_port, self._is_on_network) as knocker:
            self._wait(
                lambda: knocker.greeted(1.0) and self.boot_id() not in ("", before),
                timeout,
                "it does not restart",
            )

    def type(self, text: str) -> None:
        """Type on its console."""
        if self._keyboard is None:
            self._keyboard = qmp.connect(self.files.console, timeout=5.0)
            self._keyboard.settimeout(None)
            # QEMU holds the console back once some 300 bytes are unread; its log has them all.
            threading.Thread(target=_drain, args=(self._keyboard,), daemon=True).start()
        self._keyboard.sendall(text.encode())

    # Looking at it

    def units(self) -> dict[str, Unit]:
        """The lines of `skiff-status`, by name."""
        return msgspec.json.decode(self.execute("skiff-status --json").stdout, type=_Status).units

    def failed(self) -> dict[str, Unit]:
        """Those lines of `skiff-status` that say something failed."""
        return {name: unit for name, unit in self.units().items() if unit.state == "fail"}

    def wait_for_unit(self, name: str, words: str, timeout: float = 90) -> Unit:
        """Wait until a line of `skiff-status` has these words in it, and return it."""
        pattern = shlex.quote(f'"{name}": .*{words}')
        self.wait_until_succeeds(f"skiff-status --json | grep -q -e {pattern}", timeout)
        return self.units()[name]

    def console(self) -> str:
        """Everything it wrote to its console since power-on."""
        try:
            return self.files.console_log.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def wait_for_console(self, text: str, timeout: float = 60) -> None:
        """Wait until its console says something."""
        self._wait(lambda: text in self.console(), timeout, f"the console does not say {text!r}")

    def status(self) -> str:
        """What `skiff-status` says, for reports: never fails."""
        try:
            words = ssh.argv(self.target(), ["skiff-status"], batch=True, connect_timeout=10)
            done = run(words, input=b"", timeout=20, check=False)
        except (UserError, HarnessError) as error:
            return f"(not to be had: {error})"
        return (done.stdout + done.stderr).decode(errors="replace")

    # Within

    def _running(self) -> State:
        if self._state is None:
            raise HarnessError(f"{self.name} was never started")
        return self._state

    def _sharing(self, user: str) -> tuple[str, ...]:
        """Settings of ssh that let many commands use one connection."""
        path = self._control / user
        return ("ControlMaster=auto", f"ControlPath={path}", "ControlPersist=120")

    def _hang_up(self) -> None:
        """Close the shared connections; a new start must not meet an old one."""
        if self._keyboard is not None:
            with contextlib.suppress(OSError):
                # Ends the reader too, which `close` alone does not.
                self._keyboard.shutdown(socket.SHUT_RDWR)
            self._keyboard.close()
            self._keyboard = None
        if self._state is None:
            return
        for path in self._control.iterdir():
            words = ssh.argv(self.target(path.name), options=(f"ControlPath={path}",))
            run([words[0], "-O", "exit", *words[1:]], check=False)
            path.unlink(missing_ok=True)

    def _is_on_network(self) -> bool:
        return lifecycle.is_on_network(self.files)

    def _check_alive(self) -> None:
        if not self.is_running():
            self._fail("QEMU has ended")

    def _wait(self, condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout
        found = Process.find(self.files)
        while not condition():
            if time.monotonic() > deadline or found is None or found.wait(0.1):
                self._fail(f"{otherwise} (within {timeout:.0f} s)")
        if found is not None:
            found.close()

    def _fail(self, message: str) -> NoReturn:
        raise ProductFailure(f"{self.name}: {message}")


def _drain(link: socket.socket) -> None:
    """Read what comes, until the other side ends."""
    with contextlib.suppress(OSError):
        while link.recv(1 << 16):
            pass
