"""How long `skiff port` plans: a library of 200 images in 20 repositories, on three levels of bases."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from bench.setting import Setting, Spent, timed
from bench.table import Figure
from skiff.host.run import run

_REPOSITORIES, _EACH = 20, 10
_BASE = "debian:trixie-slim"
# No registry answers: what is measured is this tool.
_NOBODY = "http://127.0.0.1:1"

FIGURES = (
    Figure("port-plan", f"plan for a library of {_REPOSITORIES * _EACH} images", "s", 2),
    Figure("port-plan-same", "the same plan again, nothing changed", "s", 1),
)


def measure(setting: Setting) -> Iterator[Figure]:
    """The verb as it is, start of Python included."""
    folder = setting.empty("port")
    with setting.ui.step("library"):
        library = _library(folder)
        # What is known of the distribution is fetched once.
        _plan(setting, folder, library)
    repeat = setting.times(5, 3)
    times = []
    with setting.ui.step("plans", total=repeat) as step:
        for _ in range(repeat):
            for file in (setting.cache / "port" / "plans").glob("*"):
                file.unlink()
            times.append(_plan(setting, folder, library))
            step.advance()
    yield _figure(FIGURES[0], times)
    with setting.ui.step("plans without a change", total=repeat) as step:
        times = []
        for _ in range(repeat):
            times.append(_plan(setting, folder, library))
            step.advance()
    yield _figure(FIGURES[1], times)


def _plan(setting: Setting, folder: Path, library: Path) -> Spent:
    environment = {
        "SKIFF_CACHE": str(setting.cache),
        "HTTPS_PROXY": _NOBODY,
        "NO_PROXY": "",
    }
    words = ["port", "top", "--arch", "arm64", "--plan", "--json", "--quiet", "--library", str(library)]
    return timed([sys.executable, "-m", "skiff", *words], environment, folder)


def _figure(figure: Figure, times: list[Spent]) -> Figure:
    cpu = median(spent.cpu for spent in times)
    note = f"median of {len(times)}, {cpu:.1f} s of CPU"
    return msgspec.structs.replace(figure, value=median(spent.seconds for spent in times), note=note)


def _library(folder: Path) -> Path:
    """A folder `library/`; its image `top` needs all others."""
    files = folder / "library" / "library"
    files.mkdir(parents=True)
    for number in range(_REPOSITORIES):
        repository = folder / f"repository-{number}"
        for one in range(_EACH):
            _image(repository / f"v{one}", number, one)
        commit = _commit(repository)
        entries = [f"Tags: {one}\nDirectory: v{one}\narm64v8-GitCommit: {commit}\n" for one in range(_EACH)]
        first = f"Maintainers: bench (@bench)\nGitRepo: {repository}\nGitCommit: {commit}\n"
        (files / f"app{number}").write_text("\n".join([first, *entries]))
    top = folder / "top"
    top.mkdir()
    needed = [f"app{number}:{one}" for number in range(_REPOSITORIES) for one in range(_EACH)]
    (top / "Dockerfile").write_text(
        "FROM app0:0\n" + "".join(f"COPY --from={name} /x /\n" for name in needed)
    )
    (files / "top").write_text(
        f"Maintainers: bench (@bench)\n\nTags: latest\nGitRepo: {top}\nGitCommit: {_commit(top)}\n"
    )
    return folder / "library"


def _image(folder: Path, number: int, one: int) -> None:
    """An image as official ones are: two stages, a long script, files of its own, downloads by CPU."""
    folder.mkdir(parents=True)
    base = f"app{number - 1}:{one}" if number % 3 else _BASE
    script = "".join(
        f" && apt-get install -y --no-install-recommends package-{line} \\\n" for line in range(30)
    )
    (folder / "Dockerfile").write_text(
        f"ARG BASE={base}\nFROM {base} AS build\n"
        "RUN set -eux \\\n" + script + ' && case "$(dpkg --print-architecture)" in \\\n'
        "  amd64) url=https://e.example/x-amd64 ;; \\\n  arm64) url=https://e.example/x-arm64 ;; \\\n esac\n"
        f"FROM $BASE\nENV VERSION={one} PATH=/opt/bin:$PATH\nCOPY --from=build /x /x\n"
        'COPY entry.sh /usr/local/bin/\nENTRYPOINT ["entry.sh"]\nCMD ["x"]\n'
    )
    (folder / "entry.sh").write_text('#!/bin/sh\nexec "$@"\n')
    (folder / "entry.sh").chmod(0o755)


def _commit(folder: Path) -> str:
    who = ["-c", "user.name=bench", "-c", "user.email=bench@e.example", "-c", "commit.gpgsign=false"]
    run(["git", "init", "--quiet", folder])
    run(["git", "-C", folder, "add", "--all"])
    run(["git", "-C", folder, *who, "commit", "--quiet", "--message", "bench"])
    return run(["git", "-C", folder, "rev-parse", "HEAD"]).stdout.decode().strip()
