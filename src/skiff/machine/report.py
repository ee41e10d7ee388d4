"""What there is to say about a machine: as data for programs, as lines for people."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from skiff.machine import lifecycle, ssh
from skiff.machine.bringup import Ready, running
from skiff.machine.files import MachineFiles
from skiff.model.image import Image


class Report(msgspec.Struct, frozen=True):
    """A machine as `status --json` and `run --json` tell it; None where there is nothing to tell."""

    workspace: str
    running: bool
    pid: int | None = None
    ssh_port: int | None = None
    # Whether an SSH server greets now.
    ssh_answers: bool | None = None
    uptime_seconds: float | None = None
    # `kvm` or `tcg` (emulated).
    accel: str | None = None
    memory_mib: int | None = None
    cpus: int | None = None
    persist: bool | None = None
    # Whether it runs the image that the workspace holds now.
    image_current: bool | None = None
    # Bytes of each part of the workspace's image; empty when there is none.
    image_bytes: dict[str, int] = {}
    # Seconds from power-on; only `run` knows them.
    ssh_seconds: float | None = None
    engine_seconds: float | None = None
    console_log: str | None = None
    persist_disk: str | None = None
    # A command line that logs in.
    ssh_command: str | None = None


def inspect(workspace: str, files: MachineFiles, image: Image | None, keys: tuple[Path, ...]) -> Report:
    """Look at a workspace's machine now; takes up to two seconds when its SSH does not answer."""
    sizes = {item.name: item.bytes for item in image.artefacts} if image else {}
    disk = str(files.persist) if files.persist.exists() else None
    log = str(files.console_log) if files.console_log.exists() else None
    empty = Report(workspace, False, image_bytes=sizes, console_log=log, persist_disk=disk)
    state = running(files)
    if state is None:
        return empty
    target = lifecycle.target(files, state, keys)
    return msgspec.structs.replace(
        empty,
        running=True,
        pid=state.pid,
        ssh_port=state.ssh_port,
        ssh_answers=ssh.has_banner(target, 2.0),
        uptime_seconds=round(time.time() - state.started, 1),
        accel=state.accel,
        memory_mib=state.memory,
        cpus=state.cpus,
        persist=state.persist,
        image_current=image is not None and state.image == lifecycle.identity(image),
        ssh_command=ssh.plain_line(target),
    )


def with_times(report: Report, ready: Ready) -> Report:
    """The same with the times that a start took."""
    return msgspec.structs.replace(
        report,
        ssh_seconds=None if ready.ssh_seconds is None else round(ready.ssh_seconds, 2),
        engine_seconds=None if ready.engine_seconds is None else round(ready.engine_seconds, 2),
    )


def lines(report: Report, *, engine: str = "", verb: str = "skiff {}") -> list[tuple[str, str]]:
    """Label and text for people; ``verb`` makes a command of this workspace (`skiff {} …`)."""
    rows: list[tuple[str, str]] = []
    if report.image_bytes:
        total = sum(report.image_bytes.values())
        parts = " + ".join(f"{name} {_megabytes(size)}" for name, size in report.image_bytes.items())
        rows.append(("image", f"{_megabytes(total)}: {parts}"))
    if not report.running:
        return [("machine", "not running"), *rows, ("start", verb.format("run --detach"))]
    how = "with KVM" if report.accel == "kvm" else "emulated, without KVM"
    size = f"{report.memory_mib} MiB, {report.cpus} CPU{'' if report.cpus == 1 else 's'}"
    rows.insert(0, ("machine", f"runs since {_duration(report.uptime_seconds or 0)} ({size}, {how})"))
    if report.image_current is False:
        rows.append(("", f"the image was built anew: {verb.format('run --detach --restart')}"))
    rows.append(("ssh", _ssh_text(report)))
    if report.engine_seconds is not None:
        rows.append((engine, f"ran a container {report.engine_seconds:.1f} s after power-on"))
    rows += [
        ("log in", verb.format("ssh")),
        ("", report.ssh_command or ""),
        ("console", f"{report.console_log}"),
        ("stop", verb.format("stop")),
    ]
    return rows


def _ssh_text(report: Report) -> str:
    if report.ssh_seconds is not None:
        return f"answered {report.ssh_seconds:.1f} s after power-on"
    return f"{'answers' if report.ssh_answers else 'does not answer'} on port {report.ssh_port}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `5 h 1 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole // 60 % 60} min"
