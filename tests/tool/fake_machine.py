"""Stand-ins for QEMU and ssh on PATH, and a small image to give them: used by the tests of machine/."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from skiff.host.files import file_digest
from skiff.machine.files import MachineFiles
from skiff.model.arch import Arch
from skiff.model.image import Artefact, Image

FAKES = Path(__file__).parent / "fakes"


class FakeHost:
    """A folder of fake programs in front of PATH, and what they were called with."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        self._patch = monkeypatch
        monkeypatch.setenv("FAKE_LOG", str(root))
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        self.program("qemu-system-x86_64", f'exec {sys.executable} {FAKES}/qemu.py "$@"')
        self.program("ssh", f'exec {sys.executable} {FAKES}/ssh.py "$@"')

    def program(self, name: str, body: str) -> None:
        """Put a shell script on PATH."""
        script = self.bin / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)

    def qemu(self, **behaviour: object) -> None:
        """How QEMU behaves from now on (see fakes/qemu.py)."""
        self._patch.setenv("FAKE_QEMU", json.dumps(behaviour))

    def ssh(self, **behaviour: object) -> None:
        """How ssh behaves from now on (see fakes/ssh.py)."""
        self._patch.setenv("FAKE_SSH", json.dumps(behaviour))

    def calls(self, program: str) -> list[list[str]]:
        """The words of every call so far, the program's own name first."""
        log = self.root / f"{program}.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def starts(self) -> list[list[str]]:
        """Calls of QEMU that started a machine."""
        return [words for words in self.calls("qemu") if "-daemonize" in words]

    def guests(self) -> list[int]:
        """Process ids of the machines started so far that still run."""
        log = self.root / "guests"
        pids = [int(line) for line in log.read_text().split()] if log.exists() else []
        return [pid for pid in pids if _runs(pid)]

    def end_all(self) -> None:
        """Kill what is left."""
        for pid in self.guests():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    """Whether this process is one of our fake machines, and lives."""
    try:
        return str(FAKES).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def small_image(
    folder: Path, *, engine: str = "", arch: Arch = Arch.AMD64, kernel: str = "a kernel"
) -> Image:
    """An image whose kernel and initramfs are a few bytes, written as a build would."""
    folder.mkdir(parents=True, exist_ok=True)
    artefacts = []
    for name, text in (("kernel", kernel), ("initramfs", "an initramfs")):
        path = folder / name
        path.write_text(text)
        artefacts.append(Artefact(name, path, path.stat().st_size, file_digest(path)))
    image = Image(
        arch=arch,
        layers=("base", "virt/qemu"),
        recipe_sha256="0" * 64,
        artefacts=tuple(artefacts),
        cmdline=("console=ttyS0", "panic=10"),
        hostname="skiff",
        engine=engine,
        qemu_machine="",
        qemu_memory=512,
        qemu_cpus=2,
        epoch=0,
    )
    (folder / "image.json").write_bytes(msgspec.json.encode(image, enc_hook=str))
    return image


def machine_files(root: Path) -> MachineFiles:
    """Paths of a machine whose folder is there."""
    files = MachineFiles(root / "machine")
    files.root.mkdir(parents=True, exist_ok=True)
    return files


# What a stand-in for `skiff-slots receive` begins with: rsync's own words are left, without where they lead.
RECEIVED = """
    shift
    for last; do :; done
    n=$#
    while [ $n -gt 1 ]; do set -- "$@" "$1"; shift; n=$((n - 1)); done
    shift
"""
