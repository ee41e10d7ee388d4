"""The exceptions a user may see: everything else is a bug and keeps its traceback."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """Something the user can put right.

    ``message`` names file, key or thing in one line; ``hint`` says what to do about it.
    Only ``skiff.outcome`` turns it into exit status 2.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserErrors(Exception):
    """Several things that the user can put right, each told as one alone would be."""

    def __init__(self, errors: Sequence[UserError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = tuple(errors)


def disk_full(what: str) -> UserError:
    """The error for a full disk; ``what`` tells what should have gone there."""
    return UserError(
        f"no space left on disk: {what}",
        hint="free some space; `skiff clean --cache` removes what is made again when needed",
    )
