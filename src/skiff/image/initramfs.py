"""The initramfs: `/init` with what it needs, compressed, then the squashfs parts as they are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from importlib import resources
from pathlib import Path, PurePosixPath

from skiff.host.files import digest, file_digest, write_atomic
from skiff.host.run import require, run
from skiff.image.cpio import write_cpio
from skiff.model.tree import Entry, Kind

_ORIGIN = "initramfs"


def _file(data: bytes | Path, mode: int = 0o644) -> Entry:
    return Entry(Kind.FILE, mode, _ORIGIN, source=data)


def _dir() -> Entry:
    return Entry(Kind.DIR, 0o755, _ORIGIN)


# What is mounted before the parts are checked: the devices, and the RAM for all that is written later.
_FIRST_MOUNTS = (
    ("dev", "/dev", "devtmpfs", "rw"),
    ("ram", "/ram", "tmpfs", "mode=0755"),
    ("run", "/run", "tmpfs", "mode=0755"),
)


def _root_mounts(parts: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """The parts, and of them the system with what it needs from its first program on.

    Later parts lie over earlier ones.
    """
    for name in parts:
        yield f"/parts/{name}.squashfs", f"/parts/{name}", "squashfs", "ro"
    lower = "lowerdir=" + ":".join(reversed(["/early", *(f"/parts/{name}" for name in parts)]))
    yield "root", "/root", "overlay", f"{lower},upperdir=/ram/upper,workdir=/ram/work"
    yield "/run", "/root/run", "none", "move"
    # What the image holds, untouched by anything written later.
    yield "image", "/root/run/skiff/image", "overlay", f"ro,{lower}"
    yield "/parts", "/root/run/skiff/parts", "none", "bind"
    yield "proc", "/root/proc", "proc", "nosuid,nodev,noexec"
    yield "sys", "/root/sys", "sysfs", "nosuid,nodev,noexec"
    yield "/dev", "/root/dev", "none", "move"


def _fstab(mounts: Iterable[tuple[str, str, str, str]]) -> bytes:
    return "".join(f"{' '.join(mount)} 0 0\n" for mount in mounts).encode()


def write_initramfs(
    target: Path,
    *,
    early: Mapping[str, Entry],
    modules: Sequence[tuple[str, Path]],
    parts: Mapping[str, Path],
    first_parts: Set[str],
    epoch: int,
    level: int,
    cache: Path,
) -> int:
    """Write the initramfs atomically; returns the bytes of its first archive.

    ``early`` files lie unpacked in RAM, below all parts; ``modules`` are inserted in order;
    ``parts`` are squashfs files by name, lowest first; `/init` checks those in ``first_parts``.
    The first archive is compressed by zstd at ``level``, and kept in the cache by its content; the second
    holds the parts, which are compressed already.
    """
    with tempfile.TemporaryDirectory(prefix=".initramfs-", dir=target.parent) as scratch:
        plain, whole = Path(scratch, "plain"), Path(scratch, "whole")
        with plain.open("wb") as out:
            write_cpio(out, _first_archive(early, modules, tuple(parts)), epoch)
        packed = _packed(plain, level, cache)
        with whole.open("wb") as out:
            out.write(packed.read_bytes())
            # The kernel looks for the next archive on a boundary of four bytes.
            out.write(b"\0" * (-out.tell() % 4))
            write_cpio(out, _second_archive(parts, first_parts), epoch)
        whole.replace(target)
        return packed.stat().st_size


def _packed(plain: Path, level: int, cache: Path) -> Path:
    """The compressed archive, from the cache when it was made before."""
    pack = ("zstd", "-q", f"-{level}", "--check", "--stdout")
    made = cache / "initramfs" / f"{digest(f'{pack} {file_digest(plain)}')}.zst"
    if not made.exists():
        require(pack[0])
        write_atomic(made, run([*pack, plain]).stdout)
    return made


def _first_archive(
    early: Mapping[str, Entry], modules: Sequence[tuple[str, Path]], parts: Sequence[str]
) -> Iterator[tuple[str, Entry]]:
    """`/init`, what it reads and starts, and the ``early`` files."""
    for name in ("bin", "dev", "early", "modules", "ram", "root", "run"):
        yield name, _dir()
    yield "dev/console", Entry(Kind.CHAR, 0o600, _ORIGIN, device=(5, 1))
    # The shell opens it for what it starts beside itself, before there is a devtmpfs.
    yield "dev/null", Entry(Kind.CHAR, 0o666, _ORIGIN, device=(1, 3))
    yield "bin/busybox", Entry(Kind.LINK, 0o777, _ORIGIN, target="/early/usr/bin/busybox")
    yield "init", _file(resources.files("skiff.image").joinpath("init.sh").read_bytes(), 0o755)
    yield "first.fstab", _file(_fstab(_FIRST_MOUNTS))
    yield "root.fstab", _file(_fstab(_root_mounts(parts)))
    yield "modules/order", _file("".join(f"{name}\n" for name, _ in modules).encode())
    for name, path in modules:
        yield f"modules/{name}.ko", _file(path)
    folders = {str(parent) for path in early for parent in PurePosixPath(path).parents} - {"."}
    for name in sorted(folders):
        yield f"early/{name}", _dir()
    for name in sorted(early):
        yield f"early/{name}", early[name]


def _second_archive(parts: Mapping[str, Path], first_parts: Set[str]) -> Iterator[tuple[str, Entry]]:
    """The parts, the folders to mount them at, and their checksums: for `/init`, and for later."""
    sums = {name: f"{file_digest(path)}  {name}.squashfs\n" for name, path in parts.items()}
    now = "".join(line for name, line in sums.items() if name in first_parts)
    later = "".join(line for name, line in sums.items() if name not in first_parts)
    yield "parts", _dir()
    yield "parts/first.sha256", _file(now.encode())
    yield "parts/later.sha256", _file(later.encode())
    for name, path in parts.items():
        yield f"parts/{name}", _dir()
        yield f"parts/{name}.squashfs", _file(path)
