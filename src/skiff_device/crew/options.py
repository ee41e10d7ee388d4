"""Options of `docker create` that an app may be given: which there are, for whom, and in which spelling.

Only what is listed here is taken. The engine runs as root: many of its options are ways to the device itself.
"""

from __future__ import annotations

import re
import shlex

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, source
from skiff_device.crew.command import Caller

PHASES = ("build", "deploy", "run")
# What a container does to itself alone; true where a value follows.
_FREE = {
    "add-host": True, "cap-drop": True, "dns": True, "dns-option": True, "dns-search": True,
    "entrypoint": True, "env": True, "expose": True, "health-cmd": True, "health-interval": True,
    "health-retries": True, "health-start-period": True, "health-timeout": True, "hostname": True,
    "no-healthcheck": False, "read-only": False, "stop-signal": True, "stop-timeout": True, "tmpfs": True,
    "user": True, "workdir": True,
}  # fmt: skip
# What reaches the device or other apps, or takes more of the device than the limits say.
_ADMIN = {
    "annotation": True, "blkio-weight": True, "cap-add": True, "cpu-shares": True, "cpuset-cpus": True,
    "device": True, "device-cgroup-rule": True, "device-read-bps": True, "device-write-bps": True,
    "gpus": True, "group-add": True, "ipc": True, "label": True, "log-driver": True, "log-opt": True,
    "memory-reservation": True, "memory-swap": True, "memory-swappiness": True, "mount": True,
    "network-alias": True, "oom-score-adj": True, "pid": True, "privileged": False, "runtime": True,
    "security-opt": True, "shm-size": True, "sysctl": True, "ulimit": True, "userns": True, "uts": True,
    "volume": True, "volumes-from": True,
}  # fmt: skip
_SHORT = {"e": "env", "h": "hostname", "l": "label", "u": "user", "v": "volume", "w": "workdir"}
# What crew decides itself, and which of its commands does.
_OWN = {
    "cpus": "resource:limit --cpu", "memory": "resource:limit --memory", "m": "resource:limit --memory",
    "pids-limit": "resource:limit --pids", "name": "", "network": "network:set", "net": "network:set",
    "ip": "", "ip6": "", "publish": "ports:set", "p": "ports:set", "publish-all": "ports:set",
    "P": "ports:set", "restart": "ps:set APP restart-policy", "init": "", "rm": "", "detach": "", "d": "",
    "interactive": "", "i": "", "tty": "", "t": "", "attach": "", "a": "",
    "env-file": "config:import", "label-file": "", "cidfile": "", "pull": "", "platform": "",
    "cgroup-parent": "", "cgroupns": "", "link": "network:set",
}  # fmt: skip
_LONGEST = 4096
_CREW_LABEL = re.compile(r"crew(\.|=|$)")


def phases(text: str) -> list[str]:
    """Phases of a list with commas. Raises DeviceError."""
    found = text.split(",")
    for phase in found:
        if phase not in PHASES:
            raise DeviceError(f"{names.shown(phase)!r} is no phase", ", ".join(PHASES))
    return list(dict.fromkeys(found))


def split(words: list[str]) -> list[str]:
    """Words of options; a single one that holds spaces is split as a shell would. Raises DeviceError."""
    if len(words) == 1 and re.search(r"\s", words[0]):
        try:
            return shlex.split(words[0])
        except ValueError as error:
            raise DeviceError(f"the option cannot be understood: {error}", "close every quote") from None
    return words


def parse(words: list[str], phase: str, caller: Caller) -> list[str]:
    """Options in one spelling each, `--name` or `--name=value`. Raises DeviceError."""
    if any("\0" in word or len(word) > _LONGEST for word in words):
        raise DeviceError("an option is too long, or holds a NUL", f"at most {_LONGEST} characters")
    left = list(words)
    found = []
    while left:
        name, value = _name(left.pop(0))
        takes = name == "build-arg" if phase == "build" else _allowed(name, caller)
        if takes and value is None:
            if not left:
                raise DeviceError(f"--{name} needs a value", f"--{name}=VALUE")
            value = left.pop(0)
        if not takes and value not in (None, "true"):
            raise DeviceError(f"--{name} takes no value", f"--{name}")
        if name == "label" and _CREW_LABEL.match(value or ""):
            raise DeviceError("labels crew.… are crew's own", "choose another name")
        if name in ("pid", "ipc") and (value or "").startswith("container:"):
            raise DeviceError(
                f"--{name}={names.shown(value or '')} ends with that container", "host or private"
            )
        found.append(f"--{name}={value}" if takes else f"--{name}")
        if phase == "build":
            source.build_argument(found[-1:])
    if not found:
        raise DeviceError("the option is missing", "such as --tmpfs=/tmp")
    return found


def _name(word: str) -> tuple[str, str | None]:
    """Name and value of a word: `--name`, `--name=value`, `-n`, `-nvalue`. Raises DeviceError."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return name, (value if equals else None)
    if len(word) > 1 and word.startswith("-"):
        value = word[2:].removeprefix("=")
        return _SHORT.get(word[1], word[1]), (value if len(word) > 2 else None)
    raise DeviceError(f"{names.shown(word)!r} is no option", "such as --tmpfs=/tmp")


def _allowed(name: str, caller: Caller) -> bool:
    """Whether an option takes a value. Raises DeviceError when this caller may not give it."""
    if name in _OWN:
        raise DeviceError(f"--{name} is crew's own to set", _OWN[name] or "there is no need for it")
    if name in _FREE:
        return _FREE[name]
    if name not in _ADMIN:
        there = sorted([*_FREE, *(_ADMIN if caller.role == "admin" else ())])
        raise DeviceError(
            f"--{names.shown(name)} is not an option that is taken", f"there are: {' '.join(there)}"
        )
    if caller.role != "admin":
        hint = "storage:mount" if name in ("volume", "mount") else "ask an admin"
        raise DeviceError(f"--{name} reaches beyond the app: it is for admins", hint)
    return _ADMIN[name]
