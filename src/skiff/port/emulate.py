"""Programs of another CPU on this machine: whether the kernel hands them to an emulator, and making it do so.

The kernel knows by binfmt_misc which program runs which kind of file. Containers see none of this machine's
files, so the emulator must have been opened when it was registered: flag F.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.run import run, which
from skiff.host.ui import Ui
from skiff.model.arch import Arch

REGISTER = Path("/proc/sys/fs/binfmt_misc")
# What Debian's packages of qemu-user register, one file for each emulator (binfmt.d(5)).
KNOWN = Path("/usr/lib/binfmt.d")
# Debian 12; from 13 on it brings the two packages that took its place.
PACKAGE = "qemu-user-static"
# CPUs whose programs another one runs by itself.
_NATIVE = {Arch.AMD64: (Arch.I386,)}
_BY_HAND = f"sudo apt-get install --no-install-recommends {PACKAGE}"


def runs(host: Arch, target: Arch, register: Path | None = None) -> bool:
    """Whether this machine (of CPU ``host``) runs programs for ``target``, in containers too."""
    if target is host or target in _NATIVE.get(host, ()):
        return True
    try:
        lines = ((register or REGISTER) / target.qemu_user).read_text().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    return "enabled" in lines and "F" in flags


def missing(host: Arch, targets: Sequence[Arch]) -> tuple[Arch, ...]:
    """Those of the CPUs whose programs this machine does not run."""
    return tuple(target for target in dict.fromkeys(targets) if not runs(host, target))


def refusal(targets: Sequence[Arch]) -> UserError:
    """What to tell when there is no emulator and nobody agreed to set one up."""
    names = ", ".join(target.debian for target in targets)
    return UserError(
        f"this machine does not run programs for {names}: no emulator is registered with the kernel",
        hint="add --setup-emulation: it installs qemu-user-static when it is missing, and registers it until "
        "the next boot; or build on a machine of that CPU with --on root@device",
    )


def set_up(targets: Sequence[Arch], ui: Ui) -> None:
    """Register an emulator for each CPU; the package is installed when it is missing. Asks for root by sudo.

    Raises UserError with what to do by hand when it cannot be done.
    """
    with ui.step("set up emulation", total=len(targets)) as step:
        if any(_known(target) is None for target in targets):
            _install()
        if not (REGISTER / "register").exists():
            _as_root(["mount", "-t", "binfmt_misc", "binfmt_misc", str(REGISTER)])
        for target in targets:
            step.detail(target.debian)
            _register(target)
            step.advance()
    if left := missing(Arch.host(), targets):
        raise UserError(
            f"the emulator for {', '.join(one.debian for one in left)} was registered, "
            "and the kernel does not use it",
            hint=f"look at {REGISTER}; {_BY_HAND}",
        )


def rule(text: str) -> str:
    """The line to register from a file of binfmt.d, with the flag F. Raises ValueError without one."""
    for line in text.splitlines():
        if line.startswith(":"):
            head, _, flags = line.rpartition(":")
            return line if "F" in flags else f"{head}:{flags}F"
    raise ValueError("no rule in it")


def _known(target: Arch) -> Path | None:
    file = KNOWN / f"{target.qemu_user}.conf"
    return file if file.is_file() else None


def _register(target: Arch) -> None:
    file = _known(target)
    if file is None:
        raise UserError(
            f"{PACKAGE} brings no emulator for {target.debian}",
            hint="build on a machine of that CPU with --on root@device",
        )
    if (REGISTER / target.qemu_user).exists():
        # There, but switched off or without the flag: made anew.
        _write(REGISTER / target.qemu_user, "-1")
    # Another process may do the same at this moment; what came of it is looked at in the end.
    with suppress(FileExistsError):
        _write(REGISTER / "register", rule(file.read_text()))


def _write(path: Path, text: str) -> None:
    if os.geteuid() == 0:
        path.write_text(text)
    else:
        _as_root(["tee", str(path)], text.encode())


def _install() -> None:
    if which("apt-get") is None:
        raise UserError(
            "no emulator is installed, and this machine has no apt-get to install it with",
            hint="install qemu-user with binfmt_misc rules as this system names it, and try again",
        )
    _as_root(["apt-get", "install", "-y", "-q", "--no-install-recommends", PACKAGE])


def _as_root(words: list[str], data: bytes = b"") -> None:
    if os.geteuid() != 0:
        if which("sudo") is None:
            raise UserError("root is needed to set up emulation, and there is no sudo", hint=_BY_HAND)
        words = ["sudo", *words]
    run(words, input=data, env={"DEBIAN_FRONTEND": "noninteractive"})
