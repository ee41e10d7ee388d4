"""The device's programs in Python take no module from the folder that they are called in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skiff_device.common import run
from skiff_device.crew import retire

TOP = Path(__file__).parents[2]
ROOTFS = TOP / "layers/apps"
# Tells on standard output that it was loaded.
TRAP = "import os\nos.write(1, b'taken')\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("core/rootfs/usr/bin/skiff-core", ["--help"]),
        ("crew/rootfs/usr/bin/crew", ["help"]),
        ("crew/rootfs/usr/lib/skiff/crew/login", ["-c", "/usr/lib/skiff/crew/login nobody"]),
        ("crew/rootfs/usr/lib/skiff/crew/hooks/pre-receive", []),
    ],
)
def test_no_module_comes_from_where_one_stands(tmp_path: Path, script: str, words: list[str]) -> None:
    folder = tmp_path / "storage"
    (folder / "skiff_device").mkdir(parents=True)
    for name in ("json.py", "re.py", "signal.py", "skiff_device/__init__.py"):
        (folder / name).write_text(TRAP)
    # The device's python3, and its modules.
    program = tmp_path / "bin/python3"
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    text = (ROOTFS / script).read_text().replace("/usr/lib/skiff/python", str(TOP / "src"))
    text = text.replace("PATH=/usr/local/sbin:", f"PATH={program.parent}:/usr/local/sbin:")
    done = subprocess.run(
        ["sh", "-c", text, "sh", *words],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(TOP / "src"),
            "SKIFF_ROOT": str(tmp_path),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "taken" not in done.stdout
    if "bin/" in script:
        assert (done.returncode, done.stderr) == (0, "")


def test_nor_does_what_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(run, "detach", started.append)
    retire.begin("app")
    assert "P" in started[0][1]
