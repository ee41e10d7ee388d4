"""Runs a verb, and turns what went wrong into messages and exit statuses.

0: done. 2: the user can mend it. 1: a bug, with its traceback. 130: interrupted.
"""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from skiff.cli import cli
from skiff.host.errors import UserError, UserErrors, disk_full


def run(words: Sequence[str] | None) -> int:
    """Run a verb (``words``, else sys.argv) and return the exit status.

    Raises KeyboardInterrupt when it was interrupted, once that is said.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Ended from outside, it tidies up as it does after Ctrl-C. Under nohup the signal stays ignored.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        status = cli.main(args=words, prog_name="skiff", standalone_mode=False)
    except UserError as error:
        return _mendable(error)
    except UserErrors as several:
        return _mendable(*several.errors)
    except OSError as error:
        known = _of_this_machine(error)
        if known is None:
            raise
        return _mendable(known)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("skiff: interrupted")
        raise KeyboardInterrupt from None
    return status if isinstance(status, int) else 0


def _of_this_machine(error: OSError) -> UserError | None:
    """What the user can mend: a full disk, what is somebody else's or no folder. None for a bug."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        # Of a copy the second name is the one that was written.
        return disk_full(error.filename2 or error.filename or "while writing")
    if error.errno == errno.ENAMETOOLONG and error.filename:
        return UserError(f"{error.filename[:60]}…: {error.strerror}", hint="give it a shorter name")
    if error.errno == errno.ENOENT and error.filename is None:
        return UserError("the current folder is gone", hint="go to one that is there: cd")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR) and error.filename:
        return UserError(
            f"{error.filename}: {error.strerror}",
            hint="make it yours, or take another place: SKIFF_WORKSPACES and SKIFF_CACHE name folders",
        )
    return None


def _mendable(*errors: UserError) -> int:
    for error in errors:
        _say(f"skiff: error: {error.message}", f"hint: {error.hint}" if error.hint else "")
    return 2


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(*lines: str) -> None:
    for line in lines:
        if line:
            print(line, file=sys.stderr)
