"""What an inventory's levels say, put together: all devices, groups from the outermost in, one device."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import at_home
from skiff.model.fleet import Host

# `kiosk-[01:12]`, `rack-[a:c]`, `node[0:10:2]`, as Ansible writes them.
_RANGE = re.compile(r"\[(\w+):(\w+)(?::(\d+))?\]")
_MOST = 10_000


class Settings(msgspec.Struct, frozen=True):
    """What one level says. Empty or None: nothing."""

    address: str = ""
    user: str = ""
    port: int | None = None
    key: str = ""
    ssh: tuple[str, ...] = ()
    workspace: str = ""
    vars: dict[str, str] = {}


class Group(msgspec.Struct):
    """A group while its file is read."""

    hosts: list[str] = []
    children: list[str] = []
    settings: Settings = Settings()


class Levels(msgspec.Struct):
    """All that a file says, before it is put together. ``file`` is its name for messages."""

    file: str
    all: Settings = Settings()
    groups: dict[str, Group] = {}
    # In the order of the file; groups may name further ones.
    hosts: dict[str, Settings] = {}


def over(below: Settings, above: Settings) -> Settings:
    """Both, where ``above`` wins. Variables of both hold."""
    said = {name: value for name, value in msgspec.structs.asdict(above).items() if value}
    return msgspec.structs.replace(below, **said | {"vars": {**below.vars, **above.vars}})


def hosts_of(levels: Levels) -> tuple[tuple[Host, ...], dict[str, tuple[str, ...]]]:
    """The devices, and the names of each group's. Raises UserError for groups that are none, or in a ring."""
    depth = {name: 0 for name in levels.groups}
    for name in levels.groups:
        _deepen(levels, name, 0, depth, ())
    members = {name: dict.fromkeys(_members(levels, name)) for name in levels.groups}
    names = dict.fromkeys([*levels.hosts, *(host for found in members.values() for host in found)])
    # Outer groups first, so that inner ones win; beside each other, by name.
    order = sorted(levels.groups, key=lambda name: (depth[name], name))
    hosts = []
    for name in names:
        inside = [group for group in order if name in members[group]]
        settings = levels.all
        for group in inside:
            settings = over(settings, levels.groups[group].settings)
        hosts.append(_host(levels.file, name, over(settings, levels.hosts.get(name, Settings())), inside))
    return tuple(hosts), {name: tuple(found) for name, found in members.items()}


def _deepen(levels: Levels, name: str, level: int, depth: dict[str, int], way: tuple[str, ...]) -> None:
    if name in way:
        raise UserError(
            f"{levels.file}: group {name} holds itself: {' → '.join([*way, name])}",
            hint="take one of these groups out of the other",
        )
    if name not in levels.groups:
        raise UserError(
            f"{levels.file}: group {way[-1]}: there is no group {name}",
            hint="give it a section of its own, or take its name out",
        )
    depth[name] = max(depth[name], level)
    for child in levels.groups[name].children:
        _deepen(levels, child, level + 1, depth, (*way, name))


def _members(levels: Levels, name: str) -> Iterator[str]:
    yield from levels.groups[name].hosts
    for child in levels.groups[name].children:
        yield from _members(levels, child)


def _host(file: str, name: str, settings: Settings, groups: Sequence[str]) -> Host:
    address = settings.address or name
    user, at, bare = address.rpartition("@")
    if not bare or address.startswith("-") or not address.isprintable() or " " in address:
        raise UserError(f"{file}: {name}: {address!r} is no address", hint="a name or an IP address")
    return Host(
        name=name,
        address=bare,
        user=user if at else settings.user or "root",
        port=settings.port,
        key=at_home(settings.key) if settings.key else None,
        ssh=settings.ssh,
        workspace=settings.workspace,
        groups=tuple(groups),
        vars=settings.vars,
    )


def spread(pattern: str, where: str) -> list[str]:
    """The names that a pattern with ranges stands for. Raises UserError for a range that is none."""
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last, step = match[1], match[2], int(match[3] or 1)
    if first.isdecimal() and last.isdecimal():
        numbers = range(int(first), int(last) + 1, step or 1)
        # Zeros in front give the width.
        width = len(first) if first.startswith("0") else 0
        if len(numbers) > _MOST:
            raise UserError(f"{where}: {match[0]} is more than {_MOST} devices", hint="a smaller range")
        words = [f"{number:0{width}}" for number in numbers]
    elif len(first) == len(last) == 1 and first.isalpha() and last.isalpha():
        words = [chr(code) for code in range(ord(first), ord(last) + 1, step or 1)]
    else:
        words = []
    if not words or not step:
        raise UserError(
            f"{where}: {match[0]} is no range", hint="from the lower to the higher: [1:20], [a:f]"
        )
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [name for word in words for name in spread(f"{before}{word}{after}", where)]
