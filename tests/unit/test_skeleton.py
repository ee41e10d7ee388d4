"""Accounts of the device, from ours and those of layers."""

from __future__ import annotations

from skiff.builders.debian.skeleton import add_accounts
from skiff.model.arch import Arch
from skiff.model.layer import UserEntry
from skiff.model.recipe import Recipe
from skiff.model.tree import Tree


def test_a_layers_word_on_root_takes_the_place_of_ours() -> None:
    users = (UserEntry("root", 0, "/root", "/bin/bash"), UserEntry("joe", 1000))
    tree = Tree()
    add_accounts(tree, Recipe(Arch.AMD64, (), users=users))
    lines = tree["etc/passwd"].read().decode().splitlines()
    assert [line for line in lines if ":0:0:" in line] == ["root:x:0:0::/root:/bin/bash"]
    assert "joe:x:1000:1000::/nonexistent:/usr/sbin/nologin" in lines
    assert len(tree["etc/shadow"].read().splitlines()) == len(lines)
