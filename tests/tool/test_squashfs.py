"""The same entries give the same squashfs, whoever packs them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff.host.files import file_digest
from skiff.host.run import run

# Packs one file and says where the result is.
_PACK = """
import sys
from pathlib import Path
from skiff.image.squashfs import Compression, pack_part
from skiff.model.tree import Entry, Kind
entry = Entry(Kind.FILE, 0o644, "test", source=b"content")
print(pack_part({"file": entry}, Compression("xz", "1M"), 0, Path(sys.argv[1])))
"""

# Somebody without any rights (Debian's base-passwd).
_NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    # Folders of pytest are closed to other users.
    made = Path(tempfile.mkdtemp())
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_same_bytes_for_root_and_for_others(folder: Path) -> None:
    become = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    # The test's own interpreter may lie in a home that is closed to others.
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    made = []
    for who, name in ((become, "theirs"), ([], "roots")):
        for python in (sys.executable, "python3"):
            done = run([*who, python, "-c", _PACK, folder / name], env=paths, cwd=folder, check=False)
            if done.returncode == 0:
                made.append(file_digest(Path(done.stdout.decode().strip())))
                break
    if len(made) < 2:
        pytest.skip("no Python here is within reach of others")
    assert made[0] == made[1]
