"""Our own inventory: a TOML file with devices, groups, and what holds for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from skiff.fleet import waves
from skiff.fleet.merge import Group, Levels, Settings, hosts_of, over, spread
from skiff.host import toml
from skiff.host.errors import UserError
from skiff.host.files import shown
from skiff.model.fleet import Inventory

_PAGE = "docs/reference/inventory.md"
_Value = str | int | float | bool


class _Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[defaults]: what holds for all devices."""

    user: str = ""
    port: int | None = None
    key: str = ""
    ssh_options: tuple[str, ...] = ()
    workspace: str = ""
    vars: dict[str, _Value] = {}


class _Host(_Level, frozen=True, forbid_unknown_fields=True):
    """[hosts.NAME]"""

    address: str = ""


class _Group(_Level, frozen=True, forbid_unknown_fields=True):
    """[groups.NAME]"""

    hosts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. Tables of devices and groups are looked at one by one, so that messages can name them."""

    hosts: tuple[str, ...] | dict[str, Any] = ()
    groups: dict[str, Any] = {}
    defaults: _Level = _Level()
    wave: str | int = ""
    failures: str | int = ""
    jobs: int | None = None


def load(path: Path) -> Inventory:
    """Read the file. Raises UserError that names file, key and remedy."""
    file = toml.convert(path, toml.parse(path), _File, _PAGE)
    levels = Levels(shown(path), _settings(file.defaults))
    if isinstance(file.hosts, dict):
        for name, table in file.hosts.items():
            at = f"hosts.{name}"
            host = toml.convert(path, table, _Host, _PAGE, at)
            said = msgspec.structs.replace(_settings(host), address=host.address)
            for one in spread(name, f"{levels.file}: {at}"):
                # Ranges may overlap.
                levels.hosts[one] = over(levels.hosts.get(one, Settings()), said)
    else:
        for name, settings in _listed(file.hosts, f"{levels.file}: hosts"):
            levels.hosts[name] = settings
    for name, table in file.groups.items():
        group = toml.convert(path, table, _Group, _PAGE, f"groups.{name}")
        where = f"{levels.file}: groups.{name}.hosts"
        found = _listed(group.hosts, where)
        for host_name, settings in found:
            known = levels.hosts.get(host_name, Settings())
            if settings.user and known.user not in ("", settings.user):
                raise UserError(
                    f"{where}: {settings.user}@{host_name}: its user is {known.user} elsewhere in the file",
                    hint="name one user for it",
                )
            levels.hosts[host_name] = over(known, settings)
        levels.groups[name] = Group([host for host, _ in found], list(group.groups), _settings(group))
    hosts, groups = hosts_of(levels)
    wave, failures = str(file.wave), str(file.failures)
    try:
        waves.check(wave, failures, file.jobs)
    except UserError as error:
        raise UserError(f"{levels.file}: {error.message}", hint=error.hint) from None
    return Inventory(hosts, groups, wave, failures, file.jobs)


def _settings(level: _Level) -> Settings:
    return Settings(
        user=level.user,
        port=level.port,
        key=level.key,
        ssh=tuple(word for option in level.ssh_options for word in ("-o", option)),
        workspace=level.workspace,
        vars={name: _text(value) for name, value in level.vars.items()},
    )


def _text(value: _Value) -> str:
    """As a shell on the device would have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(words: tuple[str, ...], where: str) -> list[tuple[str, Settings]]:
    """Devices of a list: `kiosk-3`, `root@10.0.0.5`, `kiosk-[1:20]`. Raises UserError for one named twice."""
    found: dict[str, Settings] = {}
    for word in words:
        for one in spread(word, where):
            user, _, name = one.rpartition("@")
            if name in found:
                raise UserError(f"{where}: {name} is there twice", hint="take one of them out")
            found[name] = Settings(user=user)
    return list(found.items())
