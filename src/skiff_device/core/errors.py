"""Mistakes in a configuration of user environments, and how to make room for them."""

from __future__ import annotations

from skiff_device.common.errors import DeviceError, of_disk

# What helps when persist is full.
ROOM = "skiff-core clean, docker system df"


def told(error: DeviceError | OSError) -> DeviceError:
    """What to tell of an error, a full disk's too. Raises any other OSError: that is a bug."""
    return of_disk(error, ROOM) if isinstance(error, OSError) else error


class ConfigError(DeviceError):
    """Mistakes in a configuration, each one line `config.yaml:LINE: KEY: what was expected`."""

    def __init__(self, problems: list[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more, "skiff-core check shows all of them")
        self.problems = tuple(problems)
