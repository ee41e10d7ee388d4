"""Runs the device's own scripts under busybox's shell, with a folder standing in for the whole machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOTFS = Path(__file__).parents[2] / "layers" / "base" / "rootfs"
LIB = ROOTFS / "usr" / "lib" / "skiff"


class Device:
    """A folder with the scripts of the base layer, and empty places for what they read and write."""

    def __init__(self, root: Path) -> None:
        found = shutil.which("busybox")
        if found is None:
            pytest.skip("needs the program busybox (package busybox)")
        self.busybox = found
        self.root = root
        shutil.copytree(ROOTFS, root, dirs_exist_ok=True, symlinks=True)
        for name in (
            "run/skiff/status",
            "run/skiff/net",
            "run/skiff/seen",
            "run/skiff/ssh",
            "dev",
            "sys",
            "proc",
        ):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("drivers", "early", "never"):
            os.mkfifo(root / "run/skiff" / name)
        self.cmdline("quiet")

    def put(self, path: str, text: str | bytes) -> Path:
        """A file of the machine, with the folders above it."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        return target

    def read(self, path: str) -> str:
        """Content of a file of the machine."""
        return (self.root / path).read_text()

    def cmdline(self, words: str) -> None:
        """What the bootloader told the kernel."""
        self.put("proc/cmdline", words + "\n")

    def status(self, unit: str) -> list[str]:
        """State, text and hint that a unit reported last."""
        return self.read(f"run/skiff/status/{unit}").rstrip("\n").split("\t")

    def disk(
        self, name: str, *, label: str = "", partitions: dict[str, tuple[str, str]] | None = None
    ) -> None:
        """A disk in /sys and /dev; partitions by name, each with its GPT name and its ext label."""
        size = 4 << 20
        self.put(f"dev/{name}", _ext(label, size))
        self.put(f"sys/block/{name}/uevent", f"DEVNAME={name}\nDEVTYPE=disk\n")
        self.put(f"sys/class/block/{name}/size", f"{size // 512}\n")
        for part, (gpt, ext) in (partitions or {}).items():
            number = part.removeprefix(name)
            lines = f"DEVNAME={part}\nDEVTYPE=partition\nPARTN={number}\n" + (
                f"PARTNAME={gpt}\n" if gpt else ""
            )
            self.put(f"sys/block/{name}/{part}/uevent", lines)
            self.put(f"sys/block/{name}/{part}/partition", f"{number}\n")
            self.put(f"sys/class/block/{part}/partition", f"{number}\n")
            self.put(f"dev/{part}", _ext(ext, size))

    def sh(self, script: str, *, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run lines of shell as a script of the device would: lib.sh is read first."""
        return self.raw(f'. "$SKIFF_ROOT/usr/lib/skiff/lib.sh"\n{script}', env=env)

    def raw(self, script: str, *, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run lines of shell, nothing read before."""
        return subprocess.run(
            [self.busybox, "sh", "-c", script],
            env={**os.environ, "SKIFF_ROOT": str(self.root), **(env or {})},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def says(self, script: str) -> str:
        """What a script prints; it must end well and complain about nothing."""
        done = self.sh(script)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout.strip()


def _ext(label: str, size: int) -> bytes:
    # The label of an ext file system stands at byte 120 of the superblock, which starts at 1024.
    data = bytearray(size)
    data[1144 : 1144 + len(label)] = label.encode()
    return bytes(data)
