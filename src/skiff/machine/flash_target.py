"""The disk or file that `skiff flash` writes: held alone, written in large blocks, read back."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from skiff.host.disks import Host, HostDisk, find_disk, size_words
from skiff.host.errors import UserError
from skiff.machine.flash_image import CHUNK
from skiff.model.disk import BLOCK

# linux/fs.h and linux/cdrom.h.
_BLKRRPART, _BLKFLSBUF, _CDROMEJECT = 0x125F, 0x1261, 0x5309
# Bytes after which the medium has to have taken what was written: progress is then real, and so is Ctrl-C.
_SYNC = 16 << 20


class Target:
    """An open disk or file. All positions are multiples of BLOCK."""

    def __init__(self, path: Path, fd: int, size: int) -> None:
        self.path = path
        self.size = size
        self._fd = fd
        self._dirty = 0
        # Aligned to a page, as reading past the page cache needs it.
        self._buffer = mmap.mmap(-1, CHUNK)
        self._direct: int | None = None

    def write(self, at: int, data: bytes) -> None:
        """Write bytes at a position. Raises OSError."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, at)
            at, view = at + count, view[count:]
            self._dirty += count
        if self._dirty >= _SYNC:
            self.sync()

    def sync(self) -> None:
        """Return when the medium has all that was written. Raises OSError when it could not take it."""
        os.fsync(self._fd)
        self._dirty = 0

    def read(self, at: int, size: int) -> bytes:
        """Bytes from the medium itself, CHUNK at most; fewer at the end. Raises OSError."""
        whole = -(-size // BLOCK) * BLOCK
        view = memoryview(self._buffer)[:whole]
        count = os.preadv(self._uncached(), [view], at)
        return bytes(view[: min(count, size)])

    def _uncached(self) -> int:
        """A descriptor that reads from the medium and not from memory."""
        if self._direct is None:
            try:
                direct = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
                os.preadv(direct, [memoryview(self._buffer)[:BLOCK]], 0)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # A file system that knows no such reading: let it forget what it has in memory.
                direct = self._fd
                os.posix_fadvise(direct, 0, 0, os.POSIX_FADV_DONTNEED)
            self._direct = direct
        return self._direct

    def forget(self) -> None:
        """Have what was written so far read from the medium from now on."""
        if self._direct == self._fd:
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._fd, _BLKFLSBUF)

    def show_partitions(self) -> bool:
        """Have the kernel read the partition table anew; whether it did."""
        return self._ask(_BLKRRPART)

    def eject(self) -> bool:
        """Let the medium go; whether the disk can do that."""
        return self._ask(_CDROMEJECT)

    def _ask(self, request: int) -> bool:
        try:
            fcntl.ioctl(self._fd, request)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Release it."""
        if self._direct not in (None, self._fd):
            os.close(self._direct or 0)
        os.close(self._fd)


@contextlib.contextmanager
def open_target(
    path: Path, disk: HostDisk | None, need: int, *, host: Host, writable: bool, sudo: str
) -> Iterator[Target]:
    """Hold a disk, or a file when ``disk`` is None, as long as the block runs. ``need``: bytes of the image.

    A file that is not there is made that long, of holes, and removed again when the block fails.
    ``sudo``: the command to propose when only root may. Raises UserError when it cannot be had alone, is too
    small, or is not the disk any more that ``disk`` tells of: a build may have taken hours since.
    """
    new = writable and disk is None and not path.exists()
    fd = _open(path, disk, new, writable, sudo)
    target = None
    try:
        _lock(fd, path)
        _check_same(fd, path, disk, host, writable)
        if writable and disk is None and os.fstat(fd).st_size == 0:
            os.ftruncate(fd, need)
        target = Target(path, fd, os.lseek(fd, 0, os.SEEK_END))
        if target.size < need:
            raise UserError(
                f"{path}: too small: it has {size_words(target.size)}, the image needs {size_words(need)}",
                hint="take a larger one",
            )
        yield target
    except BaseException:
        if new:
            path.unlink(missing_ok=True)
        raise
    finally:
        if target:
            target.close()
        else:
            os.close(fd)


def _open(path: Path, disk: HostDisk | None, new: bool, writable: bool, sudo: str) -> int:
    flags = os.O_CLOEXEC | (os.O_RDWR if writable else os.O_RDONLY)
    if new:
        flags |= os.O_CREAT | os.O_EXCL
    elif disk is not None and writable:
        # On a disk: fails when something of it is mounted or otherwise claimed, and keeps others from it.
        flags |= os.O_EXCL
    try:
        return os.open(path, flags, 0o644)
    except PermissionError as error:
        what = "write" if writable else "read"
        raise UserError(f"{path}: you have no permission to {what} it", hint=sudo) from error
    except OSError as error:
        hints = {
            errno.EBUSY: "something of it is mounted or in use; `lsblk` shows it",
            errno.ENOMEDIUM: "put a card in",
            errno.ENOENT: "name a file in a folder that is there",
            errno.EISDIR: "name a file",
            errno.EROFS: "an SD card has a slide at its side that makes it read-only",
        }
        hint = hints.get(error.errno or 0, "")
        raise UserError(f"{path}: cannot be opened: {error.strerror}", hint=hint) from error


def _lock(fd: int, path: Path) -> None:
    """Keep out others like us, and udev, which looks at disks under this very lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{path}: another program is busy with it", hint="try again in a moment") from error


def not_a_file(path: Path) -> UserError:
    """What is said of a disk where a file was asked for."""
    return UserError(f"{path}: not a plain file", hint="a disk is named without --to")


def _check_same(fd: int, path: Path, disk: HostDisk | None, host: Host, writable: bool) -> None:
    """A file is a plain one; a disk is still the one that was looked at, and nothing uses it since."""
    info = os.fstat(fd)
    if disk is None:
        if not stat.S_ISREG(info.st_mode):
            raise not_a_file(path)
        return
    number = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    # Only now: what is open keeps its number. Another disk or card may have come to it before.
    now = find_disk(path, host)
    if not stat.S_ISBLK(info.st_mode) or number != now.number or not now.is_same(disk):
        raise UserError(f"{path}: it is no longer the disk that it was", hint="look again with `skiff flash`")
    if writable:
        # Whether one inside this machine is meant was asked before.
        now.check_writable(allow_internal=True)
