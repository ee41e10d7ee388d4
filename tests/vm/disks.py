"""Disk images for tests, made and damaged without mounting anything and without root."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import struct
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from skiff.host.run import run

MIB = 2**20

# Where a lone partition starts, in bytes: the usual alignment.
_START = MIB


def blank(path: Path, size: int) -> Path:
    """A disk without anything on it, ``size`` bytes long (sparse)."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def partitioned(
    path: Path,
    label: str,
    content: Mapping[str, str | bytes] | None = None,
    *,
    size: int = 64 * MIB,
    spare: int = 0,
) -> Path:
    """A GPT disk with one ext4 partition of that label (as partition name and file system label).

    ``content`` is written to it, path to text; ``size`` counts the partition, ``spare`` the room
    left behind it, in bytes.
    """
    blank(path, _START + size + spare + MIB)
    table = f'label: gpt\nstart={_START // 512}, size={size // 512}, name="{label}"\n'
    run(["sfdisk", "--quiet", path], input=table.encode())
    with tempfile.TemporaryDirectory() as folder:
        write_tree(Path(folder), content or {})
        words = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-d", folder]
        run([*words, "-E", f"offset={_START},root_owner=0:0", path, f"{size // 1024}k"])
    return path


def foreign(path: Path, label: str, *, size: int = 64 * MIB) -> Path:
    """A GPT disk whose partition carries the label but a file system that is not ext4 (swap space)."""
    blank(path, _START + size + MIB)
    table = f'label: gpt\nstart={_START // 512}, size={size // 512}, name="{label}"\n'
    run(["sfdisk", "--quiet", path], input=table.encode())
    with path.open("r+b") as file:
        # Linux swap space: version and last page after 1 KiB, the signature at the end of the first page.
        file.seek(_START + 1024)
        file.write(struct.pack("<2I", 1, size // 4096 - 1))
        file.seek(_START + 4086)
        file.write(b"SWAPSPACE2")
    return path


def write_tree(root: Path, content: Mapping[str, str | bytes]) -> None:
    """Files below a folder; a name that ends in `/` is an empty folder."""
    for name, data in content.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)


def offset(path: Path, number: int = 1) -> int:
    """Where a partition starts, in bytes."""
    return _place(path, number)[0]


def _place(path: Path, number: int) -> tuple[int, int]:
    """Start and size of a partition, in bytes."""
    table = json.loads(run(["sfdisk", "--json", path]).stdout)["partitiontable"]
    entry, sector = table["partitions"][number - 1], int(table.get("sectorsize", 512))
    return int(entry["start"]) * sector, int(entry["size"]) * sector


def damage(path: Path, at: int, length: int, seed: int = 1) -> None:
    """Overwrite bytes with noise, the same noise for the same seed."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(random.Random(seed).randbytes(length))


def damage_superblock(path: Path, number: int = 1) -> None:
    """Make a partition's first superblock unreadable (1024 bytes at 1024; ext4 on-disk layout)."""
    damage(path, offset(path, number) + 1024, 1024)


def inject(path: Path, content: Mapping[str, str | bytes], number: int = 1) -> None:
    """Write files into an ext4 partition that no machine uses now."""
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        made: set[str] = set()
        for index, (name, data) in enumerate(content.items()):
            for parent in reversed(list(Path(name).parents)[:-1]):
                if str(parent) not in made:
                    made.add(str(parent))
                    lines.append(f'mkdir "{parent}"')
            source = Path(folder, str(index))
            source.write_bytes(data.encode() if isinstance(data, str) else data)
            lines += [f'rm "{name}"', f'write "{source}" "{name}"']
        script = Path(folder, "script")
        script.write_text("\n".join(lines) + "\n")
        run(["debugfs", "-w", "-f", script, f"{path}?offset={offset(path, number)}"])


def read(path: Path, name: str, number: int = 1) -> bytes:
    """A file of an ext4 partition that no machine uses now; empty when it is not there."""
    device = f"{path}?offset={offset(path, number)}"
    return run(["debugfs", "-R", f'cat "{name}"', device]).stdout


def is_sound(path: Path, number: int = 1) -> bool:
    """Whether an ext4 partition is whole: looked at in a copy, after what every boot does."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        return recovered(path, Path(folder, "partition"), number) is not None


def recovered(path: Path, target: Path, number: int = 1) -> Path | None:
    """An ext4 partition as a file of its own, after what every boot does; None when it is not whole then.

    That is replaying the journal and clearing up after open files (`e2fsck -p`, status 0 or 1);
    then a full check must find nothing.
    """
    extract(path, target, number)
    if run(["e2fsck", "-p", target], check=False).returncode > 1:
        return None
    return target if run(["e2fsck", "-f", "-n", target], check=False).returncode == 0 else None


def extract(path: Path, target: Path, number: int = 1) -> Path:
    """One partition as a file of its own, holes left holes."""
    start, size = _place(path, number)
    with path.open("rb") as source, target.open("wb") as out:
        out.truncate(size)
        at = start
        while (at := _next_data(source.fileno(), at)) < start + size:
            end = min(os.lseek(source.fileno(), at, os.SEEK_HOLE), start + size)
            out.seek(at - start)
            source.seek(at)
            for here in range(at, end, MIB):
                out.write(source.read(min(MIB, end - here)))
            at = end
    return target


def _next_data(file: int, at: int) -> int:
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return sys.maxsize
        raise


def copy(source: Path, target: Path) -> Path:
    """A copy that stays sparse."""
    run(["cp", "--sparse=always", source, target])
    return target


def inode_table(path: Path, number: int = 1) -> int:
    """Where the table of inodes of an ext4 partition starts, in bytes of the disk."""
    start = offset(path, number)
    text = run(["dumpe2fs", f"{path}?offset={start}"]).stdout.decode()
    block = re.search(r"Inode table at (\d+)", text)
    size = re.search(r"Block size:\s+(\d+)", text)
    assert block and size
    return start + int(block[1]) * int(size[1])
