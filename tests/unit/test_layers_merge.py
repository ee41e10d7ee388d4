"""What several layers add up to, and who set what."""

from __future__ import annotations

import pytest

from skiff.builders.debian.compose import request
from skiff.layers import resolve
from skiff.model.arch import Arch
from skiff.model.layer import UserEntry
from tests.unit.layer_tree import LayerTree


def _user(name: str, uid: int) -> str:
    return f'[[tree.users]]\nname = "{name}"\nuid = {uid}\n'


def _group(name: str, gid: int) -> str:
    return f"[tree.groups]\n{name} = {gid}\n"


def test_lists_grow_in_order_without_repeating(tree: LayerTree) -> None:
    tree.add("a/one", '[debian]\npackages = ["curl", "rsync"]')
    tree.add("a/two", '[debian]\npackages = ["nano", "curl"]')
    assert tree.resolve("a/one", "a/two").packages == ("busybox-static", "rsync", "curl", "nano")


def test_minus_takes_an_earlier_item_away(tree: LayerTree) -> None:
    tree.add("a/one", '[kernel]\ncmdline = ["quiet", "panic=10"]')
    tree.add("a/two", '[kernel]\ncmdline = ["-quiet", "debug"]')
    recipe = tree.resolve("a/one", "a/two")
    assert recipe.cmdline == ("panic=10", "debug")
    assert "cmdline[quiet]" not in recipe.origins


def test_what_was_taken_away_can_come_back(tree: LayerTree) -> None:
    tree.add("a/one", '[kernel]\ncmdline = ["quiet", "x"]')
    tree.add("a/two", '[kernel]\ncmdline = ["-quiet"]')
    tree.add("a/three", '[kernel]\ncmdline = ["quiet"]')
    assert tree.resolve("a/one", "a/two", "a/three").cmdline == ("x", "quiet")


def test_taking_away_what_is_not_there_is_a_mistake(tree: LayerTree) -> None:
    tree.add("a/one", '[kernel]\ncmdline = ["-quiet"]')
    assert tree.error("a/one") == (
        "layers/a/one/layer.toml: kernel.cmdline: nothing to take away: no earlier layer has 'quiet'",
        'take "-quiet" out, or write "-?quiet" if it may be missing',
    )


def test_a_layer_cannot_take_away_its_own_item(tree: LayerTree) -> None:
    tree.add("a/one", '[kernel]\ncmdline = ["quiet", "-quiet"]')
    assert "no earlier layer has 'quiet'" in tree.error("a/one")[0]


def test_taking_away_what_may_be_missing(tree: LayerTree) -> None:
    tree.add("a/one", '[kernel]\ncmdline = ["-?quiet", "debug"]')
    assert tree.resolve("a/one").cmdline == ("debug",)


def test_module_needed_by_one_layer_is_needed(tree: LayerTree) -> None:
    tree.add("a/one", '[kernel]\nmodules = ["sd_mod", "?ext4"]')
    recipe = tree.resolve("a/one")
    assert recipe.modules == ("ext4", "sd_mod")
    assert recipe.origins["modules[sd_mod]"] == "a/one"
    assert "modules[?sd_mod]" not in recipe.origins


def test_optional_module_is_taken_away_by_its_name(tree: LayerTree) -> None:
    tree.add("a/one", '[kernel]\nmodules = ["-sd_mod"]')
    assert tree.resolve("a/one").modules == ("ext4",)


def test_later_single_value_wins_and_an_empty_one_does_not(tree: LayerTree) -> None:
    tree.add("a/one", '[device]\nhostname = "one"\n[qemu]\nmemory = 256')
    tree.add("a/two", '[device]\nhostname = ""\n[qemu]\nmemory = 0')
    recipe = tree.resolve("a/one", "a/two")
    assert (recipe.hostname, recipe.qemu_memory, recipe.qemu_cpus) == ("one", 256, 2)
    assert recipe.origins["hostname"] == recipe.origins["qemu_memory"] == "a/one"


def test_later_table_value_wins_key_by_key(tree: LayerTree) -> None:
    tree.add("a/one", '[tree.links]\n"/a" = "1"\n"/b" = "1"')
    tree.add("a/two", '[tree.links]\n"/b" = "2"')
    recipe = tree.resolve("a/one", "a/two")
    assert recipe.links == {"/a": "1", "/b": "2"}
    assert recipe.origins["links[/a]"] == "a/one"
    assert recipe.origins["links[/b]"] == "a/two"


def test_what_is_kept_of_a_package_grows(tree: LayerTree) -> None:
    tree.add("a/one", '[debian.keep]\nrsync = ["usr/bin/rsync-ssl"]\nnano = []')
    recipe = tree.resolve("a/one")
    assert recipe.keep == {"rsync": ("usr/bin/rsync", "usr/bin/rsync-ssl"), "nano": ()}
    assert recipe.origins["keep[rsync]"] == "a/one"
    assert recipe.origins["keep[rsync][usr/bin/rsync]"] == "base"
    assert recipe.origins["keep[rsync][usr/bin/rsync-ssl]"] == "a/one"


def test_values_for_the_cpu_are_picked(tree: LayerTree) -> None:
    tree.add(
        "a/one",
        '[debian.packages_for]\narm64 = ["only-arm"]\n'
        '[kernel.package]\narm64 = "linux-own"\n'
        '[qemu.machine]\namd64 = "q35"\narm64 = "virt"',
    )
    amd64 = tree.resolve("a/one")
    arm64 = tree.resolve("a/one", arch=Arch.ARM64)
    assert (amd64.kernel_package, amd64.qemu_machine) == ("linux-image-amd64", "q35")
    assert (arm64.kernel_package, arm64.qemu_machine) == ("linux-own", "virt")
    assert "only-arm" in arm64.packages and "only-arm" not in amd64.packages
    assert (amd64.origins["kernel_package"], arm64.origins["kernel_package"]) == ("base", "a/one")
    assert arm64.origins["packages[only-arm]"] == "a/one"


def test_no_kernel_for_the_cpu(tree: LayerTree) -> None:
    tree.add("a/one")
    assert tree.error("a/one", arch=Arch.RISCV64) == (
        "no kernel package for riscv64 in any of these layers: base, a/one",
        'set it in a layer of yours: [kernel.package] riscv64 = "linux-image-…"',
    )


def test_package_asked_for_by_name_is_not_left_out(tree: LayerTree) -> None:
    tree.add("a/one", '[debian]\npackages = ["iproute2"]')
    recipe = tree.resolve("a/one")
    assert recipe.provided == ("perl",)
    assert "iproute2" in recipe.packages
    assert "provided[iproute2]" not in recipe.origins


def test_later_user_of_the_same_name_wins(tree: LayerTree) -> None:
    tree.add("a/one", '[[tree.users]]\nname = "app"\nuid = 201')
    tree.add("a/two", '[[tree.users]]\nname = "app"\nuid = 202')
    recipe = tree.resolve("a/one", "a/two")
    assert recipe.users == (UserEntry(name="app", uid=202),)
    assert recipe.origins["users[app]"] == "a/two"


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        (_user("app", 7), _user("web", 7), "tree.users: the users web and app both have number 7"),
        # The user would be in the group, which stands for root here.
        (
            _group("docker", 990),
            _user("svc", 990),
            "tree.users: the groups svc and docker both have number 990",
        ),
        (_group("one", 990), _group("two", 990), "tree.groups: the groups two and one both have number 990"),
        ("", _user("svc", 1), "tree.users: the users svc and daemon both have number 1"),
        ("", _user("svc", 65534), "tree.users: the users svc and nobody both have number 65534"),
        ("", _user("svc", 27), "tree.users: the groups svc and sudo both have number 27"),
        ("", _group("own", 27), "tree.groups: the groups own and sudo both have number 27"),
        ("", _user("root", 1), "tree.users: the users daemon and root both have number 1"),
    ],
)
def test_two_accounts_of_one_number(tree: LayerTree, one: str, two: str, told: str) -> None:
    tree.add("a/one", one)
    tree.add("a/two", two)
    assert tree.error("a/one", "a/two") == (
        f"layers/a/two/layer.toml: {told}",
        "give one of them another number; a user's group has the user's",
    )


def test_a_user_whose_group_is_there_already(tree: LayerTree) -> None:
    tree.add("a/one", _group("svc", 990))
    tree.add("a/two", _user("svc", 991) + _user("root", 0) + _user("video", 992))
    assert [user.name for user in tree.resolve("a/one", "a/two").users] == ["svc", "root", "video"]


def test_every_item_knows_its_layer(tree: LayerTree) -> None:
    tree.add("a/one", '[kernel]\ncmdline = ["console=ttyS0"]\n[tree.groups]\ndocker = 990')
    origins = tree.resolve("a/one").origins
    assert origins["hostname"] == origins["packages[rsync]"] == origins["keep[rsync]"] == "base"
    assert origins["cmdline[console=ttyS0]"] == origins["groups[docker]"] == "a/one"


def test_keys_are_passed_on(tree: LayerTree) -> None:
    from skiff.layers import resolve

    assert resolve([], Arch.AMD64, tree.search, (), ["ssh-ed25519 AAAA me"]).authorized_keys == (
        "ssh-ed25519 AAAA me",
    )


def test_a_kernel_is_compiled_where_a_layer_or_the_user_says_so(tree: LayerTree) -> None:
    tree.add("a/small", '[kernel]\nsource = true\nbase = "allnoconfig"')
    small = tree.resolve("a/small")
    assert (small.kernel_source, small.kernel_base) == (True, "allnoconfig")
    assert request(small)[0] == "busybox-static"
    # The user's word counts for more than a layer's.
    packaged = resolve(["a/small"], Arch.AMD64, tree.search, kernel="package")
    assert not packaged.kernel_source and request(packaged)[0] == "linux-image-amd64"
    asked = resolve(["base"], Arch.AMD64, tree.search, kernel="source")
    assert asked.kernel_source and asked.origins["kernel_source"] == "--kernel"


def test_a_later_layer_may_take_debians_kernel_again(tree: LayerTree) -> None:
    tree.add("a/small", "[kernel]\nsource = true\n")
    tree.add("a/large", "[kernel]\nsource = false\n")
    tree.add("a/other")
    recipe = tree.resolve("a/small", "a/large", "a/other")
    assert not recipe.kernel_source and recipe.origins["kernel_source"] == "a/large"
    assert tree.resolve("a/large", "a/small", "a/other").kernel_source
