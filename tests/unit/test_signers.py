"""A device that takes signed images only can verify signatures."""

from __future__ import annotations

import pytest

from skiff.builders.lay import SIGNERS, VERIFIER, check_signers, file
from skiff.host.errors import UserError
from skiff.model.tree import Tree


def test_signers_need_what_verifies() -> None:
    tree = Tree()
    check_signers(tree)
    tree.add(SIGNERS, file("me@home ssh-ed25519 AAAA\n"))
    with pytest.raises(UserError) as caught:
        check_signers(tree)
    assert VERIFIER in caught.value.message and "update/signed" in caught.value.hint
    tree.add(VERIFIER, file("", 0o755))
    check_signers(tree)
