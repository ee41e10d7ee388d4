"""What is found wrong with a tree on this machine, rather than on the device."""

from __future__ import annotations

import pytest

from skiff.builders.check import SIGNERS, VERIFIER, check_places, check_root, check_services, check_signers
from skiff.builders.lay import file
from skiff.host.errors import UserError
from skiff.model.tree import Entry, Kind, Tree


def with_shell() -> Tree:
    tree = Tree()
    tree.add("usr/bin/sh", file("\x7fELF", 0o755))
    tree.add("bin", Entry(Kind.LINK, 0o777, "skiff", target="usr/bin"))
    return tree


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.LINK])
def test_nothing_takes_the_place_of_a_folder(kind: Kind) -> None:
    tree = Tree()
    tree.add("etc/passwd", file("root:"))
    check_places(tree)
    tree.add("etc", Entry(kind, 0o777, "layer my/x", target="/"))
    with pytest.raises(UserError, match="layer my/x: /etc is no folder there, and /etc/passwd of skiff lies"):
        check_places(tree)


@pytest.mark.parametrize(
    "first", ["#!/bin/sh\n", "#! /bin/sh\n", "#!/bin/sh -e\n", "\x7fELF\x01 and more"], ids=repr
)
def test_a_service_that_can_be_started(first: str) -> None:
    tree = with_shell()
    tree.add("etc/service/hello/run", file(first, 0o755))
    check_services(tree)


@pytest.mark.parametrize("first", ["#!/bin/bash\n", "#!/bin/sh\r\n", "echo hello\n", ""], ids=repr)
@pytest.mark.parametrize("name", ["run", "log/run", "finish"])
def test_a_service_that_cannot_be_started_is_named(name: str, first: str) -> None:
    tree = with_shell()
    tree.add("etc/service/hello/run", file("#!/bin/sh\n", 0o755))
    tree.add(f"etc/service/hello/{name}", file(first, 0o755))
    with pytest.raises(UserError, match=f"/etc/service/hello/{name} cannot be started"):
        check_services(tree)


def test_a_service_without_its_program_is_named() -> None:
    tree = with_shell()
    # A folder without anything takes the place of an earlier layer's service.
    tree.add("etc/service/none", Entry(Kind.DIR, 0o755, "skiff"))
    check_services(tree)
    tree.add("etc/service/hello/finish", file("#!/bin/sh\n", 0o755))
    with pytest.raises(UserError, match="service hello has no program `run`"):
        check_services(tree)


def test_a_tree_without_root_is_refused() -> None:
    tree = Tree()
    for text in ("daemon:x:1:1::/:/bin/sh\nroot:x:0:0::/root:/bin/sh\n", "root:x:0:0::/root:/bin/sh\n"):
        tree.add("etc/passwd", file(text))
        check_root(tree)
    tree.add("etc/passwd", file("joe:x:1000:1000::/root:/bin/sh\n"))
    with pytest.raises(UserError, match="no line for root") as raised:
        check_root(tree)
    assert "tree.users" in raised.value.hint


def test_signers_need_what_verifies() -> None:
    tree = Tree()
    check_signers(tree)
    tree.add(SIGNERS, file("me@home ssh-ed25519 AAAA\n"))
    with pytest.raises(UserError) as caught:
        check_signers(tree)
    assert VERIFIER in caught.value.message and "update/signed" in caught.value.hint
    tree.add(VERIFIER, file("", 0o755))
    check_signers(tree)
