"""An update over SSH: what differs goes into the slot that does not run, is tried, confirmed when well."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import PIPE, spawn
from skiff.host.ui import Step, Ui
from skiff.machine import slots
from skiff.machine.connection import shared
from skiff.machine.remote import Remote

# Where the device has a slot that is being written.
_NEW = "/run/skiff/boot/new/"
# How often a device is asked for its boot before it restarts: one lost connection is no reason to give up.
_ASKS = 3
_PROGRESS = re.compile(rb"(\d+)%")
_SENT = re.compile(rb"Total bytes sent: ([\d,.]+)")


class Wish(msgspec.Struct, frozen=True):
    """How an update is to go."""

    # Starts that the new slot has to come up in.
    tries: int = 3
    # Seconds that the device waits for the confirmation before it starts the old slot again.
    confirm_within: int = 300
    # Seconds that the device may take to come back, falling back included.
    patience: float = 900.0
    # Seconds that what is still starting before the update has; what waits then may wait after it, too.
    settle: float = 60.0
    # A device that runs the very image already gets it too.
    again: bool = False


class Sent(msgspec.Struct, frozen=True):
    """What sending took."""

    slot: str
    # Bytes of the whole slot, and those that went over the network.
    bytes: int
    sent: int


class Done(msgspec.Struct, frozen=True):
    """An update or a way back that went well."""

    slot: str
    # Seconds from the order to restart until it was confirmed.
    seconds: float
    bytes: int = 0
    sent: int = 0
    # Lines of its skiff-status that warn now and did not before: name and text.
    warnings: dict[str, str] = {}
    # It ran this image before, so it was left alone.
    already: bool = False


def push(remote: Remote, folder: Path, wish: Wish, ui: Ui) -> Done:
    """Update a device with the slot in ``folder``, and confirm it once it is well.

    One that runs it already is left alone. Raises UserError when the device refuses the image, or did not get
    well with it; then it runs the slot that it had before.
    """
    with shared(remote) as near:
        found = slots.look(near)
        slots.check_fit(found, folder, remote.host)
        if not wish.again and slots.runs(found, folder):
            return Done(found.running, 0.0, already=True)
        sent = send(near, folder, ui)
        with ui.step("verify") as step:
            before = _settled(near, wish.settle, step)
            near.run(["skiff-slots", "try", str(wish.tries), str(wish.confirm_within)], timeout=600)
    done = restart(remote, sent.slot, before, wish, ui)
    return msgspec.structs.replace(done, bytes=sent.bytes, sent=sent.sent)


def rollback(remote: Remote, wish: Wish, ui: Ui) -> Done:
    """Start the other slot again, and confirm it once it is well. Raises UserError as push does."""
    with shared(remote) as near:
        found = slots.look(near)
        with ui.step("verify") as step:
            before = _settled(near, wish.settle, step)
            near.run(["skiff-slots", "rollback", str(wish.tries), str(wish.confirm_within)], timeout=600)
    return restart(remote, found.other, before, wish, ui)


def _settled(remote: Remote, patience: float, step: Step) -> dict[str, slots.Unit]:
    """The lines of its skiff-status, once nothing is starting any more or ``patience`` seconds passed."""
    deadline = time.monotonic() + patience
    while True:
        now = slots.units(remote)
        starting = [name for name, unit in now.items() if unit.state == "wait" and name != "slot"]
        if not starting or time.monotonic() >= deadline:
            return now
        step.detail(", ".join(starting))
        time.sleep(1)


def send(remote: Remote, folder: Path, ui: Ui) -> Sent:
    """Bring the slot's files to the device, as they differ. What came is kept when this is interrupted."""
    manifest = (folder / "manifest").read_bytes()
    signature = folder / "manifest.sig"
    whole = manifest + (signature.read_bytes() if signature.exists() else b"")
    with ui.step("prepare"):
        answer = remote.run(["skiff-slots", "prepare"], input=whole, timeout=600).text
    lines = [line.split(" ", 1) for line in answer.splitlines()]
    values = dict(lines)
    need = [value for word, value in lines if word == "need"]
    sizes = [int(line.split()[2]) for line in manifest.decode().splitlines() if line.startswith("file ")]
    sent = len(whole)
    if need:
        with ui.step("send", total=100) as step:
            sent += _rsync(remote, folder, need, values["basis"], step)
    return Sent(values["slot"], sum(sizes), sent)


def _rsync(remote: Remote, folder: Path, names: list[str], basis: str, step: Step) -> int:
    """Send files; bytes that went over the network."""
    host = f"{remote.host.replace('@', '@[', 1)}]" if remote.host.count(":") > 1 else remote.host
    with tempfile.NamedTemporaryFile(prefix="skiff-push-") as listing:
        listing.write("".join(f"{name}\n" for name in names).encode())
        listing.flush()
        words = [
            *("rsync", "--ignore-times", "--partial", "--no-whole-file"),
            *("--info=progress2,stats2", "--outbuf=N", f"--files-from={listing.name}"),
            # What the running slot has is built on.
            f"--copy-dest={basis}",
            *("--rsync-path=skiff-slots receive", "-e", _joined(remote.ssh)),
            f"{folder}/",
            f"{host}:{_NEW}",
        ]
        start = remote.group.started if remote.group else spawn
        with start(words, stdout=PIPE, stderr=PIPE) as process:
            assert process.stdout is not None and process.stderr is not None
            said = _follow(process.stdout.fileno(), step)
            problem = process.stderr.read().decode(errors="replace").strip()
    if process.returncode != 0:
        raise UserError(
            f"{remote.host}: sending broke off: {problem or process.returncode}",
            hint="the same command again goes on from there",
        )
    found = _SENT.search(said)
    return int(re.sub(rb"\D", b"", found[1])) if found else 0


def _follow(stream: int, step: Step) -> bytes:
    """Read rsync's output to its end and show its percentages; the last few KB of it."""
    said = b""
    with open(stream, "rb", buffering=0, closefd=False) as source:
        while part := source.read(4096):
            said = (said + part)[-8192:]
            if percents := _PROGRESS.findall(part):
                step.advance(max(0, int(percents[-1]) - step.done))
    return said


def _joined(words: tuple[str, ...]) -> str:
    """A command line as rsync takes one apart: by spaces, quotes around words, doubled within them."""
    quoted = {word: "'" + word.replace("'", "''") + "'" for word in words if {*word} & {*" '\""}}
    return " ".join(quoted.get(word, word) for word in words)


def restart(remote: Remote, wanted: str, before: dict[str, slots.Unit], wish: Wish, ui: Ui) -> Done:
    """Restart into a slot that is on trial, look whether all is as well as before, and confirm it."""
    started = time.monotonic()
    deadline = started + wish.patience
    with ui.step("restart"):
        restart_only(remote, deadline)
    with shared(remote) as near:
        try:
            found = slots.look(near)
        except UserError as error:
            raise UserError(
                f"{error.message}; slot {wanted} is not confirmed",
                hint="without that the device starts the other slot again by itself, minutes for each try",
            ) from error
        if found.running != wanted:
            raise UserError(
                f"{remote.host} runs slot {found.running} again: {wanted} did not start, or was not reached",
                hint="does the new image let your key in? its console tells more; nothing else was changed",
            )
        try:
            with ui.step("check") as step:
                now = _check(near, before, min(deadline, time.monotonic() + wish.confirm_within / 2), step)
        except UserError as error:
            with ui.step(f"back to slot {found.other}"):
                near.run(["skiff-slots", "rollback"], timeout=600)
                restart_only(remote, time.monotonic() + wish.patience)
            raise UserError(
                f"{error.message}; {remote.host} runs slot {found.other} again", hint=error.hint
            ) from error
        near.run(["skiff-slots", "confirm"])
    done = Done(wanted, time.monotonic() - started, warnings=_new_warnings(before, now))
    for name, text in done.warnings.items():
        ui.warn(f"{remote.host}: with slot {wanted}, {name}: {text}")
    return done


def restart_only(remote: Remote, deadline: float, *, other_key: str = "") -> float:
    """Restart the device, and wait until it answers again; how many seconds that took.

    With a word for ``other_key``, one that shows another host key answers, too. ``deadline`` is a time of the
    monotonic clock. Raises UserError when it is passed, or the device takes no order to restart.
    """
    started = time.monotonic()
    before = _boot_before(remote)
    _order_restart(remote)
    while time.monotonic() < deadline:
        now = remote.boot_id(timeout=15, other_key=other_key)
        if now and now != before:
            return time.monotonic() - started
        time.sleep(0.5)
    raise UserError(
        f"{remote.host} does not answer again",
        hint="it starts the old slot by itself when the new one is not confirmed; has its address changed?",
    )


def _boot_before(remote: Remote) -> str:
    """What tells the boot before a restart from the one after it. Raises UserError when it cannot be had."""
    for _ in range(_ASKS):
        if found := remote.boot_id():
            return found
        time.sleep(0.5)
    raise remote.not_reached(f"no answer before the restart, asked {_ASKS} times; it was not restarted")


def _order_restart(remote: Remote) -> None:
    """Raise UserError with what the device says when it does not restart."""
    try:
        # Without -n it would wait for a disk that hangs; shutdown has limits for what is left to write.
        reply = remote.run(["reboot", "-n"], check=False)
    except UserError:
        # The connection went with the system.
        return
    # Above these, the shell there was ended by a signal, as all programs are then.
    if 0 < reply.status < 128:
        raise UserError(f"{remote.host}: not restarted: {reply.problem or f'reboot: status {reply.status}'}")


def _check(
    remote: Remote, before: dict[str, slots.Unit], deadline: float, step: Step
) -> dict[str, slots.Unit]:
    """Wait until nothing fails that did not before, and have it run its own checks; how it is then."""
    wait_until_well(remote, before, deadline, step)
    remote.run(["skiff-slots", "check"], timeout=600)
    # That may have taken a while.
    return wait_until_well(remote, before, deadline, step)


def wait_until_well(
    remote: Remote, before: dict[str, slots.Unit], deadline: float, step: Step
) -> dict[str, slots.Unit]:
    """Wait until nothing fails that did not before; the lines of its skiff-status.

    ``deadline`` is a time of the monotonic clock. Raises UserError when something fails still.
    """
    while True:
        now = slots.units(remote)
        bad = _worse(before, now)
        if not bad:
            return now
        step.detail(", ".join(bad))
        if time.monotonic() >= deadline:
            name = bad[0]
            raise UserError(
                f"{remote.host} is not as well as before: {name}: {now[name].text}", hint=now[name].hint
            )
        time.sleep(1)


def _worse(before: dict[str, slots.Unit], now: dict[str, slots.Unit]) -> list[str]:
    """Names of lines that fail and did not before, or are not up (yet) and were, or are new."""
    may = {"fail": ("fail",), "wait": ("fail", "wait")}
    return [
        name
        for name, unit in now.items()
        if unit.state in may
        and name != "slot"
        and (name not in before or before[name].state not in may[unit.state])
    ]


def _new_warnings(before: dict[str, slots.Unit], now: dict[str, slots.Unit]) -> dict[str, str]:
    """What warns now, was well before or not there, and keeps no update from being confirmed."""
    old = [name for name, unit in before.items() if unit.state in ("warn", "fail")]
    return {name: unit.text for name, unit in now.items() if unit.state == "warn" and name not in old}
