"""Log-ins of users that only some images have: when ssh is refused, what the image lacks is named."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import Argv, attend
from skiff.machine import remote, ssh
from skiff.machine.remote import SSH_FAILED, Remote

_BROUGHT_BY = {"core": "a layer of core/ (core/debian …)", "crew": "apps/crew"}


def log_in(argv: Argv, user: str, root: Remote | None, device: str) -> int:
    """Run an ssh command line of ``user`` on this terminal, and return its exit status.

    Raises UserError when ssh fails and ``root``, if he is let in, finds no such user on the ``device``. ssh
    itself can only say that permission was denied.
    """
    status = attend(argv)
    if status == SSH_FAILED and root is not None and _is_absent(user, root):
        brings = _BROUGHT_BY.get(user)
        raise UserError(
            f"{device} has no user {user}" + (f": its image is without {brings}" if brings else ""),
            hint=f"add {brings or 'a layer with [[tree.users]]'} to the image's layers, and run or push it",
        )
    return status


def log_in_to_machine(target: ssh.Target, words: Sequence[str], *, tty: bool) -> int:
    """The same for a workspace's machine."""
    root = remote.machine(msgspec.structs.replace(target, user="root"))
    return log_in(ssh.argv(target, words, tty=tty), target.user, root, "the machine")


def _is_absent(user: str, root: Remote) -> bool:
    try:
        return root.run(["id", "-u", user], timeout=20, check=False).status == 1
    except UserError:
        # It cannot be asked: ssh has said what there is to say.
        return False
