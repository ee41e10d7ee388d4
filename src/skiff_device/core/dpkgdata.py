"""What dpkg would know of packages that it had unpacked: its database, when they were unpacked without it.

All packages of a base are unpacked at once, into a tree in which nothing runs yet; dpkg then sets them up.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

_FIELD = re.compile(r"^([A-Za-z-]+):[ \t]*(.*)$", re.MULTILINE)
_INTEREST = re.compile(r"^interest(-noawait|-await)?[ \t]+(\S+)", re.MULTILINE)


class Database:
    """The files below /var/lib/dpkg, of packages that are unpacked and not configured."""

    def __init__(self) -> None:
        self._status: list[str] = []
        self._info: dict[str, bytes] = {"format": b"1\n"}
        # Packages that want to hear of a trigger, by its name; one that is a path hears of files below it.
        self._interests: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, control: dict[str, bytes], paths: list[str], sums: dict[str, str]) -> None:
        """Note a package by what it says of itself, its paths, and the checksums of its settings files."""
        paragraph = control["control"].decode().strip()
        fields = dict(_FIELD.findall(paragraph))
        name = fields["Package"]
        if fields.get("Multi-Arch") == "same":
            name = f"{name}:{fields['Architecture']}"
        settings = "".join(f"\n {path} {sums[path]}" for path in sums)
        self._status.append(
            f"{paragraph}\nStatus: install ok unpacked\n" + (f"Conffiles:{settings}\n" if settings else "")
        )
        self._info[f"{name}.list"] = "".join(f"{path}\n" for path in paths).encode()
        self._info |= {f"{name}.{file}": data for file, data in control.items() if file != "control"}
        for wait, trigger in _INTEREST.findall(control.get("triggers", b"").decode()):
            self._interests[trigger].append(name + ("/noawait" if wait == "-noawait" else ""))

    def files(self) -> Iterator[tuple[str, bytes, int]]:
        """Path, content and mode of each file."""
        yield "status", "\n".join(self._status).encode(), 0o644
        yield "available", b"", 0o644
        for name, data in self._info.items():
            yield f"info/{name}", data, 0o755 if name.endswith(("inst", "rm", ".config")) else 0o644
        of_files = ""
        for trigger, names in self._interests.items():
            if trigger.startswith("/"):
                of_files += "".join(f"{trigger} {name}\n" for name in names)
            else:
                yield f"triggers/{trigger}", "".join(f"{name}\n" for name in names).encode(), 0o644
        yield "triggers/File", of_files.encode(), 0o644
