"""Files of a layer on their way into the tree."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from skiff.builders.debian.skeleton import add_skeleton
from skiff.builders.fingerprint import of_recipe
from skiff.builders.hooks import generated
from skiff.builders.lay import add_extras, add_layer, lay, scan
from skiff.host.errors import UserError
from skiff.model.arch import Arch
from skiff.model.recipe import LayerRef, Recipe
from skiff.model.tree import Entry, Kind, Tree


@pytest.mark.parametrize("name", ["etc/secret", "etc"])
def test_what_may_not_be_read_is_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/secret").write_text("x")
    assert [path for path, _ in scan(tmp_path, "layer a/b")] == ["etc", "etc/secret"]
    # Root may read everything: the kernel's answer to others stands in.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / name)
    with pytest.raises(UserError, match=f"{tmp_path / name}: no permission") as raised:
        list(scan(tmp_path, "layer a/b"))
    assert "take it out of the layer" in raised.value.hint


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: neither file, folder nor link"):
        list(scan(tmp_path, "layer a/b"))


@pytest.mark.parametrize("name", [b"new\nline", b"not-utf-\xff"])
def test_a_name_that_cannot_be_printed_is_refused(name: bytes, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(name)).write_text("x")
    with pytest.raises(UserError, match="cannot be printed"):
        list(scan(tmp_path, "layer a/b"))


def test_a_link_to_what_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(os.fsdecode(b"not-utf-\xff"))
    with pytest.raises(UserError, match=r"/link: a link to 'not-utf-\\udcff', which cannot be printed"):
        list(scan(tmp_path, "layer a/b"))


def test_a_link_that_leads_nowhere_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/only-on-the-device")
    assert [entry.target for _, entry in scan(tmp_path, "layer a/b")] == ["/etc/only-on-the-device"]


@pytest.mark.parametrize("name", ["run", "finish", "log/run"])
def test_a_service_that_could_not_be_started_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "services/hello" / name
    file.parent.mkdir(parents=True)
    file.write_text("#!/bin/sh\n")
    with pytest.raises(UserError, match=f"{name}: not executable") as raised:
        add_layer(Tree(), LayerRef("a/b", tmp_path))
    assert raised.value.hint == f"chmod +x {file}"
    file.chmod(0o755)
    tree = Tree()
    add_layer(tree, LayerRef("a/b", tmp_path))
    assert f"etc/service/hello/{name}" in tree


def test_what_links_of_a_layer_lead_to_is_in_its_fingerprint(tmp_path: Path) -> None:
    shared, layer = tmp_path / "shared", tmp_path / "a/b"
    laid = ("rootfs/etc/hello", "services/one/run", "hook")
    places = {name: shared / name for name in (*laid, "patches/one.patch")}
    for path in (*places.values(), layer / "services/two/run", layer / "hooks/readme"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for link, target in (
        ("rootfs", "rootfs"),
        ("services/one", "services/one"),
        ("hooks/generate", "hook"),
        ("patches", "patches"),
    ):
        (layer / link).symlink_to(shared / target)
    # Neither nowhere nor a circle is a reason to fail.
    (layer / "hooks/nowhere").symlink_to("nowhere")
    (layer / "hooks/above").symlink_to("..")
    recipe = Recipe(Arch.AMD64, (LayerRef("a/b", layer),))
    known = [of_recipe(recipe, ())]
    for path in places.values():
        path.write_text("y")
        known.append(of_recipe(recipe, ()))
        path.chmod(0o755)
        known.append(of_recipe(recipe, ()))
    assert len(set(known)) == 1 + 2 * len(places)
    # Links among the files are links on the device, wherever they lead here.
    (layer / "services/two/link").symlink_to(shared)
    before = of_recipe(recipe, ())
    (shared / "other").write_text("x")
    assert of_recipe(recipe, ()) == before


def test_what_builds_write_into_a_layer_is_not_in_its_fingerprint(tmp_path: Path) -> None:
    recipe, machine = Recipe(Arch.AMD64, (LayerRef("a/b", tmp_path),)), tmp_path / "workspaces/one/machine"
    before = of_recipe(recipe, (), [tmp_path / "workspaces"])
    machine.mkdir(parents=True)
    os.mkfifo(machine / "console")
    assert of_recipe(recipe, (), [tmp_path / "workspaces"]) == before
    (tmp_path / "rootfs").mkdir()
    assert of_recipe(recipe, (), [tmp_path / "workspaces"]) != before


def standing() -> Tree:
    tree = Tree()
    add_skeleton(tree, Arch.AMD64)
    tree.add("home/bob", Entry(Kind.DIR, 0o700, "skiff", uid=1000, gid=1000))
    return tree


def test_a_folder_that_is_there_keeps_its_owner_and_mode(tmp_path: Path) -> None:
    tree, layer = standing(), hooked(tmp_path / "a/b", "#!/bin/sh\nmkdir -p tmp; echo >tmp/one\n")
    for name in ("home/bob/.profile", "root/.profile", "bin/hello", "srv/new/one"):
        (layer.rootfs / name).parent.mkdir(parents=True, exist_ok=True)
        (layer.rootfs / name).write_text("x")
    (layer.rootfs / "var/log").mkdir(parents=True)
    add_layer(tree, layer)
    lay(tree, generated(Recipe(Arch.AMD64, (layer,)), tmp_path / "out", lambda _: None))
    folders = ("home/bob", "root", "tmp", "srv/new")
    assert [(tree[path].mode, tree[path].uid, tree[path].gid) for path in folders] == [
        (0o700, 1000, 1000),
        (0o700, 0, 0),
        (0o1777, 0, 0),
        (0o755, 0, 0),
    ]
    # The part of the layers lies over that of the packages, and says what a folder is like.
    assert {tree[path].origin for path in folders} == {"layer a/b"}
    assert tree["var/log"].target == "/run/log" and "usr/bin/hello" in tree


@pytest.mark.parametrize("name", ["run/hello", "var/run/hello", "var/log/hello"])
def test_what_nobody_would_see_on_the_device_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "rootfs" / name).mkdir(parents=True)
    with pytest.raises(UserError, match=f"layer a/b: /{name} would lie in /run") as raised:
        add_layer(standing(), LayerRef("a/b", tmp_path))
    assert "service" in raised.value.hint


@pytest.mark.parametrize(
    ("of_link", "wins"), [("a/first", "file"), ("a/second", "link"), ("a/third", "link")]
)
@pytest.mark.parametrize(("field", "builder"), [("links", "debian"), ("buildroot_links", "buildroot")])
def test_the_later_of_a_link_and_a_file_wins(
    of_link: str, wins: str, field: str, builder: str, tmp_path: Path
) -> None:
    layers = tuple(LayerRef(name, tmp_path / name) for name in ("a/first", "a/second", "a/third"))
    file = layers[1].rootfs / "etc/resolv.conf"
    file.parent.mkdir(parents=True)
    file.write_text("x")
    path = "/etc/resolv.conf"
    recipe = Recipe(Arch.AMD64, layers, origins={f"{field}[{path}]": of_link}, builder=builder)
    recipe = msgspec.structs.replace(recipe, **{field: {path: "/run/skiff/resolv.conf"}})
    tree = Tree()
    for layer in layers:
        add_layer(tree, layer)
    add_extras(tree, recipe)
    assert tree["etc/resolv.conf"].kind.value == wins


def hooked(folder: Path, text: str) -> LayerRef:
    """A layer with a hook."""
    hook = folder / "hooks/generate"
    hook.parent.mkdir(parents=True)
    hook.write_text(text)
    hook.chmod(0o755)
    return LayerRef("/".join(folder.parts[-2:]), folder)


@pytest.mark.parametrize("text", ["#!/no/such/program\n", "echo without a first line\n"])
def test_a_hook_that_cannot_be_started_is_told_with_the_remedy(text: str, tmp_path: Path) -> None:
    recipe = Recipe(Arch.AMD64, (hooked(tmp_path / "a/b", text),))
    with pytest.raises(UserError, match="generate: cannot be started") as raised:
        generated(recipe, tmp_path / "out", lambda _: None)
    assert "#!/bin/sh" in raised.value.hint


def test_what_a_hook_may_not_leave_is_told_with_its_layer(tmp_path: Path) -> None:
    layer = hooked(tmp_path / "a/b", "#!/bin/sh\nmkfifo pipe\n")
    with pytest.raises(UserError, match=r"layer a/b: its hook left .*pipe: neither file, folder nor link"):
        generated(Recipe(Arch.AMD64, (layer,)), tmp_path / "out", lambda _: None)


def test_hooks_of_layers_with_names_alike_have_folders_of_their_own(tmp_path: Path) -> None:
    layers = [hooked(tmp_path / name, "#!/bin/sh\necho $SKIFF_LAYER >here\n") for name in ("a-b/c", "a/b-c")]
    entries = generated(Recipe(Arch.AMD64, tuple(layers)), tmp_path / "out", lambda _: None)
    assert [entry.read().decode().strip() for _, entry in entries] == [str(one.path) for one in layers]
