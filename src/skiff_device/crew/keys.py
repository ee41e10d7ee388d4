"""SSH keys of crew: their names, roles and apps, and the lines of authorized_keys made of them."""

from __future__ import annotations

import json
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.common.keys import split
from skiff_device.crew import names, store
from skiff_device.crew.command import ROLES, Caller
from skiff_device.crew.paths import Paths

_LOGIN = "/usr/lib/skiff/crew/login"
# A key of crew's opens its commands and nothing else.
_OPTIONS = "no-port-forwarding,no-agent-forwarding,no-X11-forwarding"
# The name under which root's keys do everything.
ROOT = "root"
# Goes before an app's name for who pushes it as the environment of core. No key's name has such a sign.
ENV = "env:"
# In an app's folder, while it gets another name: the one it had.
_NAMED = "renamed-from"


def read(paths: Paths) -> dict[str, dict[str, Any]]:
    """Keys by name: role, apps, and key (`type base64`). Raises DeviceError when the file is damaged."""
    try:
        found = json.loads(paths.keys.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DeviceError(f"{paths.keys} cannot be read: {error}", "root's keys still work") from None
    return found if isinstance(found, dict) else {}


def caller(paths: Paths, name: str) -> Caller:
    """Who a key stands for. Raises DeviceError for one that is not, or no longer, known."""
    if name == ROOT:
        return Caller(ROOT)
    if name.startswith(ENV):
        return Caller(name, "deploy", (name.removeprefix(ENV),))
    one = read(paths).get(names.key(name))
    if not isinstance(one, dict) or one.get("role") not in ROLES:
        raise DeviceError(f"key {name} is not known any more", "ask an admin: ssh-keys:list")
    return Caller(name, str(one["role"]), tuple(map(str, one.get("apps", []))))


def add(paths: Paths, name: str, text: str, role: str, apps: list[str]) -> None:
    """Take a public key in. Raises DeviceError for what is no key, and for a name or key that is there."""
    names.key(name)
    if name == ROOT:
        raise DeviceError("the name root stands for root's own keys", "choose another name")
    if role not in ROLES:
        raise DeviceError(f"{names.shown(role)!r} is no role", ", ".join(ROLES))
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    options, key, _ = split(lines[0].strip()) if len(lines) == 1 else ("", "", "")
    if not key or options:
        raise DeviceError("this is no public key", "one line, as in id_ed25519.pub")
    with store.alone(paths, "keys"):
        known = read(paths)
        if name in known:
            raise DeviceError(f"there is a key {name} already", f"ssh-keys:remove {name}")
        for other, one in known.items():
            if one.get("key") == key:
                raise DeviceError(f"this key is there already, as {other}", f"ssh-keys:remove {other}")
        known[name] = {"role": role, "apps": sorted(set(apps)), "key": key}
        _save(paths, known)
    write(paths)


def remove(paths: Paths, name: str) -> None:
    """Take a key out; it opens nothing from now on."""
    with store.alone(paths, "keys"):
        known = read(paths)
        if name not in known:
            raise DeviceError(f"there is no key {names.shown(name)}", "ssh-keys:list shows all")
        del known[name]
        _save(paths, known)
    write(paths)


def before_rename(paths: Paths, app: str) -> None:
    """Note an app's name in its folder, which is about to get another; for `follow`."""
    # Power may have gone while it got the name that it has, and nobody looked after that yet.
    follow(paths, app)
    (paths.app(app) / _NAMED).write_text(app)


def follow(paths: Paths, app: str) -> None:
    """Keys that may deploy an app may do so under its new name, and no more what gets the old one later.

    Nothing is done for an app that `before_rename` has no note of. Raises DeviceError when keys are damaged.
    """
    note = paths.app(app) / _NAMED
    try:
        before = note.read_text()
    except FileNotFoundError:
        return
    if before != app:
        with store.alone(paths, "keys"):
            known = read(paths)
            holders = [one for one in known.values() if before in one.get("apps", [])]
            for one in holders:
                one["apps"] = sorted({app if other == before else other for other in one["apps"]})
            if holders:
                _save(paths, known)
    note.unlink()
    # Read again after a boot, it would take keys from an app that got the old name meanwhile.
    store.sync_folder(note.parent)


def _save(paths: Paths, known: dict[str, dict[str, Any]]) -> None:
    write_atomically(paths.keys, json.dumps(known, indent=1, sort_keys=True) + "\n", 0o600)
    store.sync_folder(paths.keys.parent)


def write(paths: Paths) -> None:
    """Write authorized_keys: root's keys first, then those of crew; each key once."""
    # At boot two ask for it at about the same time.
    with store.alone(paths, "keys"):
        write_atomically(paths.authorized_keys, _lines(paths), 0o600)


def _lines(paths: Paths) -> str:
    lines: dict[str, str] = {}
    try:
        root = paths.root_keys.read_text().splitlines()
    except OSError:
        root = []
    for line in root:
        text = line.strip()
        options, key, _ = split(text) if text and not text.startswith("#") else ("", "", "")
        # One that is limited for root is not made an admin here.
        if key and not options:
            lines[key] = ROOT
    try:
        known = read(paths)
    except DeviceError:
        known = {}
    for name, one in known.items():
        lines.setdefault(str(one.get("key", "")), name)
    return "".join(f'command="{_LOGIN} {name}",{_OPTIONS} {key}\n' for key, name in lines.items() if key)
