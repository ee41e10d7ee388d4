"""Reaching the machine over SSH: the command line, and waiting until it answers."""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import CommandError, run
from skiff.machine.knock import Knocker

# Names that ssh itself tries when it is given no key (ssh_config(5), IdentityFile); not all of them,
# because a server hangs up after a few keys that it does not know (dropbear here: four).
_USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")

# ssh's own exit status when it could not connect or log in.
_SSH_FAILED = 255


class Target(msgspec.Struct, frozen=True):
    """Where and how to log in."""

    port: int
    # None: host keys are not checked, because they change with every boot (no persist disk).
    known_hosts: Path | None
    user: str = "root"
    host: str = "127.0.0.1"
    # Private keys to offer, best first. With any, no others from the user's agent are tried.
    keys: tuple[Path, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """A machine's first answer over SSH."""

    # Of the monotonic clock, when the first command had ended.
    at: float
    # It answered with another host key than this persist disk had before.
    host_key_changed: bool = False


def usable_keys(workspace_key: Path, home: Path) -> tuple[Path, ...]:
    """The private keys that exist: the one made for the workspace, then the user's own."""
    usual = [home / ".ssh" / name for name in _USUAL_KEYS]
    return tuple(key for key in (workspace_key, *usual) if key.exists())


def argv(
    target: Target,
    words: Sequence[str] = (),
    *,
    tty: bool = False,
    batch: bool = False,
    connect_timeout: int = 30,
    options: Sequence[str] = (),
) -> list[str]:
    """The ssh command line. ``words`` reach the remote program exactly as they are here.

    ``batch`` never asks for anything; ``connect_timeout`` is in seconds and includes the key exchange;
    ``options`` are further `Key=value` settings. What the user's own ssh_config says about agents and
    the like stays in force; what would bend streams, status or route is switched off.
    """
    settings = [
        "HostKeyAlias=skiff",
        f"StrictHostKeyChecking={'accept-new' if target.known_hosts else 'no'}",
        f"UserKnownHostsFile={_quoted(target.known_hosts) if target.known_hosts else '/dev/null'}",
        *("GlobalKnownHostsFile=/dev/null", "CheckHostIP=no", "UpdateHostKeys=no", "HashKnownHosts=no"),
        *("ProxyCommand=none", "ProxyJump=none", "RemoteCommand=none", "PermitLocalCommand=no"),
        *("ForwardX11=no", "ClearAllForwardings=yes", "LogLevel=ERROR"),
        f"ConnectTimeout={connect_timeout}",
        *(["IdentitiesOnly=yes"] if target.keys else []),
        *(["BatchMode=yes"] if batch else []),
        *(
            ["ControlMaster=no", "ControlPath=none"]
            if not any(o.startswith("Control") for o in options)
            else []
        ),
        *options,
    ]
    return [
        *("ssh", "-t" if tty else "-T", "-p", str(target.port), "-l", target.user),
        *(word for key in target.keys for word in identity(key)),
        *(word for setting in settings for word in ("-o", setting)),
        target.host,
        # The remote shell gets one string; quoted, it gives back the very same words.
        *(("--", shlex.join(words)) if words else ()),
    ]


def identity(key: Path) -> tuple[str, str]:
    """The words that name a private key to ssh."""
    # It takes `%` in a path for the start of a value; -i looks for the file before that, with `%` once.
    return ("-o", f"IdentityFile={_quoted(key)}") if "%" in str(key) else ("-i", str(key))


def plain_line(target: Target) -> str:
    """A short ssh command to show to the user, ready to paste."""
    words = ["ssh", "-p", str(target.port)]
    if target.keys:
        words += identity(target.keys[0])
    hosts = _quoted(target.known_hosts) if target.known_hosts else "/dev/null"
    words += ["-o", f"UserKnownHostsFile={hosts}", "-o", "HostKeyAlias=skiff"]
    return shlex.join([*words, f"{target.user}@{target.host}"])


def has_banner(target: Target, timeout: float) -> bool:
    """Whether an SSH server greets within ``timeout`` seconds.

    QEMU takes a connection to a forwarded port at once, long before the guest can, so the connection
    alone says nothing.
    """
    try:
        with socket.create_connection((target.host, target.port), timeout) as link:
            deadline = time.monotonic() + timeout
            link.settimeout(timeout)
            greeting = b""
            while b"SSH-" not in greeting and len(greeting) < 8192 and time.monotonic() < deadline:
                part = link.recv(256)
                if not part:
                    return False
                greeting += part
            return b"SSH-" in greeting
    except OSError:
        return False


def wait_for_ssh(
    target: Target, *, deadline: float, check: Callable[[], None], is_up: Callable[[], bool]
) -> Answer:
    """Wait until a command over SSH ends well.

    ``deadline`` is a time of the monotonic clock. ``check`` is called between attempts and raises
    to give up early (the machine died). ``is_up`` tells whether its network can be reached. Raises
    TimeoutError at the deadline, and UserError when the machine answers but lets none of our keys in.
    """
    with Knocker(target.host, target.port, is_up) as knocker:
        refused = 0
        while True:
            check()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if not knocker.greeted(min(1.0, left)):
                continue
            problem = _try_command(target, left)
            if problem is None:
                return Answer(time.monotonic())
            if "IDENTIFICATION HAS CHANGED" in problem or "Host key verification failed" in problem:
                if _try_command(msgspec.structs.replace(target, known_hosts=None), left) is None:
                    return Answer(time.monotonic(), host_key_changed=True)
            elif "Permission denied" in problem:
                refused += 1
                if refused == 5:
                    raise _locked_out(target)


def _locked_out(target: Target) -> UserError:
    message = f"the machine answers over SSH, but lets {target.user} in with none of these keys: " + (
        ", ".join(str(key) for key in target.keys) or "(no key at all)"
    )
    if passed_over := " ".join(shlex.quote(str(key)) for key in target.keys if _ignored(key)):
        return UserError(
            f"{message}; ssh does not offer what others may read: {passed_over}",
            hint=f"chmod 600 {passed_over}",
        )
    return UserError(
        message, hint="ssh-add the private half of a key that was in place when the image was built"
    )


def _ignored(key: Path) -> bool:
    """Whether ssh passes a private key over because of its mode (ssh(1), FILES); root's is no exception."""
    try:
        info = key.stat()
    except OSError:
        return False
    return info.st_uid == os.getuid() and bool(info.st_mode & 0o077)


def power_off(target: Target) -> bool:
    """Ask the system to power off; whether it took the order."""
    if not has_banner(target, 2.0):
        return False
    words = argv(target, ["poweroff", "-n"], batch=True, connect_timeout=5)
    try:
        # 255: the connection went away with the system.
        return run(words, input=b"", timeout=10, check=False).returncode in (0, _SSH_FAILED)
    except CommandError:
        return False


def _try_command(target: Target, left: float) -> str | None:
    """Run one command on a new connection; None when it ended well, else what ssh said."""
    timeout = max(1.0, min(60.0, left))
    try:
        done = run(
            argv(target, ["true"], batch=True, connect_timeout=max(1, int(timeout))),
            input=b"",
            timeout=timeout + 1,
            check=False,
        )
    except CommandError as late:
        return str(late)
    return None if done.returncode == 0 else done.stderr.decode(errors="replace") or f"{done.returncode}"


def _quoted(path: Path) -> str:
    """A path as a value of an ssh option: `%` written twice, and quoted where ssh would split it."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if any(char.isspace() for char in text) else text
