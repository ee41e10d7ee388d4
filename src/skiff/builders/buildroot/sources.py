"""Sources of a recipe's packages: fetched into one folder, with checksums, and looked for before a build."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from skiff.builders.buildroot.make import Make, PackageInfo
from skiff.host.errors import UserError
from skiff.host.files import file_digest, write_atomic

SUMS = "SHA256SUMS"


def fetch(make: Make, packages: Sequence[PackageInfo], detail: Callable[[str], None]) -> Path:
    """Fetch all sources, and write their checksums beside them. Raises UserError when one cannot be had."""
    make.run(["source"], detail, lambda _: None)
    folder = make.places.downloads
    named = sorted({name for package in packages for name in package.sources})
    lines = [f"{file_digest(folder / name)}  {name}\n" for name in named if (folder / name).is_file()]
    write_atomic(folder / SUMS, "".join(lines).encode())
    return folder


def check_offline(packages: Sequence[PackageInfo], folder: Path) -> None:
    """Raise UserError that names every source which is not in the folder, or is another than it was."""
    known = _sums(folder)
    problems = []
    for package in packages:
        for name in package.sources:
            path = folder / name
            if not path.is_file():
                problems.append(f"{package.name}: {name} is not there")
            elif known.get(name, "") not in ("", file_digest(path)):
                problems.append(f"{package.name}: {name} is not the file that was fetched")
    if problems:
        raise UserError(
            f"sources are missing in {folder}:\n  " + "\n  ".join(problems),
            hint="`skiff br fetch` collects them where there is a network",
        )


def _sums(folder: Path) -> dict[str, str]:
    file = folder / SUMS
    lines = file.read_text().splitlines() if file.is_file() else []
    return {name: value for value, _, name in (line.partition("  ") for line in lines)}
