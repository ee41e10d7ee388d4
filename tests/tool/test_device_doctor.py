"""skiff-doctor: what it says of a device that is not well, and what its remedies do."""

from __future__ import annotations

import pytest

from tests.tool.device import Device

STUBS = """
sv() { echo "sv $*" >>"$SKIFF_ROOT/called"; }
docker() { echo "docker $*" >>"$SKIFF_ROOT/called"; }
timeout() { :; }
umount() { :; }
sync() { :; }
df() { echo "/dev/vda1 900 100 ${FREE-800} 10% /mnt/persist"; }
"""


@pytest.fixture
def fine(device: Device) -> Device:
    device.put("proc/uptime", "75.20 100.00\n")
    device.put("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 500000 kB\n")
    for unit in ("net.eth0", "ssh", "keys", "persist"):
        device.put(f"run/skiff/status/{unit}", "ok\twell\t\n")
    device.put("run/skiff/persist", "vda1\n")
    device.put("etc/skiff/engine", "docker\n")
    device.put("run/skiff/status/engine", "ok\tdocker 26\t\n")
    device.put("called", "")
    return device


def doctor(device: Device, words: str = "", free: int = 800) -> tuple[int, str]:
    done = device.raw(f'{STUBS}set -- {words}\n. "$SKIFF_ROOT/usr/bin/skiff-doctor"', env={"FREE": str(free)})
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_who_is_well_is_told_so(fine: Device) -> None:
    assert doctor(fine) == (0, "all is well\n")
    assert doctor(fine, "--fix") == (0, "all is well\n")


def test_damaged_data_of_the_engine_is_set_aside_and_not_deleted(fine: Device) -> None:
    fine.put("run/skiff/status/engine", "fail\tdockerd ended 3 times in a row (status 1)\thint\n")
    fine.put("mnt/persist/skiff/docker/image/db", "precious")
    code, text = doctor(fine)
    assert code == 1 and "skiff-doctor --fix engine  sets " in text
    assert fine.read("mnt/persist/skiff/docker/image/db") == "precious"
    code, text = doctor(fine, "--fix engine")
    assert code == 0 and "done: " in text
    (aside,) = (fine.root / "mnt/persist/skiff").glob("docker.2*/image/db")
    assert aside.read_text() == "precious"
    assert fine.read("called").splitlines() == ["sv -w 60 stop docker", "sv -w 30 start docker"]


@pytest.mark.parametrize(
    "words", ["unable to configure the Docker daemon with file x.json", "failed to set log opts: unknown"]
)
def test_data_stays_when_only_a_setting_is_wrong(fine: Device, words: str) -> None:
    fine.put("run/skiff/status/engine", f"fail\tdockerd ended 3 times in a row (status 1): {words}\thint\n")
    fine.put("mnt/persist/skiff/docker/image/db", "precious")
    code, text = doctor(fine, "--fix engine")
    assert code == 1 and "skiff/docker.json" in text
    assert fine.read("mnt/persist/skiff/docker/image/db") == "precious"
    assert fine.read("called") == ""


@pytest.mark.parametrize(
    ("engine", "cluster", "free", "why"),
    [
        (
            "(status 1): mkdir /mnt/persist/skiff/docker/tmp: no space left on device",
            "ok\t\t",
            800,
            "The disk",
        ),
        ("(status 1)", "ok\t\t", 3, "The disk is full"),
        ("(status 1)", "fail\tthe cluster's ports stay shut\t", 800, "The cluster's settings"),
    ],
)
def test_nor_does_it_go_when_something_else_is_wrong(
    fine: Device, engine: str, cluster: str, free: int, why: str
) -> None:
    fine.put("run/skiff/status/engine", f"fail\tdockerd ended 3 times in a row {engine}\thint\n")
    fine.put("run/skiff/status/cluster", f"{cluster}\n")
    fine.put("mnt/persist/skiff/docker/image/db", "precious")
    code, text = doctor(fine, "--fix engine", free)
    assert code == 1 and why in text
    assert fine.read("mnt/persist/skiff/docker/image/db") == "precious"
    assert fine.read("called") == ""


def test_a_full_disk_loses_caches_and_nothing_else(fine: Device) -> None:
    assert doctor(fine, free=70)[0] == 0
    code, text = doctor(fine, "--fix", free=3)
    assert code == 0 and "nearly" not in text
    assert fine.read("called").splitlines() == ["docker image prune --force", "docker builder prune --force"]


def test_one_line_alone_is_mended(fine: Device) -> None:
    fine.put("run/skiff/status/engine", "warn\tdocker was stopped by hand\tsv up docker\n")
    for name in ("time", "mdns"):
        fine.put(f"etc/service/{name}/run", "").chmod(0o755)
        fine.put(f"etc/service/{name}/supervise/stat", "down\n")
    assert doctor(fine, "--fix services")[0] == 0
    assert fine.read("called").splitlines() == ["sv -w 30 start mdns", "sv -w 30 start time"]


def test_what_only_people_can_mend_is_explained(fine: Device) -> None:
    fine.put("run/skiff/status/persist", "fail\t/dev/vda1 turned read-only after errors\tdmesg\n")
    code, text = doctor(fine, "--fix")
    assert code == 1 and "skiff backup" in text
    assert fine.read("called") == ""


def test_a_wrong_word_is_refused(fine: Device) -> None:
    done = fine.raw('set -- --fx; . "$SKIFF_ROOT/usr/bin/skiff-doctor"')
    assert done.returncode == 2 and "usage" in done.stderr


def test_a_line_that_is_not_there_is_told(fine: Device) -> None:
    done = fine.raw(
        f'{STUBS}set -- --fix nonsense\n. "$SKIFF_ROOT/usr/bin/skiff-doctor"', env={"FREE": "800"}
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("skiff-doctor: there is no line nonsense; there are ")
