"""Mistakes in layer.toml: each message names file and key, each hint the remedy."""

from __future__ import annotations

import pytest

from tests.unit.layer_tree import LayerTree

FILE = "layers/odroid/xu/layer.toml"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            '[kernel]\nmodules = "ext4"',
            f"{FILE}: kernel.modules: expected a list, got a string",
            'write it as modules = ["…", "…"]',
        ),
        (
            "[device]\nhostname = 3",
            f"{FILE}: device.hostname: expected a string, got a whole number",
            'write it as hostname = "…"',
        ),
        (
            '[qemu]\nmemory = "512"',
            f"{FILE}: qemu.memory: expected a whole number, got a string",
            "write it as memory = 1",
        ),
        (
            'listed = "yes"',
            f"{FILE}: listed: expected true or false, got a string",
            "write it as listed = true",
        ),
        (
            'kernel = "linux"',
            f"{FILE}: kernel: expected a table, got a string",
            "write it as [kernel], with its keys below that",
        ),
        (
            '[debian]\npackages = ["a", 3]',
            f"{FILE}: debian.packages[1]: expected a string, got a whole number",
            "put its type right",
        ),
        (
            "[qemu]\ncpus = -1",
            f"{FILE}: qemu.cpus: expected a whole number of at least 0",
            "put the number right",
        ),
        (
            '[device]\nengine = "lxc"',
            f"{FILE}: device.engine: not an allowed value",
            "it has to match ^(docker|podman)?$",
        ),
        (
            '[[tree.users]]\nname = "app"',
            f"{FILE}: tree.users[0]: uid is missing",
            "add a line `uid = …`",
        ),
        (
            'arch = ["arm"]',
            f"{FILE}: arch: unknown CPU 'arm'",
            "one of amd64, arm64, armhf, riscv64",
        ),
        (
            '[kernel.package]\nx86 = "linux"',
            f"{FILE}: kernel.package: unknown CPU 'x86'",
            "one of amd64, arm64, armhf, riscv64",
        ),
        (
            "[size.budget]\namd46 = 3",
            f"{FILE}: size.budget: unknown CPU 'amd46'",
            "one of amd64, arm64, armhf, riscv64",
        ),
        (
            f'[buildroot.source.dtc]\nversion = "1.8"\nsha256 = "{"a" * 64}"',
            f"{FILE}: buildroot.source.dtc: sha256 without file, the archive that it is for",
            "name the archive",
        ),
        (
            '[[uboot.input]]\nname = "BL31"\nurl = "https://example.org/bl31"',
            f"{FILE}: uboot.input: BL31: url without sha256",
            "`sha256sum` tells it",
        ),
        # They would end a line of a file that the image is made of.
        (
            '[device]\nhostname = "abc\\n"',
            f"{FILE}: device.hostname: not an allowed value",
            "it has to match ^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$",
        ),
        (
            '[kernel]\ncmdline = ["quiet\\n"]',
            f"{FILE}: kernel.cmdline[0]: not an allowed value",
            "it has to match ^.+$",
        ),
        # apt would take it for one of its own options.
        (
            '[debian]\npackages = ["jq", "-o=Debug::NoLocking=1"]',
            f"{FILE}: debian.packages[1]: not an allowed value",
            "it has to match ^(-[?]?)?[a-z0-9][a-z0-9.+-]*$",
        ),
        (
            '[tree.dirs]\n"/srv" = "rwx"',
            f'{FILE}: tree.dirs."/srv": not an allowed value',
            "it has to match ^[0-7]{3,4}$",
        ),
        (
            '[tree.links]\n"/ok" = "fine"\n"/srv" = ""',
            f'{FILE}: tree.links."/srv": not an allowed value',
            "it has to match ^.+$",
        ),
        (
            "[tree.groups]\napp = 70000",
            f"{FILE}: tree.groups.app: expected a whole number of at most 65534",
            "put the number right",
        ),
        (
            '[tree.groups]\n"a group" = 7',
            f'{FILE}: tree.groups."a group": not an allowed name',
            "it has to match ^[a-z_][a-z0-9_-]{0,30}$",
        ),
        (
            '[tree.users]\nname = "app"',
            f"{FILE}: tree.users: expected a list, got a table",
            "write it as [[tree.users]], once for each",
        ),
        (
            "[size.budget]\namd64 = -0.5",
            f"{FILE}: size.budget.amd64: expected a number of at least 0",
            "put the number right",
        ),
        (
            '[debian.keep]\njq = ["usr/bin/jq"]\nrsync = "usr/bin/rsync"',
            f"{FILE}: debian.keep.rsync: expected a list, got a string",
            'write it as rsync = ["…", "…"]',
        ),
        (
            '[tree]\ndirs = ["/srv"]',
            f"{FILE}: tree.dirs: expected a table, got a list",
            "write it as [tree.dirs], with its keys below that",
        ),
        (
            '[kernel]\ncmdline = ["quiet\\ninit=/bin/sh"]',
            f"{FILE}: kernel.cmdline[0]: not an allowed value",
            "it has to match ^.+$",
        ),
        (
            "[disk]\nsize = 100000000",
            f"{FILE}: disk.size: expected a whole number of at most 16384",
            "put the number right",
        ),
        (
            '[device]\npython = ["Core"]',
            f"{FILE}: device.python[0]: not an allowed value",
            r"it has to match ^(-\??)?[a-z][a-z0-9_]*$",
        ),
    ],
)
def test_wrong_value(tree: LayerTree, text: str, message: str, hint: str) -> None:
    tree.add("odroid/xu", text)
    assert tree.error("odroid/xu") == (message, hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[kernel]\nmodule = []", "kernel.module", "did you mean modules? known here: "),
        ("require = []", "require", "did you mean requires? known here: "),
        ("[[tree.users]]\nnam = 'x'\nuid = 1", "tree.users[0].nam", "did you mean name? known here: "),
        ("packages = []", "packages", "packages belongs in [debian]; known here: "),
        ("[kernel]\nconflicts = []", "kernel.conflicts", "conflicts belongs at the top of the file"),
        ("[disk.load]\narm64 = { initrd = 2 }", "disk.load.arm64.initrd", "did you mean initramfs? "),
        ("[wholly]\nother = 1", "wholly", "known here: description, requires, "),
    ],
)
def test_unknown_key(tree: LayerTree, text: str, message: str, hint: str) -> None:
    tree.add("odroid/xu", text)
    said, remedy = tree.error("odroid/xu")
    assert said == f"{FILE}: {message}: unknown key"
    assert remedy.startswith(hint)


def test_missing_description(tree: LayerTree) -> None:
    path = tree.add("odroid/xu").path / "layer.toml"
    path.write_text("")
    assert tree.error("odroid/xu") == (f"{FILE}: description is missing", "add a line `description = …`")


def test_syntax_error_tells_the_line(tree: LayerTree) -> None:
    tree.add("odroid/xu", "[kernel]\nmodules = [ext4]\n")
    message, hint = tree.error("odroid/xu")
    assert message == f"{FILE}: line 3, column 12: not TOML: invalid value"
    assert "quotes" in hint


def test_not_text(tree: LayerTree) -> None:
    (tree.add("odroid/xu").path / "layer.toml").write_bytes(b'description = "\xff"')
    assert tree.error("odroid/xu")[0] == f"{FILE}: not UTF-8"
