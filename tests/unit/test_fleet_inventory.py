"""Inventories: what a file says of each device, mistakes in it, and which devices words mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.fleet.inventory import load, select
from skiff.host.errors import UserError
from skiff.model.fleet import Host, Inventory

OURS = """
wave = "1,50%"
failures = 2

[defaults]
key = "/keys/fleet"
vars.site = "home"

[hosts.pump]
address = "10.0.0.7"
port = 2222
vars.site = "well"

[hosts."kiosk-[08:10]"]

[groups.kiosks]
hosts = ["kiosk-08", "joe@kiosk-10"]
workspace = "kiosk"
vars = { role = "kiosk", loud = true, level = 3 }

[groups.all-of]
groups = ["kiosks"]
user = "root"
ssh_options = ["ProxyJump=gate"]
vars.role = "thing"
"""
ANSIBLE = """
# devices of ours
lone ansible_host=10.0.0.9 ansible_port=2200  # not the newest
[kiosks]
kiosk-[a:c] ansible_user=joe note="a  b"
kiosk-b ansible_ssh_private_key_file=/keys/b
[pumps]
pump[1:2]:2201
here ansible_connection=local
[pumps:vars]
role=pump
ansible_ssh_common_args='-o ProxyJump="gate"'
[site:children]
pumps
kiosks
[site:vars]
role = thing
level=3
[all:vars]
owner=me
"""


def written(folder: Path, text: str, name: str = "hosts.toml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def by_name(found: Inventory) -> dict[str, Host]:
    return {host.name: host for host in found.hosts}


def test_our_own_file(tmp_path: Path) -> None:
    found = load(written(tmp_path, OURS))
    hosts = by_name(found)
    assert list(hosts) == ["pump", "kiosk-08", "kiosk-09", "kiosk-10"]
    assert (found.wave, found.failures) == ("1,50%", "2")
    pump = hosts["pump"]
    assert (pump.address, pump.port, pump.user, pump.key) == ("10.0.0.7", 2222, "root", Path("/keys/fleet"))
    assert pump.vars == {"site": "well"}
    kiosk = hosts["kiosk-08"]
    # The inner group wins over the outer one.
    assert kiosk.vars == {"site": "home", "role": "kiosk", "loud": "true", "level": "3"}
    assert kiosk.groups == ("all-of", "kiosks")
    assert (kiosk.workspace, kiosk.ssh) == ("kiosk", ("-o", "ProxyJump=gate"))
    assert found.groups == {"kiosks": ("kiosk-08", "kiosk-10"), "all-of": ("kiosk-08", "kiosk-10")}


def test_a_list_is_enough(tmp_path: Path) -> None:
    hosts = by_name(load(written(tmp_path, 'hosts = ["joe@10.0.0.5", "kiosk-[1:2]", "fe80::1%eth0"]')))
    assert {name: (host.user, host.address) for name, host in hosts.items()} == {
        "10.0.0.5": ("joe", "10.0.0.5"),
        "kiosk-1": ("root", "kiosk-1"),
        "kiosk-2": ("root", "kiosk-2"),
        "fe80::1%eth0": ("root", "fe80::1%eth0"),
    }


def test_all_that_is_said_of_a_device_holds(tmp_path: Path) -> None:
    text = """
    [hosts.k-2]
    port = 2222
    vars.site = "well"
    [hosts."k-[1:3]"]
    user = "joe"
    vars = { site = "home", role = "kiosk" }
    """
    hosts = by_name(load(written(tmp_path, text)))
    assert (hosts["k-2"].port, hosts["k-2"].user) == (2222, "joe")
    assert hosts["k-2"].vars == {"site": "home", "role": "kiosk"}
    assert (hosts["k-3"].port, hosts["k-3"].user) == (None, "joe")


@pytest.mark.parametrize("first", ['hosts = ["k-[1:2]"]', "[hosts.k-1]\nport = 22", 'hosts = ["admin@k-1"]'])
def test_a_group_may_name_the_user(tmp_path: Path, first: str) -> None:
    text = f'{first}\n[groups.g]\nhosts = ["admin@k-1"]\n[groups.h]\nhosts = ["k-1"]'
    assert by_name(load(written(tmp_path, text)))["k-1"].user == "admin"


def test_ansible_s_file(tmp_path: Path) -> None:
    found = load(written(tmp_path, ANSIBLE, "hosts"))
    hosts = by_name(found)
    assert list(hosts) == ["lone", "kiosk-a", "kiosk-b", "kiosk-c", "pump1", "pump2"]
    assert (hosts["lone"].address, hosts["lone"].port, hosts["lone"].vars) == (
        "10.0.0.9",
        2200,
        {"owner": "me"},
    )
    assert (hosts["kiosk-b"].user, hosts["kiosk-b"].key) == ("joe", Path("/keys/b"))
    assert hosts["kiosk-c"].vars == {"owner": "me", "role": "thing", "level": "3", "note": "a  b"}
    assert (hosts["pump2"].vars["role"], hosts["pump2"].port) == ("pump", 2201)
    assert hosts["pump1"].ssh == ("-o", "ProxyJump=gate")
    assert found.groups["site"] == ("pump1", "pump2", "kiosk-a", "kiosk-b", "kiosk-c")
    assert "left out" in found.notices[0] and "here" in found.notices[0]


def test_what_ansible_prints_of_any_inventory(tmp_path: Path) -> None:
    text = """{"_meta": {"hostvars": {"a": {"ansible_host": "10.0.0.1", "ansible_port": 22, "on": true}}},
    "all": {"children": ["ungrouped", "web"]}, "ungrouped": {"hosts": ["b"]}, "web": {"hosts": ["a"]}}"""
    found = load(written(tmp_path, text, "hosts.json"))
    hosts = by_name(found)
    assert sorted(hosts) == ["a", "b"] and found.groups == {"web": ("a",)}
    assert (hosts["a"].address, hosts["a"].port, hosts["a"].vars) == ("10.0.0.1", 22, {"on": "true"})


@pytest.mark.parametrize(
    ("name", "text", "says", "hint"),
    [
        ("hosts.toml", "hosts = []", "no devices", "hosts ="),
        (
            "hosts.toml",
            "hosts = 'a'",
            "hosts: expected a table or a list, got a string",
            'hosts = ["…", "…"]',
        ),
        ("hosts.toml", "hosts = [", "line 1|not TOML", "mend"),
        ("hosts.toml", "host = ['a']", "host: unknown key", "did you mean hosts"),
        ("hosts.toml", "[hosts.a]\nport = 'x'", r"hosts\.a\.port: expected a whole number", "port = 1"),
        ("hosts.toml", "[groups.g]\nhost = ['a']", r"groups\.g\.host: unknown key", "did you mean hosts"),
        ("hosts.toml", "hosts = ['a', 'root@a']", "a is there twice", "take one"),
        ("hosts.toml", "hosts = ['x@a']\n[groups.g]\nhosts = ['y@a']", "y@a: its user is x elsewhere", "one"),
        ("hosts.toml", "hosts = ['a[9:1]']", r"\[9:1\] is no range", "lower to the higher"),
        ("hosts.toml", "hosts = ['a[1:10001]']", r"\[1:10001\] is more than 10000", "smaller"),
        ("hosts.toml", "hosts = ['a[²:5]']", r"\[²:5\] is no range", "lower to the higher"),
        ("hosts.toml", "hosts = ['-oProxyCommand=x']", "no address", "a name"),
        ("hosts.toml", "hosts = ['a']\n[groups.g]\ngroups = ['h']", "there is no group h", "section"),
        ("hosts.toml", "hosts = ['a']\n[groups.g]\ngroups = ['g']", "g holds itself", "take one"),
        ("hosts.toml", "wave = '1,x'\nhosts = ['a']", "wave: 'x': expected numbers from 1", "1,10,50%"),
        ("hosts.toml", "failures = 0\nhosts = ['a']", "failures: '0': expected numbers from 1", "10%"),
        ("hosts.toml", "jobs = 0\nhosts = ['a']", "jobs: 0: expected a number", "-j 16"),
        ("hosts", "[web\na", r"line 1: \[web is no section", "name"),
        ("hosts", "a port", "line 1: 'port': expected NAME=VALUE", "form"),
        ("hosts", "a x='b", "line 1: a quote has no end", "close"),
        ("hosts", "a ansible_port=x", "ansible_port=x: expected a number", "22"),
        ("hosts", "a ansible_port=²", "ansible_port=²: expected a number", "22"),
        ("hosts", "#!/bin/sh", "read by Ansible only", "ansible-inventory -i"),
        ("hosts.yml", "all: {}", "read by Ansible only", "ansible-inventory -i"),
        ("hosts.json", "[]", "not an inventory", "--list"),
    ],
)
def test_a_mistake_is_told_with_file_and_remedy(
    tmp_path: Path, name: str, text: str, says: str, hint: str
) -> None:
    with pytest.raises(UserError, match=says) as told:
        load(written(tmp_path, text, name))
    assert str(tmp_path / name) in told.value.message and hint in told.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load(tmp_path / "hosts.toml")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["pump", "kiosk-08", "kiosk-09", "kiosk-10"]),
        (["all"], ["pump", "kiosk-08", "kiosk-09", "kiosk-10"]),
        (["kiosk-10,pump"], ["pump", "kiosk-10"]),
        (["kiosks"], ["kiosk-08", "kiosk-10"]),
        (["kiosk-*", "!kiosks"], ["kiosk-09"]),
        (["!pump"], ["kiosk-08", "kiosk-09", "kiosk-10"]),
        (["site=well"], ["pump"]),
        (["site=*,!role=kiosk"], ["pump", "kiosk-09"]),
    ],
)
def test_words_mean_devices(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    found = load(written(tmp_path, OURS))
    assert [host.name for host in select(found, words)] == expected


@pytest.mark.parametrize(
    ("word", "says", "hint"),
    [
        ("kiosk", "called kiosk", "did you mean kiosks"),
        ("pumb", "called pumb", "did you mean pump"),
        ("!pumb", "called pumb", "did you mean pump"),
        ("site=wel", "called site=wel", "did you mean site=well"),
        ("pump,!pump", "no device is left", "fleet list"),
    ],
)
def test_a_word_that_means_nothing(tmp_path: Path, word: str, says: str, hint: str) -> None:
    with pytest.raises(UserError, match=says) as told:
        select(load(written(tmp_path, OURS)), [word])
    assert hint in told.value.hint
