"""Ansible's inventories: its INI files as they are, and what `ansible-inventory --list` prints of others."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import msgspec

from skiff.fleet.merge import Group, Levels, Settings, hosts_of, over, spread
from skiff.host.errors import UserError
from skiff.host.files import shown
from skiff.model.fleet import Inventory

_HEAD = re.compile(r"\[([^:\]]+)(?::(vars|children|hosts))?\]\s*(?:[#;].*)?")
# `host:2222`; an address of IPv6 has more colons, and those of a range stand in brackets.
_WITH_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])+):(\d+)")
# Connections of Ansible that are SSH.
_SSH = ("", "ssh", "smart", "paramiko", "paramiko_ssh")
# In later versions and in earlier ones.
_NAMES = {
    "host": ("ansible_host", "ansible_ssh_host"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "key": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
    "common": ("ansible_ssh_common_args",),
    "extra": ("ansible_ssh_extra_args",),
}


def load_ini(path: Path) -> Inventory:
    """Read an INI file. Raises UserError that names file, line and remedy."""
    levels = Levels(shown(path))
    group, kind = "ungrouped", "hosts"
    for number, line in enumerate(_read(path).splitlines(), 1):
        text, where = line.strip(), f"{levels.file}: line {number}"
        if not text or text[0] in "#;":
            continue
        if text.startswith("["):
            match = _HEAD.fullmatch(text)
            if match is None:
                raise UserError(
                    f"{where}: {text} is no section", hint="[name], [name:vars] or [name:children]"
                )
            group, kind = match[1].strip(), match[2] or "hosts"
            if group != "all":
                levels.groups.setdefault(group, Group())
        elif kind == "vars":
            _take_vars(levels, group, _pair(text, where), where)
        elif kind == "children":
            child = _words(text, where)[0]
            levels.groups.setdefault(child, Group())
            if group != "all":
                levels.groups[group].children.append(child)
        else:
            _take_hosts(levels, group, _words(text, where), where)
    return _inventory(levels, path)


def load_json(path: Path) -> Inventory:
    """Read what `ansible-inventory --list` printed. Raises UserError when it is no such thing."""
    try:
        tables = msgspec.json.decode(_read(path), type=dict[str, dict[str, object]])
        variables = msgspec.convert(tables.pop("_meta", {}).get("hostvars", {}), dict[str, dict[str, object]])
        levels = Levels(shown(path))
        for name, table in tables.items():
            part = msgspec.convert(table, _Table)
            for host in part.hosts:
                levels.hosts.setdefault(host, Settings())
            if name != "all":
                group = levels.groups.setdefault(name, Group())
                group.hosts += part.hosts
                group.children += part.children
                for child in part.children:
                    levels.groups.setdefault(child, Group())
    except msgspec.MsgspecError as error:
        raise UserError(
            f"{shown(path)}: not an inventory: {error}",
            hint="ansible-inventory -i INVENTORY --list prints one",
        ) from error
    for host, found in variables.items():
        values = {
            key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for key, value in found.items()
        }
        levels.hosts[host] = _settings(values, f"{levels.file}: {host}")
    return _inventory(levels, path)


class _Table(msgspec.Struct):
    hosts: list[str] = []
    children: list[str] = []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{shown(path)}: not UTF-8", hint="save the file in UTF-8") from error
    except OSError as error:
        raise UserError(f"{shown(path)}: {error.strerror}", hint="make the file readable") from error


def _take_vars(levels: Levels, group: str, pair: tuple[str, str], where: str) -> None:
    settings = _settings(dict([pair]), where)
    if group == "all":
        levels.all = over(levels.all, settings)
    else:
        levels.groups[group].settings = over(levels.groups[group].settings, settings)


def _take_hosts(levels: Levels, group: str, words: list[str], where: str) -> None:
    settings = _settings(dict(_pair(word, where) for word in words[1:]), where)
    pattern = words[0]
    if match := _WITH_PORT.fullmatch(pattern):
        pattern, settings = match[1], over(Settings(port=int(match[2])), settings)
    for name in spread(pattern, where):
        levels.hosts[name] = over(levels.hosts.get(name, Settings()), settings)
        if group not in ("all", "ungrouped"):
            levels.groups[group].hosts.append(name)


def _words(text: str, where: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise UserError(f"{where}: a quote has no end", hint="close it, or take it out") from error


def _pair(text: str, where: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UserError(f"{where}: {text!r}: expected NAME=VALUE", hint="a variable has the form role=pump")
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name.strip(), value


def _settings(found: dict[str, str], where: str) -> Settings:
    """What Ansible's own variables say of the way to a device, and the user's variables."""
    values = {
        key: next((found[name] for name in names if found.get(name)), "") for key, names in _NAMES.items()
    }
    if values["port"] and not values["port"].isdecimal():
        raise UserError(f"{where}: ansible_port={values['port']}: expected a number", hint="ansible_port=22")
    own = {name: value for name, value in found.items() if not name.startswith("ansible_")}
    if (how := found.get("ansible_connection", "")) not in _SSH:
        own["ansible_connection"] = how
    return Settings(
        address=values["host"],
        user=values["user"],
        port=int(values["port"]) if values["port"] else None,
        key=values["key"],
        ssh=tuple(_words(f"{values['common']} {values['extra']}", where)),
        vars=own,
    )


def _inventory(levels: Levels, path: Path) -> Inventory:
    # Ansible has these two without a section.
    levels.groups.pop("ungrouped", None)
    hosts, groups = hosts_of(levels)
    notices = []
    other = [host.name for host in hosts if "ansible_connection" in host.vars]
    if other:
        notices.append(f"{levels.file}: left out, for they are not reached over SSH: {', '.join(other)}")
    beside = [name for name in ("group_vars", "host_vars") if (path.parent / name).is_dir()]
    if beside and path.suffix != ".json":
        notices.append(
            f"{levels.file}: {' and '.join(beside)} beside it are not read; "
            "`ansible-inventory --list >hosts.json` writes a file with all of it"
        )
    return Inventory(
        tuple(host for host in hosts if host.name not in other),
        {name: tuple(host for host in found if host not in other) for name, found in groups.items()},
        notices=tuple(notices),
    )
