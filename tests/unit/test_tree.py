"""The tree keeps paths as a merged /usr has them."""

from __future__ import annotations

from skiff.model.tree import Entry, Kind, Tree


def _file(data: bytes = b"x", origin: str = "p") -> Entry:
    return Entry(Kind.FILE, 0o644, origin, source=data)


def _merged() -> Tree:
    tree = Tree()
    tree.add("usr/bin", Entry(Kind.DIR, 0o755, "skiff"))
    tree.add("bin", Entry(Kind.LINK, 0o777, "skiff", target="usr/bin"))
    return tree


def test_a_path_through_a_link_lands_where_the_link_leads() -> None:
    tree = _merged()
    tree.add("bin/sh", _file())
    assert "usr/bin/sh" in tree
    assert "bin/sh" not in tree


def test_a_folder_over_a_link_to_a_folder_keeps_the_link() -> None:
    tree = _merged()
    tree.add("bin", Entry(Kind.DIR, 0o755, "p"))
    assert tree["bin"].kind is Kind.LINK


def test_folders_above_are_made() -> None:
    tree = Tree()
    tree.add("etc/a/b", _file(origin="layer x"))
    assert tree["etc/a"].kind is Kind.DIR
    assert tree["etc/a"].origin == "layer x"


def test_resolve_follows_links_to_the_end() -> None:
    tree = _merged()
    tree.add("usr/bin/busybox", _file())
    tree.add("usr/bin/sh", Entry(Kind.LINK, 0o777, "p", target="busybox"))
    tree.add("etc/shell", Entry(Kind.LINK, 0o777, "p", target="/bin/sh"))
    assert tree.resolve("etc/shell") == "usr/bin/busybox"


def test_resolve_ends_in_a_circle_of_links() -> None:
    tree = Tree()
    tree.add("a", Entry(Kind.LINK, 0o777, "p", target="b"))
    tree.add("b", Entry(Kind.LINK, 0o777, "p", target="a"))
    assert tree.resolve("a") is None


def test_remove_takes_what_is_below() -> None:
    tree = Tree()
    tree.add("etc/a/b", _file())
    tree.add("etc/ab", _file())
    tree.remove("etc/a")
    assert list(tree) == ["etc", "etc/ab"]
