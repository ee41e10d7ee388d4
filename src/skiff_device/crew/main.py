"""From a log-in to a command: who asks, what, and whether they may."""

from __future__ import annotations

import _thread
import importlib
import os
import re
import select
import shlex
import signal
import sys

from skiff_device.common.errors import DeviceError, of_disk
from skiff_device.crew import names
from skiff_device.crew.command import Args, Caller, Command, Context, Family, Forbidden, refused
from skiff_device.crew.paths import Paths

# Modules of commands/, in the order of `help`.
FAMILIES = (
    "apps", "releases", "ps", "logs", "run", "config", "domains", "ports", "proxy", "certs", "letsencrypt",
    "checks", "storage", "resource", "docker_options", "network", "cron", "git", "builder", "ssh_keys",
    "cluster", "secrets", "backup", "events", "cleanup", "plugin", "help",
)  # fmt: skip
# Commands whose name does not begin with that of their module.
_ELSEWHERE = {
    "enter": "run", "rollback": "releases", "version": "help",
    "builder-dockerfile": "builder", "configs": "secrets",
}  # fmt: skip
# What comes over SSH is one string; dropbear takes less (MAX_CMD_LEN is 9000), OpenSSH more. In characters.
_LONGEST = 100_000


class UsageError(DeviceError):
    """A command that there is not, or words that do not fit it: exit status 2."""


def family(name: str) -> Family | None:
    """The module of a command, imported only when it is asked for."""
    head = name.partition(":")[0]
    module = _ELSEWHERE.get(head, head.replace("-", "_"))
    if module not in FAMILIES or "_" in head:
        return None
    found: Family = importlib.import_module(f"skiff_device.crew.commands.{module}").COMMANDS
    return found


def find(name: str) -> Command:
    """A command by its name. Raises UsageError."""
    found = family(name)
    if found is None:
        raise UsageError(f"there is no command {names.shown(name)!r}", "help shows all")
    for command in found.commands:
        if command.name == name:
            return command
    there = " ".join(command.name for command in found.commands)
    raise UsageError(f"there is no command {names.shown(name)!r}", f"there are: {there}")


def takes_app(command: Command) -> bool:
    """Whether a command is for one app, which it takes by context.app; that looks whether the caller may."""
    return any(word.split("|")[0] == "APP" for word in command.usage.split())


def _check(caller: Caller, command: Command, words: list[str]) -> None:
    """Raise DeviceError when a caller may not use a command, whatever the app is."""
    everywhere = {"--all", "--global"} & set(words) & set(re.split(r"[\s\[\]|]+", command.usage))
    if command.access == "admin" or everywhere:
        allowed = caller.role == "admin"
    else:
        allowed = takes_app(command) or caller.may(command.access, None)
    if not allowed:
        raise refused(caller, command)


def run(paths: Paths, caller: Caller, words: list[str]) -> int:
    """Run one command for a caller; returns the exit status. Raises DeviceError."""
    command = find(words[0] if words else "help")
    args = Args(words[1:], command.usage)
    # Not further on: there it may be for a program in a container.
    if words[1:2] == ["--help"]:
        print(f"usage: {command.usage}\n  {command.text}")
        return 0
    _check(caller, command, words)
    return command.run(Context(paths, caller, command), args) or 0


def end_with_client(*outputs: int) -> None:
    """From now on a client that goes away ends what is done for it, also while that says nothing.

    outputs are the files that lead to it.
    """
    lost = select.poll()
    for output in outputs:
        # No event is asked for: only that nobody reads any more is told.
        lost.register(output, 0)

    main_thread = _thread.get_ident()

    def watch() -> None:
        lost.poll()
        # To that thread, so that what it waits for is interrupted.
        signal.pthread_kill(main_thread, signal.SIGHUP)

    # Of threading itself nothing is needed, and it takes long to load.
    _thread.start_new_thread(watch, ())


def serve(paths: Paths, key: str, text: str) -> int:
    """Do what the client of a key asked for over SSH."""
    from skiff_device.crew import keys

    end_with_client(1, 2)
    caller = keys.caller(paths, key)
    try:
        if len(text) > _LONGEST:
            raise UsageError("this command is too long")
        return _obey(paths, caller, text)
    except DeviceError as error:
        from skiff_device.crew import events

        # Messages but those of a push may quote what is nobody else's, such as a value.
        is_told = isinstance(error, Forbidden) or text.startswith("git-")
        what = error.message if is_told else names.shown(text.partition(" ")[0])
        events.log(paths, caller, f"refused: {what}")
        raise


def _obey(paths: Paths, caller: Caller, text: str) -> int:
    if text.startswith(("git-receive-pack ", "git-upload-pack ", "git-upload-archive ")):
        from skiff_device.crew import receive

        return receive.serve(paths, caller, text)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"this command cannot be understood: {error}", "close every quote") from None
    return run(paths, caller, words)


def become_crew(paths: Paths) -> None:
    """Leave root behind: everything of crew is done as its user."""
    if os.geteuid() != 0 or os.environ.get("SKIFF_ROOT"):
        return
    for line in (paths.root / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == "crew":
            uid, gid = int(fields[2]), int(fields[3])
            groups = [gid]
            for group in (paths.root / "etc/group").read_text().splitlines():
                parts = group.split(":")
                if len(parts) == 4 and "crew" in parts[3].split(","):
                    groups.append(int(parts[2]))
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            os.environ["HOME"] = fields[5]
            return
    raise DeviceError("this image has no user crew", "add layer apps/crew")


def _internal(paths: Paths, words: list[str]) -> int | None:
    """What services and git hooks call; None when the words are a user's command."""
    match words:
        case ["serve", key]:
            return serve(paths, key, os.environ.get("SSH_ORIGINAL_COMMAND", ""))
        case ["environment", container, pid]:
            from skiff_device.crew import from_core, keys

            from_core.take(paths, container, pid)
            app = from_core.app(paths, container)
            return serve(paths, f"{keys.ENV}{app}", f"git-receive-pack '{app}'")
        case ["pre-receive"]:
            from skiff_device.crew import receive

            # Git between them goes on when the client is lost, and reads no more of what is said here.
            end_with_client(int(os.environ[receive.CLIENT]))
            return receive.hook(paths)
        case ["write-keys"]:
            from skiff_device.crew import keys

            keys.write(paths)
            return 0
        case ["retire", app]:
            from skiff_device.crew import retire

            return retire.retire(paths, names.app(app))
        case ["restore"]:
            from skiff_device.crew import restore

            return restore.restore(paths)
        case ["follow-sites"]:
            from skiff_device.crew import cluster_sites

            return cluster_sites.follow(paths)
        case ["native-build"]:
            from skiff_device.crew import native_build

            return native_build.run(paths)
        case ["cron-run", app, job]:
            from skiff_device.crew import crontab

            return crontab.run(paths, app, job)
    return None


def main(words: list[str]) -> int:
    """The program `crew`; returns the exit status."""
    paths = Paths()
    # A lost connection is as Ctrl-C: what was half made is put away.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        become_crew(paths)
        os.umask(0o077)
        status = _internal(paths, words)
        return run(paths, Caller("root"), words) if status is None else status
    except DeviceError as error:
        return _complain(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away, as `| head` does; nothing more to write to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        return _complain(of_disk(error, "cleanup, docker system df"))


def _complain(error: DeviceError) -> int:
    """What went wrong, and what to do; returns the exit status."""
    print(f"crew: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)
    return 2 if isinstance(error, UsageError) or error.hint.startswith("usage: ") else 1
