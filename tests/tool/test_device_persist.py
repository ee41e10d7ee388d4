"""Which partition is taken for persist, and which disk is blank enough to get one."""

from __future__ import annotations

import subprocess

import pytest

from tests.tool.device import LIB, Device

FIND = '. "$LIB/persist-find.sh"; scan_disks; echo "persist=$PERSIST_DEV rootfs=$ROOTFS_DEV boot=$BOOT_DISK"'
CREATE = '. "$LIB/persist-find.sh"; . "$LIB/persist-create.sh"\n'


def test_no_disk(device: Device) -> None:
    assert device.says(FIND) == "persist= rootfs= boot="


def test_found_by_the_name_in_the_table(device: Device) -> None:
    device.disk("vda", partitions={"vda1": ("boot", ""), "vda2": ("persist", "")})
    assert device.says(FIND) == "persist=vda2 rootfs= boot=vda"


def test_found_by_the_label_of_the_file_system(device: Device) -> None:
    device.disk(
        "mmcblk0",
        partitions={"mmcblk0p1": ("", ""), "mmcblk0p2": ("", "persist"), "mmcblk0p3": ("", "rootfs")},
    )
    assert device.says(FIND) == "persist=mmcblk0p2 rootfs=mmcblk0p3 boot="


def test_a_whole_disk_may_be_persist(device: Device) -> None:
    device.disk("sda", label="persist")
    assert device.says(FIND).startswith("persist=sda ")


def test_the_boot_disk_goes_first(device: Device) -> None:
    device.disk("sda", partitions={"sda1": ("persist", "persist")})
    device.disk("sdb", partitions={"sdb1": ("boot", ""), "sdb2": ("persist", "persist")})
    assert device.says(FIND).startswith("persist=sdb2 ")


def test_the_boot_disk_is_known_by_its_fat_label_too(device: Device) -> None:
    device.disk("sda", partitions={"sda1": ("", "persist")})
    device.disk("sdb", partitions={"sdb1": ("", ""), "sdb2": ("", "persist")})
    device.put("dev/sdb1", b"\xeb\x58\x90mkfs.fat" + bytes(60) + b"SKIFFBOOT  FAT32   " + bytes(4096))
    assert device.says(FIND) == "persist=sdb2 rootfs= boot=sdb"


def test_another_systems_boot_partition_is_not_the_boot_disk(device: Device) -> None:
    device.disk("mmcblk0", partitions={"mmcblk0p4": ("boot", ""), "mmcblk0p5": ("persist", "")})
    device.disk("mmcblk1", partitions={"mmcblk1p1": ("SKIFFBOOT", ""), "mmcblk1p2": ("persist", "")})
    assert device.says(FIND) == "persist=mmcblk1p2 rootfs= boot=mmcblk1"


def test_the_disk_of_the_command_line_goes_before_the_boot_disk(device: Device) -> None:
    device.cmdline("skiff.persist=/dev/sda")
    device.disk("sda", partitions={"sda1": ("persist", "persist")})
    device.disk("sdb", partitions={"sdb1": ("boot", ""), "sdb2": ("persist", "persist")})
    assert device.says(FIND).startswith("persist=sda1 ")


def test_a_partition_may_be_named_outright(device: Device) -> None:
    device.cmdline("skiff.persist=/dev/sda2")
    device.disk("sda", partitions={"sda1": ("persist", ""), "sda2": ("data", "mine")})
    assert device.says(FIND).startswith("persist=sda2 ")


def test_a_half_made_partition_is_not_persist(device: Device) -> None:
    device.disk("vda", partitions={"vda1": ("persist-new", "persist")})
    assert device.says(FIND).startswith("persist= ")


def test_loops_and_ram_disks_are_not_looked_at(device: Device) -> None:
    device.disk("loop0", label="persist")
    device.disk("zram0", label="persist")
    device.disk("mmcblk0boot0", label="persist")
    assert device.says(FIND).startswith("persist= ")


SIZE = 8 << 20


def blank_or_used(device: Device, data: bytearray) -> str:
    device.disk("vda")
    device.put("dev/vda", bytes(data))
    device.put("sys/class/block/vda/size", f"{len(data) // 512}\n")
    return device.says(CREATE + "if is_blank vda; then echo blank; else echo used; fi")


def test_zeros_at_both_ends_are_blank(device: Device) -> None:
    assert blank_or_used(device, bytearray(SIZE)) == "blank"


@pytest.mark.parametrize(
    "where", [0, 510, 100 * 512, (1 << 20) - 1, SIZE - (1 << 20), SIZE - 34 * 512, SIZE - 1]
)
def test_one_byte_at_either_end_is_not_blank(device: Device, where: int) -> None:
    data = bytearray(SIZE)
    data[where] = 1
    assert blank_or_used(device, data) == "used"


@pytest.mark.parametrize(("name", "verdict"), [("persist-new", "blank"), ("data", "used")])
def test_a_torn_first_table_of_ours_counts_as_blank(device: Device, name: str, verdict: str) -> None:
    data = bytearray(SIZE)
    # The table's copy: 32 sectors of entries before the last one; a name is at byte 56 of its entry (UEFI).
    start = SIZE - 33 * 512
    data[start : start + 16] = bytes(range(16))
    data[start + 56 : start + 56 + 2 * len(name)] = name.encode("utf-16-le")
    assert blank_or_used(device, data) == verdict


def test_a_disk_that_cannot_be_read_is_not_blank(device: Device) -> None:
    device.disk("vda")
    # Its end is not there to be read.
    device.put("dev/vda", bytes(SIZE // 2))
    device.put("sys/class/block/vda/size", f"{SIZE // 512}\n")
    assert device.says(CREATE + "is_blank vda || echo used") == "used"
    assert device.says(f"{CREATE}dd() {{ false; }}; zeros /dev/zero 0 1 || echo used") == "used"


def test_unallocated_room_that_cannot_be_read_is_left_alone(device: Device) -> None:
    room = "signature() { REPLY=; false; }; FOUND_LABEL=; old_content null 2048"
    failing = "dd() { [ $# = 3 ]; }"
    assert device.says(f'{CREATE}{failing}; {room} && echo "$REPLY"') == "it cannot be read"
    assert device.says(f"{CREATE}dd() {{ :; }}; {room} || echo nothing") == "nothing"


def test_a_small_disk_is_never_blank(device: Device) -> None:
    device.disk("vda")
    device.put("sys/class/block/vda/size", "4096\n")
    assert device.says(CREATE + "is_blank vda || echo used") == "used"


MADE = "mke2fs -q -F -t ext4 -L persist -m 1 -E lazy_itable_init=1,lazy_journal_init=1"


def creates(device: Device, stubs: str = "") -> list[str]:
    """What becomes a file system when persist is created on vda, or why none does. Devices are files."""
    script = device.root / "usr/lib/skiff/persist-create.sh"
    text = script.read_text().replace('"/dev/', f'"{device.root}/dev/')
    script.write_text(text.replace("/usr/sbin/mke2fs", "mke2fs"))
    device.put("sys/block/vda/ro", "0\n")
    stubs += '\nexec 3>&1\nmke2fs() { echo "mke2fs $*" >&3; }\npause() { :; }\n'
    said = device.says(f'{CREATE}{stubs}persist_create vda || echo "$WHY"')
    return said.replace(f"{device.root}", "").splitlines()


def half_made(device: Device, table: str, name: str, content: str | bytes) -> list[str]:
    """What comes of a partition with our mark, alone on its disk, that holds bytes or an ext4 of a label."""
    device.disk("vda", partitions={"vda1": (name, "")})
    device.put("dev/vda", bytes(SIZE))
    subprocess.run(["sfdisk", "-q", device.root / "dev/vda"], input=table.encode(), check=True)
    if isinstance(content, str):
        partition = device.put("dev/vda1", bytes(4 << 20))
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", content, partition], check=True)
    else:
        device.put("dev/vda1", content)
    return creates(device)


@pytest.mark.parametrize(
    "content",
    [bytes(4 << 20), bytes(1 << 20) + b"inodes", "persist"],
    ids=["nothing yet", "no superblock yet", "all but the mark"],
)
@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("label: dos\nstart=2048, type=da\n", ""),
        ("label: gpt\nstart=2048, name=persist-new\n", "persist-new"),
    ],
    ids=["dos", "gpt"],
)
def test_a_half_made_partition_is_finished(
    device: Device, table: str, name: str, content: str | bytes
) -> None:
    assert half_made(device, table, name, content) == [f"{MADE} /dev/vda1"]


@pytest.mark.parametrize(
    ("table", "name", "content"),
    [
        ("label: dos\nstart=2048, type=da\n", "", "photos"),
        # The type is for what is no file system.
        ("label: dos\nstart=2048, type=da\n", "", b"U-Boot" * 1000),
        # Somebody found it empty before we came back to it.
        ("label: gpt\nstart=2048, name=persist-new\n", "persist-new", "photos"),
    ],
    ids=["type da", "raw data", "put to use"],
)
def test_what_others_have_in_such_a_partition_is_left_alone(
    device: Device, table: str, name: str, content: str | bytes
) -> None:
    assert half_made(device, table, name, content) == [
        "no partition labelled persist, and /dev/vda has no 64 MiB unallocated"
    ]


def test_a_persist_in_the_room_of_a_disk_with_large_sectors_is_taken_back(device: Device) -> None:
    device.disk("vda")
    device.put("sys/block/vda/queue/logical_block_size", "4096\n")
    disk = device.put("dev/vda", bytes(SIZE))
    words = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "persist", "-E", f"offset={2 << 20}", str(disk), "4M"]
    subprocess.run(words, check=True)
    # A file has small sectors: what sfdisk says of a disk with large ones. Room from 2 MiB on, in 4096 bytes.
    sfdisk = """
    sfdisk() {
        case $* in
        *--dump*) echo "label: dos" ;;
        *--list-free*) echo "512 51711 51200 200M" ;;
        *--append*) cat >&3 ;;
        esac
    }
    """
    assert creates(device, sfdisk) == ["start=512, size=51200, type=83"]


def test_a_partition_is_known_as_ours_from_its_first_moment(device: Device) -> None:
    device.disk("vda", partitions={"vda1": ("", "")})
    disk = device.put("dev/vda", bytes(4 << 20) + b"of a file that was deleted long ago " * 100)
    with disk.open("r+b") as file:
        file.truncate(80 << 20)
    table = "label: dos\nstart=2048, size=6144, type=83\n"
    subprocess.run(["sfdisk", "-q", disk], input=table.encode(), check=True)
    # The power goes before its file system is begun: the kernel does not even show it.
    assert creates(device) == ["the new partition on /dev/vda does not appear"]
    device.put("sys/block/vda/vda2/partition", "2\n")
    device.put("sys/block/vda/vda2/uevent", "DEVNAME=vda2\n")
    with disk.open("rb") as file:
        file.seek(4 << 20)
        device.put("dev/vda2", file.read(1 << 20))
    assert creates(device) == [f"{MADE} /dev/vda2"]


CHECK = """
. "$LIB/persist-find.sh"; . "$LIB/persist-create.sh"; . "$LIB/persist-check.sh"
timeout() { shift 3; "$@"; }
pause() { report paused ok "$1"; }
e2fsck() {
    echo "$*" >>"$ROOT/called"
    read -r code words <"$ROOT/answers"
    sed -i 1d "$ROOT/answers"
    echo "$words"
    return "$code"
}
WHY=
if persist_check vda1; then echo "$RESULT"; else echo "$WHY"; fi
"""


def check(device: Device, *answers: str) -> tuple[str, list[str]]:
    """What comes of a check, and how e2fsck was called; its answers are a status and what it says."""
    device.disk("vda", partitions={"vda1": ("persist", "persist")})
    device.put("answers", "".join(f"{answer}\n" for answer in answers))
    device.put("called", "")
    return device.says(CHECK), device.read("called").splitlines()


PREEN, REPAIR = "-p /dev/vda1", "-f -y /dev/vda1"
COPIES = ["-f -y -b 32768 -B 4096 /dev/vda1", "-f -y -b 8193 -B 1024 /dev/vda1"]
LATE = "the check of /dev/vda1 did not end in time"


@pytest.mark.parametrize(
    ("answers", "says", "calls"),
    [
        (["0 clean"], "clean", [PREEN]),
        (["0 persist: recovering journal"], "journal replayed", [PREEN]),
        (["1"], "small errors corrected", [PREEN]),
        (["4", "1"], "damage repaired, look into lost+found", [PREEN, REPAIR]),
        (["4", "8", "8", "1"], "damage repaired, look into lost+found", [PREEN, REPAIR, *COPIES]),
        (
            ["4", "12", "8", "8"],
            "/dev/vda1 cannot be repaired (e2fsck ended with 8)",
            [PREEN, REPAIR, *COPIES],
        ),
        # Asked to end by timeout, or killed.
        (["32 persist: e2fsck canceled."], LATE, [PREEN]),
        (["33"], LATE, [PREEN]),
        (["137"], LATE, [PREEN]),
        (["4", "36"], LATE, [PREEN, REPAIR]),
        (["4", "8", "32"], LATE, [PREEN, REPAIR, COPIES[0]]),
    ],
)
def test_what_comes_of_a_check(device: Device, answers: list[str], says: str, calls: list[str]) -> None:
    assert check(device, *answers) == (says, calls)


def test_what_e2fsck_says_of_a_damaged_card_does_not_fill_the_memory(device: Device) -> None:
    # Programs of their own: one that nobody listens to any more is ended by SIGPIPE.
    verbose = (
        "e2fsck() { echo 'persist: recovering journal'; head -c 1000000 /dev/zero || return 141; return 1; }"
    )
    assert device.says(CHECK.replace("WHY=", f"{verbose}\nWHY=", 1)) == "small errors corrected"
    size = (device.root / "run/skiff/fsck").stat().st_size
    assert 1000 < size <= 65536


@pytest.mark.parametrize("why", ["in use", "mounted"])
def test_a_device_that_something_else_has_is_checked_later(device: Device, why: str) -> None:
    busy = f"8 /dev/vda1 is {why}."
    assert check(device, busy, busy, "0") == ("clean", [PREEN] * 3)
    assert device.status("persist")[:2] == ["wait", "/dev/vda1 is in use by something else"]
    assert device.status("paused")[1] == "5"


@pytest.mark.parametrize(
    ("options", "errors", "stopped"),
    [("rw,noatime", "2", "no"), ("rw,noatime", "3", "yes"), ("ro,noatime", "2", "yes")],
)
def test_writing_that_errors_have_ended_is_noticed(
    device: Device, options: str, errors: str, stopped: str
) -> None:
    device.put("proc/mounts", f"/dev/vda1 {device.root}/mnt/persist ext4 {options} 0 0\n")
    device.put("run/skiff/persist.errors", "2\n")
    device.put("sys/fs/ext4/vda1/errors_count", f"{errors}\n")
    script = '. "$LIB/persist-check.sh"; if persist_stopped vda1; then echo yes; else echo no; fi'
    assert device.says(script) == stopped


def its_disk_goes(device: Device) -> list[str]:
    """What `sv` is called for when the mounted persist is gone."""
    device.put("run/skiff/persist", "vda1\n")
    device.put("proc/mounts", "")
    text = (LIB / "persist").read_text()
    functions = text[text.index("list_disks() {") : text.index('trace "persist: start"')]
    stubs = 'pause() { :; }\numount() { :; }\nsv() { echo "$*" >&3; }\nexec 3>&1\n'
    check = '. "$LIB/persist-check.sh"\n'
    said = device.says(f"{check}{functions}{stubs}PERSIST_DEV=vda1 told=; watch_mounted")
    assert not (device.root / "run/skiff/persist").exists()
    return said.split("\n")


@pytest.mark.parametrize(("engine", "group"), [("docker", "docker"), ("podman", "libpod_parent")])
def test_an_engine_whose_disk_is_gone_starts_anew_with_its_containers(
    device: Device, engine: str, group: str
) -> None:
    device.put("etc/skiff/engine", f"{engine}\n")
    device.put("run/skiff/podman-restarted", "")
    device.put(f"sys/fs/cgroup/{group}/cgroup.kill", "")
    assert its_disk_goes(device) == [f"kill /etc/service/{engine}", "restart /etc/service/keep-log"]
    assert device.read(f"sys/fs/cgroup/{group}/cgroup.kill") == "1\n"
    # Podman starts containers once; now they are not there.
    assert not (device.root / "run/skiff/podman-restarted").exists()


def test_without_an_engine_none_is_ended(device: Device) -> None:
    assert its_disk_goes(device) == ["restart /etc/service/keep-log"]
