"""How engines are found and asked: stand-ins on PATH write down what they were called with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.host.run import Group
from skiff.model.arch import Arch
from skiff.model.port import Platform
from skiff.port import engines
from skiff.port.engine import Inspected, Job
from skiff.port.engines import Remote

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a stand-in on PATH: `program(name, shell)`; only the programs put there are found."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def which(name: str) -> str | None:
        return str(folder / name) if (folder / name).exists() else None

    monkeypatch.setattr("skiff.host.run.which", which)
    monkeypatch.setattr("skiff.port.engines.which", which)

    def put(name: str, shell: str) -> None:
        file = folder / name
        file.write_text(f'#!/bin/sh\nprintf "%s\\n" "$0 $*" >>{tmp_path}/calls\n{shell}\n')
        file.chmod(0o755)

    return put


def version(client: str = "20.10.24", arch: str = "amd64", component: str = "Engine") -> str:
    """What `docker version` prints, as a command of the shell."""
    told = {
        "Client": {"Version": client},
        "Server": {"Arch": arch, "Os": "linux", "Components": [{"Name": component}]},
    }
    return f"echo '{json.dumps(told)}'"


def calls(tmp_path: Path) -> list[str]:
    """What was called so far."""
    return (tmp_path / "calls").read_text().splitlines()


def test_docker_that_answers_is_taken(program: Program) -> None:
    program("docker", version(arch="aarch64"))
    program("podman", "echo linux/amd64")
    engine = engines.local()
    assert (engine.name, engine.arch, engine.podman) == ("docker", Arch.ARM64, False)


def test_podman_is_taken_where_docker_is_silent(program: Program) -> None:
    program("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    program("podman", "echo linux/arm64")
    engine = engines.local()
    assert (engine.name, engine.arch, engine.podman) == ("podman", Arch.ARM64, True)


def test_buildah_alone_builds_and_keeps_images(program: Program, tmp_path: Path) -> None:
    held = {"FromImageID": "abc", "Docker": {"architecture": "arm", "variant": "v7", "os": "linux"}}
    program(
        "buildah",
        f"""case $1 in
        info) echo linux arm64 ;;
        images) echo tiny:1 ;;
        inspect) echo '{json.dumps(held)}' ;;
        esac""",
    )
    engine = engines.local()
    assert (engine.name, engine.arch, engine.runs_images) == ("buildah", Arch.ARM64, False)
    assert engine.names() == {"tiny:1"}
    assert engine.inspect("tiny:1") == Inspected("abc", "arm", variant="v7")
    assert "buildah build --platform linux/arm/v7" in " ".join(engine.build_words(JOB)[0])
    engine.save("tiny:1", tmp_path / "tiny.tar")
    engine.load(tmp_path / "tiny.tar")
    assert [line.split(" ", 1)[1] for line in calls(tmp_path)[-2:]] == [
        f"push tiny:1 docker-archive:{tmp_path}/tiny.tar",
        f"pull docker-archive:{tmp_path}/tiny.tar",
    ]


def test_without_any_engine_all_reasons_are_told(program: Program) -> None:
    program("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    with pytest.raises(UserError, match=r"docker: Cannot connect .*\n  podman is not installed") as error:
        engines.local()
    assert "apt-get install" in error.value.hint


def test_a_docker_command_without_its_plug_in_cannot_build(program: Program) -> None:
    program("docker", f'[ "$1" = buildx ] && exit 1\n{version(client="28.2.2")}')
    with pytest.raises(UserError, match=r"docker 28\.2\.2 has no buildx") as error:
        engines.local("docker")
    assert "docker-buildx" in error.value.hint


JOB = Job(
    tag="localhost/skiff-port:a",
    platform=Platform.parse("arm/v7"),
    dockerfile=Path("/tmp/Dockerfile"),
    context=Path("/tmp/context"),
    target="last",
    args={"TOKEN": "secret word", "HOME": "/root"},
    network="none",
)


def test_a_build_is_asked_for_and_its_arguments_are_no_one_else_s(program: Program, tmp_path: Path) -> None:
    program("docker", f'if [ "$1" = build ]; then echo "$TOKEN $DOCKER_BUILDKIT"; exit 3; fi\n{version()}')
    said: list[str] = []
    assert engines.local().build(JOB, Group(), said.append) == 3
    assert said == ["secret word 1"]
    words = calls(tmp_path)[-1].split(" ", 1)[1]
    assert words == (
        "build --platform linux/arm/v7 --tag localhost/skiff-port:a --file /tmp/Dockerfile --progress plain "
        "--target last --network none --build-arg HOME=/root --build-arg TOKEN /tmp/context"
    )


def test_podman_keeps_what_only_docker_s_format_has(program: Program, tmp_path: Path) -> None:
    program("podman", "echo linux/amd64")
    engine = engines.local("podman")
    assert "--format docker --pull=never" in " ".join(engine.build_words(JOB)[0])
    engine.save("a", tmp_path / "a.tar")
    assert "save --format docker-archive" in calls(tmp_path)[-1]


SSH = """
for word in "$@"; do case $word in
*.sock:*) : >"${word%%:*}"; exec sleep 60 ;;
ls) echo /run/docker.sock; exit 0 ;;
esac; done
exit 1
"""


def test_a_device_s_engine_is_reached_by_its_socket(program: Program, tmp_path: Path) -> None:
    program("docker", version(arch="arm64"))
    program("ssh", SSH)
    with engines.on_device(Remote("root@board:2222", ("IdentityFile=/k",))) as engine:
        assert (engine.arch, engine.remote, engine.legacy) == (Arch.ARM64, "root@board:2222", False)
        engine.call("images")
    ssh = [line for line in calls(tmp_path) if "/ssh " in line]
    assert all("-o IdentityFile=/k" in line and "-p 2222" in line and "BatchMode=yes" in line for line in ssh)
    assert ssh[0].endswith("root@board ls /run/docker.sock /run/podman/podman.sock")
    assert ":/run/docker.sock root@board" in ssh[1]
    assert "--host unix://" in calls(tmp_path)[-1]


def test_podman_on_a_device_builds_without_buildkit(program: Program) -> None:
    program("docker", version(arch="arm64", component="Podman Engine"))
    program("ssh", SSH)
    with engines.on_device(Remote("root@board")) as engine:
        assert engine.legacy
        assert "--progress" not in engine.build_words(JOB)[0]


@pytest.mark.parametrize(
    ("shell", "message"),
    [
        (
            "echo 'Permission denied (publickey).' >&2; exit 255",
            "cannot be reached by ssh: Permission denied",
        ),
        ("exit 2", "has no running container engine"),
        (
            "case $* in *ls*) echo /run/docker.sock ;; *) echo 'no forwarding' >&2; exit 1 ;; esac",
            "the engine's socket cannot be brought here by ssh: no forwarding",
        ),
    ],
)
def test_a_device_that_does_not_serve_is_named(program: Program, shell: str, message: str) -> None:
    program("docker", version())
    program("ssh", shell)
    with pytest.raises(UserError, match="root@board") as error, engines.on_device(Remote("root@board")):
        pass
    assert message in error.value.message


def test_a_target_that_is_an_option_is_refused() -> None:
    with pytest.raises(UserError, match="not user@host"):
        Remote("-oProxyCommand=x").ssh()
