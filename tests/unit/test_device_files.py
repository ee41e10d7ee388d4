"""Small files of the device: whole or not at all, and nobody's who may not read them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from skiff_device.common.errors import of_disk
from skiff_device.common.files import write_atomically


def test_a_secret_is_its_owners_from_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "env.json"
    # What a power cut left, with the mode of then.
    (tmp_path / ".env.json.skiff-new").touch(0o644)
    seen: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: seen.append(os.fstat(file).st_mode & 0o777))
    assert write_atomically(secret, "password", 0o600)
    assert seen == [0o600]
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (
        write_atomically(tmp_path / "public", "word")
        and (tmp_path / "public").stat().st_mode & 0o777 == 0o644
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_is_no_bug(number: int) -> None:
    assert of_disk(OSError(number, "said"), "elsewhere").hint


def test_what_is_no_failure_of_a_disk_is_a_bug() -> None:
    with pytest.raises(PermissionError):
        of_disk(PermissionError(errno.EACCES, "said"), "elsewhere")
