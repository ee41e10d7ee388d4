"""A device somewhere on the network, or a workspace's virtual machine, as the verbs for updates reach it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import Group, run
from skiff.machine import ssh

# ssh's own exit status when it could not connect or log in.
SSH_FAILED = 255


class Reply(msgspec.Struct, frozen=True):
    """A program that ended on a device."""

    status: int
    text: str
    # What it said on standard error.
    problem: str


class Remote(msgspec.Struct, frozen=True):
    """How a device is reached. The user's own ssh settings are in force: names, jump hosts, agents."""

    # Words of the command line up to the host.
    ssh: tuple[str, ...]
    # As ssh takes it: `root@10.0.0.5`, or a name of ssh_config.
    host: str
    # Programs that reach it end together with these; None: with Ctrl-C, as usual.
    group: Group | None = None

    def argv(self, words: Sequence[str]) -> list[str]:
        """The command line that runs a program there; the words arrive exactly as they are here."""
        return [*self.ssh, self.host, "--", shlex.join(words)]

    def run(
        self, words: Sequence[str], *, input: bytes = b"", timeout: float = 60, check: bool = True
    ) -> Reply:
        """Run a program there to its end.

        Raises UserError when the device cannot be reached, and with what the program said when it failed
        (unless ``check`` is False).
        """
        argv = self.argv(words)
        if self.group is not None:
            done = self.group.run(argv, input=input, timeout=timeout)
        else:
            done = run(argv, input=input, timeout=timeout, check=False)
        text, said = (part.decode(errors="replace") for part in (done.stdout, done.stderr))
        reply = Reply(done.returncode, text, said.strip())
        if reply.status == SSH_FAILED:
            raise self.not_reached(reply.problem)
        if check and reply.status != 0:
            raise UserError(f"{self.host}: {reply.problem or f'{words[0]}: status {reply.status}'}")
        return reply

    def not_reached(self, problem: str) -> UserError:
        """What to tell when ssh itself failed, with what it said."""
        hint = "does `ssh` to it work without a question? keys with a passphrase: ssh-add"
        if "Permission denied" in problem:
            hint += "; the key that a workspace made for its images: -i workspaces/NAME/keys/id_ed25519"
        return UserError(f"{self.host}: not reached over SSH: {problem or 'the connection broke'}", hint=hint)

    def boot_id(self, timeout: float = 20, other_key: str = "") -> str:
        """What tells one boot from another (proc(5)); empty when no answer comes in time.

        ``other_key`` when it shows another host key than the one that ssh knows.
        """
        try:
            return self.run(["cat", "/proc/sys/kernel/random/boot_id"], timeout=timeout).text.strip()
        except UserError as error:
            return other_key if "Host key verification failed" in error.message else ""


def machine(target: ssh.Target, options: Sequence[str] = ()) -> Remote:
    """A workspace's machine. ``options`` are ssh's own `Key=value`."""
    words = ssh.argv(target, batch=True, connect_timeout=10, options=options)
    return Remote(tuple(words[:-1]), words[-1])


def device(
    address: str,
    port: int | None = None,
    key: Path | None = None,
    options: Sequence[str] = (),
    *,
    more: Sequence[str] = (),
    group: Group | None = None,
) -> Remote:
    """A device by its address; root unless another user is named.

    ``options`` are ssh's own `Key=value`, ``more`` are words of its command line.
    """
    settings = [
        *options,
        "BatchMode=yes",
        "StrictHostKeyChecking=accept-new",
        "ConnectTimeout=10",
        "ServerAliveInterval=10",
        "LogLevel=ERROR",
    ]
    # Of a setting that is there twice, ssh takes the first.
    words = ["ssh", "-T", *more, *(w for setting in settings for w in ("-o", setting))]
    words += ["-p", str(port)] if port else []
    words += ssh.identity(key) if key else ()
    return Remote(tuple(words), address if "@" in address else f"root@{address}", group)
