"""Lines of authorized_keys: each key of a user leads to the log-in program and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from skiff_device.common.keys import split
from skiff_device.core.paths import LOGIN

_OPTION = re.compile(r'([A-Za-z0-9-]+)(="(?:\\.|[^"\\])*")?')
# Options that only take something away are kept.
_KEPT = ("no-port-forwarding", "no-agent-forwarding", "no-x11-forwarding", "no-pty", "restrict")
# Without these the key would open more than its owner wanted, and the SSH server does not know all of them.
_NEEDED = ("command", "from", "expiry-time", "cert-authority", "permitopen", "verify-required")


def forced(lines: Iterable[str], origin: str, warn: Callable[[str], None]) -> str:
    """The text of authorized_keys: every key once, with the log-in as its forced command.

    An option of a key's own is dropped with a warning; a key whose option narrows it in a way that cannot be
    kept (to one command, one address, a time) is left out: it must not open more than it did.
    """
    found: dict[str, str] = {}
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        options, key, comment = split(text)
        if not key:
            warn(f"{origin}: not a public key, left out: {text[:40]}…")
            continue
        name = comment or key.split()[1][-12:]
        kept, dropped = _sorted(options)
        if any(option in _NEEDED for option in dropped):
            warn(f"{origin}: key {name} is left out: its option {', '.join(dropped)} cannot be kept")
            continue
        if dropped:
            warn(f"{origin}: key {name}: without its option {', '.join(dropped)}")
        prefix = ",".join([f'command="{LOGIN}"', *kept])
        found.setdefault(key, f"{prefix} {key}{' ' + comment if comment else ''}")
    return "".join(f"{line}\n" for line in found.values())


def _sorted(options: str) -> tuple[list[str], list[str]]:
    """Options that are kept, and names of those that are not."""
    kept, dropped = [], []
    for match in _OPTION.finditer(options):
        name = match.group(1).lower()
        if name in _KEPT and not match.group(2):
            kept.append(match.group(1))
        else:
            dropped.append(name)
    return kept, dropped
