"""The disks of this machine, as /sys and /proc tell: which can be taken out, and what uses them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from skiff.host.errors import UserError

# /sys counts in sectors of this size, whatever the disk's own is.
_SECTOR = 512
# A disk with one of these is the one that this machine runs from.
_SYSTEM = ("/", "/usr", "/boot", "/boot/efi", "/efi", "/var", "/home")
# In /sys/block, and no disk that could be written to a board.
_NO_DISK = {
    r"dm-\d+|md\d.*": "made of other disks (device mapper or RAID)",
    r"sr\d+": "an optical drive",
    r"zram\d+": "compressed memory",
    r"mmcblk\d+(boot\d+|rpmb)": "a part of the eMMC for its own firmware",
}
# Folders in the path of a disk in /sys, and what it is attached by. The first that fits counts.
_TRANSPORTS = {
    r"usb\d+": "usb",
    r"mmc_host": "mmc",
    r"nvme\d*": "nvme",
    r"ata\d+": "sata",
    r"virtio\d+": "virtio",
    r"loop\d+": "loop",
}

# What of a disk changes when another one, or another medium, takes its name and its number.
_IDENTITY = ("number", "sequence", "model", "bytes", "sector", "transport", "removable")


class Host(msgspec.Struct, frozen=True):
    """Where the kernel tells of itself. Other folders stand in for it in tests."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")

    def block(self, name: str) -> Path:
        """Folder of a disk or partition, by its name."""
        return self.sys / "class/block" / name


class HostDisk(msgspec.Struct, frozen=True):
    """A whole disk. Sizes in bytes."""

    name: str
    path: Path
    # Major and minor number, as `8:16`.
    number: str
    # Empty when it tells none.
    model: str
    bytes: int
    # What it is addressed in.
    sector: int
    # usb, sd, mmc, nvme, sata, virtio, loop; empty for others.
    transport: str
    removable: bool
    read_only: bool
    # Where it, its partitions and what lies on them are mounted.
    mounts: tuple[str, ...] = ()
    # Swap space and other devices that lie on it.
    users: tuple[str, ...] = ()
    # Why it is none to write to; empty for real disks.
    unfit: str = ""
    # The kernel's count of disks and media, new for each that is put in; empty before Linux 5.15.
    sequence: str = ""

    @property
    def title(self) -> str:
        """Model, size and transport in a few words."""
        return ", ".join(word for word in (self.model, size_words(self.bytes), self.transport) if word)

    def is_same(self, other: HostDisk) -> bool:
        """Whether it is that disk still, with the medium that was in it."""
        return all(getattr(self, name) == getattr(other, name) for name in _IDENTITY)

    def refusal(self) -> tuple[str, str] | None:
        """Why it must not be written to now, and what to do about it; None when it may."""
        if self.unfit:
            return f"it is {self.unfit}", "name a whole disk; `skiff flash` lists them"
        system = [place for place in self.mounts if place in _SYSTEM]
        if system:
            return (
                f"this machine runs from it ({', '.join(system)})",
                "name another disk; `skiff flash` lists those that can be taken out",
            )
        if self.mounts:
            return f"it is mounted at {', '.join(self.mounts)}", f"sudo umount {' '.join(self.mounts)}"
        if self.users:
            return f"it is in use: {', '.join(self.users)}", "stop what uses it (swapoff, vgchange -an, …)"
        if not self.bytes:
            return "there is no card in it", "put one in"
        if self.read_only:
            return "it is read-only", "an SD card has a slide for that at its side"
        if self.sector != _SECTOR:
            return f"it has sectors of {self.sector} bytes; the image is for {_SECTOR}", "take another disk"
        return None

    def check_writable(self, *, allow_internal: bool) -> None:
        """Raise UserError when it must not be written to, or is inside this machine, unless that is meant."""
        why, hint = self.refusal() or ("", "")
        if not (why or self.removable or allow_internal):
            why, hint = "a disk inside this machine", "if it is really meant, add --allow-internal"
        if why:
            raise UserError(f"{self.path} ({self.title}): {why}", hint=hint)


def size_words(count: int) -> str:
    """A disk's size as its label has it: 31.9 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def removable_disks(host: Host) -> list[HostDisk]:
    """Disks that one can take out, and that have a medium."""
    names = sorted(path.name for path in (host.sys / "block").glob("*"))
    found = [_describe(host, name) for name in names if not _unfit(name)]
    return [disk for disk in found if disk.removable and disk.bytes]


def find_disk(device: Path, host: Host) -> HostDisk:
    """The whole disk with that path, through links. Raises UserError when it is none."""
    real = device.resolve()
    name = str(real).removeprefix("/dev/").replace("/", "!")
    entry = host.block(name)
    if not str(real).startswith("/dev/") or not entry.exists():
        why = "not a disk" if real.exists() else "there is no such device"
        raise UserError(f"{device}: {why}", hint="`skiff flash` lists the disks that can be taken out")
    if (entry / "partition").exists():
        whole = entry.resolve().parent.name.replace("!", "/")
        raise UserError(
            f"{device}: a partition; the image has partitions of its own",
            hint=f"name the whole disk: /dev/{whole}",
        )
    return _describe(host, name)


def _describe(host: Host, name: str) -> HostDisk:
    entry = host.block(name)
    transport = _transport(entry)
    mounts, users = _uses(host, name)
    return HostDisk(
        name=name,
        path=Path("/dev", name.replace("!", "/")),
        number=_text(entry / "dev"),
        model=_model(entry),
        bytes=int(_text(entry / "size") or 0) * _SECTOR,
        sector=int(_text(entry / "queue/logical_block_size") or _SECTOR),
        transport=transport,
        removable=_text(entry / "removable") == "1" or transport in ("usb", "sd"),
        read_only=_text(entry / "ro") == "1",
        mounts=tuple(mounts),
        users=tuple(users),
        unfit=_unfit(name),
        sequence=_text(entry / "diskseq"),
    )


def _unfit(name: str) -> str:
    return next((why for pattern, why in _NO_DISK.items() if re.fullmatch(pattern, name)), "")


def _transport(entry: Path) -> str:
    folders = entry.resolve().parts
    for pattern, name in _TRANSPORTS.items():
        if any(re.fullmatch(pattern, folder) for folder in folders):
            # A slot tells nothing of itself; a card does, and eMMC is called MMC.
            return "sd" if name == "mmc" and _text(entry / "device/type") == "SD" else name
    return ""


def _model(entry: Path) -> str:
    words = [_text(entry / file) for file in ("device/vendor", "device/model", "device/name")]
    # A number stands where another kind of device has the maker's name.
    named = " ".join(word for word in words if word and not word.startswith("0x"))
    return named or _text(entry / "loop/backing_file")


def _uses(host: Host, name: str) -> tuple[list[str], list[str]]:
    """Where a disk is mounted, and what else uses it."""
    mounts, swaps = _mounts(host), _swaps(host)
    parts = sorted(path.parent.name for path in host.block(name).glob("*/partition"))
    places: list[str] = []
    users: list[str] = []
    for node in _stack(host, [name, *parts]):
        places += mounts.get(node, [])
        if node in swaps:
            users.append(f"swap on {node}")
        users += [f"{holder} on {node}" for holder in _upon(host, node)]
    return sorted(set(places)), users


def _stack(host: Host, names: list[str]) -> Iterator[str]:
    """Devices, and those that lie upon them, however deep (LVM, RAID, encryption)."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            waiting += _upon(host, name)
            yield name


def _upon(host: Host, name: str) -> list[str]:
    """Devices that lie directly upon one. Loop devices are not among what /sys calls its holders."""
    held = sorted(path.name for path in (host.block(name) / "holders").glob("*"))
    device = f"/dev/{name.replace('!', '/')}"
    loops = (host.sys / "block").glob("loop*/loop/backing_file")
    return held + sorted(path.parents[1].name for path in loops if _text(path) == device)


def _mounts(host: Host) -> dict[str, list[str]]:
    """Places by name of the device that is mounted there (proc_pid_mountinfo(5))."""
    found: dict[str, list[str]] = {}
    for line in _text(host.proc / "self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        number, place = fields.split()[2], _plain(fields.split()[4])
        # A file system on several disks has a number of its own: then its source tells one of them.
        names = {(host.sys / "dev/block" / number).resolve().name}
        source = _plain(rest.split()[1])
        if source.startswith("/dev/"):
            names.add(Path(source).resolve().name)
        for name in names:
            found.setdefault(name, []).append(place)
    return found


def _swaps(host: Host) -> set[str]:
    """Names of devices that are swap space (proc_swaps(5)); files are on something mounted."""
    lines = _text(host.proc / "swaps").splitlines()[1:]
    return {Path(_plain(line.split()[0])).resolve().name for line in lines}


def _plain(word: str) -> str:
    """A path as it is: the kernel writes spaces and the like as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
