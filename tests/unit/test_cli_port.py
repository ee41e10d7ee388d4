"""The verb `port`, as far as it plans: words, what it prints, exit statuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from skiff.__main__ import main
from tests.unit.port_world import commit, write


@pytest.fixture
def words(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each call ends in. Stand-ins tell of a registry without any image, and of no engine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("skopeo", "manifest unknown"), ("docker", "no daemon"), ("podman", "no podman")):
        (folder / name).write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    base = write(project / "base", Dockerfile="FROM scratch\nCOPY Dockerfile /\n")
    commit(base)
    return ["--plan", "--library", str(base), "--source", f"e.x/base={base}#main"]


def test_a_plan_is_printed(words: list[str], project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project / "app", Dockerfile="FROM e.x/base AS one\nRUN gcc -m64 x.c\nFROM e.x/none\n")
    argv = ["port", "./app", "--arch", "arm64,riscv64", "--target", "one", "--tag", "e.x/app:2", *words]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("e.x/app:2 linux/arm64             rebuild     your folder: ")
    assert "└─ e.x/base:latest linux/riscv64  rebuild     its source was given: " in out
    assert "  rewritten Dockerfile:2: compiler option -m64\n" in out
    assert out.endswith("4 rebuild\n")


def test_a_plan_as_json_and_as_a_drawing(
    words: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project / "app", Dockerfile="ARG B\nFROM $B\nRUN gcc -m64 x.c\n")
    argv = ["port", "app/", "--arch", "arm64", "--build-arg", "B=e.x/base", "--no-rewrite", "--json"]
    assert main([*argv, "--dot", "plan.dot", *words]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["roots"] == ["localhost/app:latest linux/arm64"]
    assert (plan["possible"], plan["missing"], plan["to_do"]) == (True, [], 1)
    root = plan["nodes"][-1]
    assert (root["action"], root["source"]["kind"], root["diff"]) == ("rebuild", "local", "")
    assert (root["findings"][0]["line"], root["findings"][0]["after"]) == (3, "")
    assert (project / "plan.dot").read_text().startswith("digraph")


def test_what_is_missing_is_refused(
    words: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project / "app", Dockerfile="FROM e.x/none\n")
    argv = ["port", "./app", "--arch", "arm64"]
    assert main([*argv, *words]) == 1
    assert "1 missing" in capsys.readouterr().out
    assert main([*argv, *words, "--json"]) == 1
    plan = json.loads(capsys.readouterr().out)
    assert (plan["possible"], plan["missing"]) == (False, ["e.x/none:latest linux/arm64"])
    assert main([*argv, *words[1:]]) == 2
    assert "the plan cannot be carried out:\n  e.x/none:latest for linux/arm64: " in capsys.readouterr().err


def test_a_file_that_could_not_be_written_is_refused_before_the_work(
    words: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project / "app", Dockerfile="FROM e.x/base\n")
    assert main(["port", "./app", "--arch", "arm64", "--output", "no/x.tar", *words[1:]]) == 2
    assert "no/x.tar: the folder is not there" in capsys.readouterr().err


def test_a_base_of_a_mirror_is_planned_for_the_cpus_it_has(
    words: list[str], project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project / "app", Dockerfile="FROM ubuntu:24.04\n")
    suite = tmp_path / "ubuntu/dists/noble"
    suite.mkdir(parents=True)
    (suite / "InRelease").write_text("Date: Sat, 21 Nov 2026 09:15:44 UTC\nArchitectures: amd64 riscv64\n")
    mirror = ["--mirror", f"ubuntu=file://{tmp_path}/ubuntu/"]
    assert main(["port", "./app", "--arch", "riscv64,s390x", *mirror, *words]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "ubuntu:24.04 linux/riscv64 synthesise" in out
    assert (
        "linux/s390x missing no registry that answers has it, and its archive has noble for amd64, ris" in out
    )
    # Where no archive answers, that is what is told.
    mirror = ["--mirror", f"ubuntu=file://{tmp_path}/none/"]
    assert main(["port", "./app", "--arch", "riscv64", *mirror, *words]) == 1
    assert "and no archive that answers has its packages" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["./app", "--arch", "arm64"], "app/Dockerfile:2:1: unknown instruction 'RUM'"),
        (["./gone", "--arch", "arm64"], "gone: there is no such folder"),
        (["./app", "--arch", "z/y/x/w"], "not a platform: z/y/x/w; as in arm64"),
        (["./app"], "Missing option '--arch'"),
        (["./app", "--arch", "arm65"], "there is no CPU arm65; did you mean arm64?"),
        (["./app", "--arch", "linux/arm/v9"], "there is no CPU arm/v9; did you mean arm/v"),
        (["./app", "--arch", "toaster"], "there is no CPU toaster; as in arm64"),
        (["app/Dockerfile", "--arch", "arm64"], "if what lies here is meant: skiff port ./app/Dockerfile"),
        (["./app", "--arch", "arm64", "--build-arg", "x"], "x: not NAME=VALUE"),
        (["./app", "--arch", "arm64", "--source", "x"], "--source x: not IMAGE=SOURCE"),
        (["./app", "--arch", "arm64", "--file", "Other"], "app: there is no Other"),
        (["A", "--arch", "arm64"], "'A': not the name of an image"),
        (
            ["./app", "--arch", "arm64", "--mirror", "x=http://m"],
            "x=http://m: not URL, nor debian or ubuntu=URL",
        ),
        (["./app", "--arch", "arm64", "--mirror", "ubuntu=m"], "ubuntu=m: not URL, nor debian or ubuntu=URL"),
    ],
)
def test_one_message_for_a_mistake(
    words: list[str], project: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    write(project / "app", Dockerfile="FROM e.x/base\nRUM x\n")
    assert main(["port", *argv, *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("rror: ") == 1
