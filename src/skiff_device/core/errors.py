"""What can go wrong, in words for the user: one line, and a hint where a remedy is known."""

from __future__ import annotations


class CoreError(Exception):
    """Something that the user, the network or the disk must put right."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(CoreError):
    """Mistakes in a configuration, each one line `config.yaml:LINE: KEY: what was expected`."""

    def __init__(self, problems: list[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more, "skiff-core check shows all of them")
        self.problems = tuple(problems)


class EngineDown(CoreError):
    """The container engine does not answer."""
