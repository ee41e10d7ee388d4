"""What Buildroot wants of the machine it runs on, told before it starts, all at once."""

from __future__ import annotations

import os
from pathlib import Path

from skiff.builders.buildroot.external import Places
from skiff.host.errors import UserError
from skiff.host.run import require

# Buildroot's manual, "Mandatory packages".
_PROGRAMS = (
    "awk", "bash", "bc", "bzip2", "cmp", "cpio", "diff", "file", "find", "g++", "gcc", "gzip", "ld", "make",
    "patch", "perl", "python3", "rsync", "sed", "tar", "unzip", "wget", "which", "xargs",
)  # fmt: skip


def check_host(places: Places, buildroot: Path) -> None:
    """Raise UserError for missing programs, and for paths and settings that break a build late and darkly."""
    require(*_PROGRAMS)
    _check_spaces(places, buildroot)
    _check_disk(places.output)
    _check_environment()


def _check_spaces(places: Places, buildroot: Path) -> None:
    remedies = {
        places.output: "another folder for workspaces: SKIFF_WORKSPACES=/path/without/spaces",
        places.ccache: "another folder for the cache: SKIFF_CACHE=/path/without/spaces",
        places.downloads: "another folder for sources: --downloads /path/without/spaces",
        buildroot: "another folder for Buildroot's tree: --buildroot /path/without/spaces",
    }
    for path, remedy in remedies.items():
        if any(char.isspace() for char in str(path)):
            raise UserError(f"{path}: Buildroot takes no path with a space in it", hint=f"choose {remedy}")


def _check_disk(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".Case"
        probe.touch()
        same = (output / ".cASE").exists()
        probe.unlink()
    except PermissionError as error:
        raise UserError(
            f"{error.filename}: it is not yours to write to",
            hint=f'did root build here? sudo chown -R "$(id -u)" {output.parent}',
        ) from error
    if same:
        raise UserError(
            f"{output}: this disk takes capitals and small letters for the same",
            hint="choose a folder on another disk for workspaces: SKIFF_WORKSPACES=…",
        )


def _check_environment() -> None:
    for entry in os.environ.get("PATH", "").split(":"):
        if any(char.isspace() for char in entry):
            raise UserError(
                f"PATH: Buildroot takes no folder with a space in it: {entry!r}",
                hint="take it out: PATH=/usr/local/bin:/usr/bin:/bin skiff build …",
            )
    # Buildroot refuses to start with these.
    for name in ("PERL_MM_OPT", "LD_LIBRARY_PATH"):
        value = os.environ.get(name, "")
        if value and (name == "PERL_MM_OPT" or "" in value.split(":") or "." in value.split(":")):
            raise UserError(f"{name} is set, and Buildroot does not build with it", hint=f"unset {name}")
