"""A machine that was started from a slot: a folder stands in for it, and for its boot partition."""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import Any

from tests.tool.device import Device

SECTOR = 16 * 512
FILES = {"kernel": b"a new kernel", "initramfs": b"a new initramfs " * 1000, "dtbs/v/one.dtb": b"a tree"}
# Instead of a disk the tests have a folder; what a remount would read back is the folder itself.
STUBS = """
boot_find() { BOOT_DEV=boot; }
boot_mount() { boot_loader; }
boot_umount() { :; }
boot_repair() { :; }
sync() { :; }
pause() { :; }
sv() { cat "$2/supervise/said"; }
"""


class Slots:
    """A machine that was started from a slot, and its boot partition."""

    def __init__(self, device: Device, loader: str, running: str = "a") -> None:
        self.device = device
        self.loader = loader
        self.boot = device.root / "run/skiff/boot"
        self.run_from(running)
        device.put("etc/skiff/arch", "amd64\n")
        device.put("etc/skiff/board", "pc/uefi\n")
        device.put("etc/skiff/epoch", "2000\n")
        device.put("dev/boot", bytes(17 * 512))
        if loader == "uefi":
            device.put("run/skiff/boot/loader/loader.conf", "timeout 0\n")
            self.entry("skiff-a.conf", 1)
        else:
            device.put("run/skiff/boot/boot.scr", "a script")
            self.state(b"a\xff")
        self.fill("a", {**FILES, "initramfs": b"an old initramfs"})

    def run_from(self, slot: str) -> None:
        # A start begins with nothing in RAM.
        (self.device.root / "run/skiff/slot.ordered").unlink(missing_ok=True)
        self.device.cmdline(f"quiet skiff.slot={slot}")

    def fill(self, slot: str, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            self.device.put(f"run/skiff/boot/{slot}/{name}", data)
        self.device.put(f"run/skiff/boot/{slot}/manifest", self.manifest(files))

    def manifest(self, files: dict[str, bytes] | None = None, /, **changes: str) -> str:
        values = {"arch": "amd64", "board": "pc/uefi", "loader": self.loader, "version": "2000"}
        values |= {"image": "1" * 64, "layers": "base pc/uefi", "cmdline": "quiet panic=10", **changes}
        lines = ["skiff-slot 1", *(f"{word} {value}" for word, value in values.items())]
        for name, data in (FILES if files is None else files).items():
            lines.append(f"file {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
        return "".join(f"{line}\n" for line in lines)

    def entry(self, name: str, version: int) -> None:
        self.device.put(f"run/skiff/boot/loader/entries/{name}", f"title x\nversion {version}\n")

    @property
    def entries(self) -> list[str]:
        return sorted(path.name for path in (self.boot / "loader/entries").iterdir())

    def state(self, state: bytes) -> None:
        path = self.device.root / "dev/boot"
        data = bytearray(path.read_bytes())
        data[SECTOR : SECTOR + 512] = (b"SKIFFST1" + state).ljust(512, b"\0")
        path.write_bytes(data)

    def has_state(self) -> bytes:
        data = (self.device.root / "dev/boot").read_bytes()[SECTOR : SECTOR + 512]
        assert data[:8] == b"SKIFFST1" and len(data) == 512
        return data[8:].rstrip(b"\0")

    def call(self, function: str, input: str = "") -> subprocess.CompletedProcess[str]:
        names = ("persist-find", "slots", "update", "status")
        script = "".join(f'. "$SKIFF_ROOT/usr/lib/skiff/{name}.sh"\n' for name in ("lib", *names))
        return subprocess.run(
            [self.device.busybox, "sh", "-c", f"{script}{STUBS}{function}"],
            env={"PATH": "/usr/bin:/bin", "SKIFF_ROOT": str(self.device.root)},
            input=input,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def does(self, function: str, input: str = "") -> list[str]:
        done = self.call(function, input)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert not (self.device.root / "run/skiff/slots.lock").exists()
        return done.stdout.splitlines()

    def refuses(self, function: str, input: str = "") -> str:
        done = self.call(function, input)
        assert done.returncode == 1, done
        assert not (self.device.root / "run/skiff/slots.lock").exists()
        return done.stderr

    def send(self) -> None:
        for name, data in FILES.items():
            self.device.put(f"run/skiff/boot/new/{name}", data)

    def write(self) -> None:
        self.does("slots_prepare", self.manifest())
        self.send()

    def seen(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads("\n".join(self.does("slots_json")))
        return answer

    def states(self) -> tuple[str, str]:
        slots = self.seen()["slots"]
        return slots["a"]["state"], slots["b"]["state"]
