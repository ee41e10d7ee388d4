"""The files of one virtual machine, and what is remembered about it between two commands."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.host.files import write_atomic


class Disk(msgspec.Struct, frozen=True):
    """A disk image file that the machine sees besides its persist disk."""

    path: Path
    read_only: bool = False

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.path},ro" if self.read_only else str(self.path)


class MachineFiles(msgspec.Struct, frozen=True):
    """Every path of a virtual machine, below the workspace's `machine` folder (absolute)."""

    root: Path

    @property
    def pid(self) -> Path:
        """Written and removed by QEMU. Its path in QEMU's own argv tells our process from others."""
        return self.root / "qemu.pid"

    @property
    def qmp(self) -> Path:
        """QEMU's control socket."""
        return self.root / "qmp.sock"

    @property
    def console(self) -> Path:
        """The guest's serial console, as a socket."""
        return self.root / "console.sock"

    @property
    def console_log(self) -> Path:
        """All that the guest wrote to its console since power-on."""
        return self.root / "console.log"

    @property
    def qemu_log(self) -> Path:
        """QEMU's own messages."""
        return self.root / "qemu.log"

    @property
    def persist(self) -> Path:
        """The persist disk, kept between runs."""
        return self.root / "persist.img"

    @property
    def card(self) -> Path:
        """The disk of a machine that starts by firmware; its persist partition is on it."""
        return self.root / "card.img"

    @property
    def card_image(self) -> Path:
        """Checksum of the disk image that the card was written with."""
        return self.root / "card.sha256"

    @property
    def variables(self) -> Path:
        """What the machine's UEFI remembers."""
        return self.root / "variables.fd"

    @property
    def known_hosts(self) -> Path:
        """Host keys of the system on the persist disk; forgotten when the disk is made anew."""
        return self.root / "known_hosts"

    @property
    def state(self) -> Path:
        """The State of the machine that was started last (JSON)."""
        return self.root / "state.json"

    @property
    def lock(self) -> Path:
        """Held (flock) while a machine is being started."""
        return self.root / ".lock"

    def load_state(self) -> State | None:
        """What is known of the machine started last; None when there was none."""
        try:
            return msgspec.json.decode(self.state.read_bytes(), type=State)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def save_state(self, state: State) -> None:
        """Remember a machine that was just started."""
        write_atomic(self.state, msgspec.json.format(msgspec.json.encode(state)) + b"\n")

    def console_tail(self, lines: int = 20) -> str:
        """The last lines of the console, without control characters; empty when it said nothing."""
        try:
            with self.console_log.open("rb") as log:
                log.seek(0, 2)
                log.seek(max(0, log.tell() - 400 * lines))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        clean = "".join(char for char in text if char in "\n\t" or char.isprintable())
        return "\n".join([line for line in clean.split("\n") if line.strip()][-lines:])


class State(msgspec.Struct, frozen=True):
    """How a machine was started."""

    pid: int
    # The skiff process that started it.
    starter: int
    ssh_port: int
    accel: str
    # Of the guest's memory: MiB.
    memory: int
    cpus: int
    # False: no persist disk, so the host keys of the system change with every boot.
    persist: bool
    # Seconds since 1970 (UTC).
    started: float
    # What was booted: checksums of kernel and initramfs.
    image: str
    append: tuple[str, ...] = ()
    # As written on the command line: a path, with `,ro` for reading only.
    disks: tuple[str, ...] = ()
    # What started it from its card: `uefi`, `uboot`; empty when QEMU loaded the kernel itself.
    loader: str = ""
