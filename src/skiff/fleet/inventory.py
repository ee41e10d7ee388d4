"""Reads an inventory, whichever kind it is, and finds the devices of it that are meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from skiff.fleet import ansible, toml_file
from skiff.host.errors import UserError
from skiff.host.files import shown
from skiff.model.fleet import Host, Inventory

ALL = "all"


def load(path: Path) -> Inventory:
    """Read an inventory. Raises UserError when it is none, or holds no device."""
    if not path.is_file():
        what = "is no file" if path.exists() else "no such file"
        raise UserError(f"{shown(path)}: {what}", hint='a file with hosts = ["root@10.0.0.5", …] is enough')
    if path.suffix in (".yml", ".yaml") or path.read_bytes()[:2] == b"#!":
        raise UserError(
            f"{shown(path)}: inventories of YAML and programs are read by Ansible only",
            hint=f"ansible-inventory -i {shown(path)} --list >hosts.json, and take that file",
        )
    read = {".toml": toml_file.load, ".json": ansible.load_json}.get(path.suffix, ansible.load_ini)
    found = read(path)
    if not found.hosts:
        raise UserError(f"{shown(path)}: no devices in it", hint='hosts = ["root@10.0.0.5", …]')
    return found


def select(inventory: Inventory, words: Sequence[str]) -> tuple[Host, ...]:
    """The devices that words mean, in the order of the file; without words, all.

    A word is a name, a group, a pattern of them (`kiosk-*`) or `variable=value`, several with commas; one
    with `!` before it takes away. Raises UserError for a word that means nothing, with the nearest that does.
    """
    parts = [part.strip() for word in words for part in word.split(",") if part.strip()]
    wanted = [part for part in parts if not part.startswith("!")]
    names = {name for part in wanted or [ALL] for name in _meant(inventory, part)}
    for part in parts:
        if part.startswith("!"):
            names -= _meant(inventory, part[1:])
    if not names:
        raise UserError(f"no device is left of {', '.join(parts)}", hint="skiff fleet list shows all")
    return tuple(host for host in inventory.hosts if host.name in names)


def _meant(inventory: Inventory, word: str) -> set[str]:
    every = {host.name for host in inventory.hosts}
    if word == ALL:
        return every
    name, equals, value = word.partition("=")
    if equals:
        found = {
            host.name
            for host in inventory.hosts
            if fnmatchcase(host.vars.get(name, ""), value) and name in host.vars
        }
    else:
        found = {host for host in every if fnmatchcase(host, word)}
        for group, members in inventory.groups.items():
            if fnmatchcase(group, word):
                found.update(members)
                if group == word and not members:
                    raise UserError(f"group {group} holds no device", hint="skiff fleet list shows all")
    if not found:
        raise _unknown(inventory, word)
    return found


def _unknown(inventory: Inventory, word: str) -> UserError:
    if "=" in word:
        name = word.partition("=")[0]
        known = sorted({f"{name}={host.vars[name]}" for host in inventory.hosts if name in host.vars})
    else:
        known = [*inventory.groups, *(host.name for host in inventory.hosts)]
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    return UserError(
        f"no device and no group is called {word}", hint=f"{guess}`skiff fleet list` shows what there is"
    )
