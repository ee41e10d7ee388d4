"""A long compilation ends with the tool, however that ends, and leaves no program behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from skiff.builders.watched import follow
from skiff.host.run import PIPE, spawn

PROGRAM = """\
import sys
from skiff.builders.watched import follow
follow(sys.argv[1:], {}, lambda text: print(text, flush=True))
"""


def compiling(folder: Path, *recipe: str) -> list[str]:
    """A command that takes longer than any test waits. What it starts has the folder in its environment."""
    file = folder / "Makefile"
    file.write_text("all:\n" + "".join(f"\t@{line}\n" for line in recipe))
    # `make check` is a make around this one, which would tell its folder first.
    return ["make", "--no-print-directory", "-f", str(file), f"FOLDER={folder}"]


def at_work(folder: Path) -> list[str]:
    """Command lines of programs that know of the folder, without this one and the tool's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in words + (process / "environ").read_bytes().decode(errors="replace"):
                found.append(words)
        except OSError:
            continue
    return [words for words in found if "python" not in words]


@pytest.mark.timeout(60)
def test_an_interrupt_ends_what_make_started_too(tmp_path: Path) -> None:
    def interrupted(text: str) -> None:
        raise KeyboardInterrupt

    # What a shell of make's started is not told by make.
    words = compiling(tmp_path, "echo started; sleep 600; :")
    with pytest.raises(KeyboardInterrupt):
        follow(words, {}, interrupted)
    assert at_work(tmp_path) == []


@pytest.mark.timeout(60)
def test_killed_outright_it_takes_make_along(tmp_path: Path) -> None:
    words = compiling(tmp_path, "echo started", "sleep 600")
    with spawn([sys.executable, "-c", PROGRAM, *words], stdout=PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"started\n"
        assert at_work(tmp_path)
        process.kill()
    while at_work(tmp_path):
        time.sleep(0.01)
