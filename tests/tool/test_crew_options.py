"""Options of the engine's and networks: what is taken, from whom, and how it reaches the engine."""

from __future__ import annotations

import json

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import options, store
from skiff_device.crew.command import Caller
from tests.tool.crew_device import CrewDevice

ADMIN = Caller("root")
DEPLOYER = Caller("anna", "deploy", ("app",))
READER = Caller("eve", "read")


@pytest.fixture
def app(crew: CrewDevice) -> CrewDevice:
    crew.app("app")
    return crew


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--tmpfs", "/tmp"], ["--tmpfs=/tmp"]),
        (["--tmpfs=/tmp:size=1m"], ["--tmpfs=/tmp:size=1m"]),
        (["-u", "7", "--read-only"], ["--user=7", "--read-only"]),
        (["-u7"], ["--user=7"]),
        (["-e=A=b c"], ["--env=A=b c"]),
        (["--entrypoint", "--privileged"], ["--entrypoint=--privileged"]),
    ],
)
def test_options_have_one_spelling(words: list[str], expected: list[str]) -> None:
    assert options.parse(words, "deploy", DEPLOYER) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["--privileged"], ["--privileged=true"], ["-v", "/:/host"], ["-v/:/host"], ["--volume=/:/host"],
        ["--mount", "type=bind,src=/,dst=/x"], ["--volumes-from", "other.web.1-1"], ["--device", "/dev/sda"],
        ["--cap-add=ALL"], ["--security-opt", "apparmor=unconfined"], ["--pid=host"], ["--ipc", "host"],
        ["--uts=host"], ["--userns=host"], ["--sysctl", "kernel.x=1"], ["--runtime=x"], ["--gpus=all"],
        ["--log-driver=syslog"], ["--network-alias=other"], ["--label=a=b"], ["--memory-swap=-1"],
        ["--oom-score-adj=-1000"], ["--ulimit", "nproc=-1"], ["--group-add", "docker"],
        ["--tmpfs", "/x", "--privileged"], ["--device-cgroup-rule", "a *:* rwm"], ["--annotation", "a=b"],
    ],
)  # fmt: skip
def test_a_way_to_the_device_is_for_admins(words: list[str]) -> None:
    assert options.parse(words, "run", ADMIN)
    with pytest.raises(DeviceError, match="admins"):
        options.parse(words, "run", DEPLOYER)


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "x"], ["--network", "host"], ["--net=host"], ["--ip", "1.2.3.4"], ["-p", "22:22"],
        ["-p22:22"],
        ["--publish-all"], ["--restart=no"], ["--rm"], ["-it"], ["--env-file", "/etc/shadow"], ["-m", "1"],
        ["--label-file=/etc/shadow"], ["--cidfile=/x"], ["--cgroup-parent=/"], ["--pids-limit=-1"],
        ["--cpus", "9"], ["--label", "crew.app=other"], ["--label=crew.run"], ["--pid=container:x"],
        ["--ipc", "container:other"], ["--unknown"], ["--"], ["-"], [""], ["image"], ["--tmpfs"], [],
        ["--tmpfs", "/x", "image", "command"], ["--read-only=false"], ["--env=A=\0"],
        ["--env=A=" + "x" * 5000],
        ["--privilege"], ["--volum=/:/x"], ["---privileged"], ["--Privileged"], ["--privileged "],
    ],
)  # fmt: skip
def test_some_options_are_for_nobody(words: list[str]) -> None:
    with pytest.raises(DeviceError):
        options.parse(words, "deploy", ADMIN)


@pytest.mark.parametrize(
    "words", [["--network=host"], ["--secret=id=x"], ["--build-arg", "A"], ["--build-arg=1=2"], ["x"], []]
)
def test_a_build_takes_only_arguments(words: list[str]) -> None:
    with pytest.raises(DeviceError):
        options.parse(words, "build", ADMIN)


def test_options_reach_the_containers_of_their_phase(app: CrewDevice) -> None:
    assert app.run("docker-options:add", "app", "deploy,run", "--tmpfs", "/a b", caller=DEPLOYER).status == 0
    assert app.run("docker-options:add", "app", "deploy", "--tmpfs '/c d' -u 7").status == 0
    words = ["docker-options:add", "app", "build", "--build-arg", "A=b c", "--build-arg=D=e"]
    assert app.run(*words).status == 0
    assert json.loads(app.run("docker-options:report", "--json", "app").out) == {
        "build": ["--build-arg=A=b c", "--build-arg=D=e"],
        "deploy": ["--tmpfs=/a b", "--tmpfs=/c d", "--user=7"],
        "run": ["--tmpfs=/a b"],
    }
    made = app.engine.containers["app.worker.1-3"].options
    assert (made["--tmpfs"], made["--user"]) == (["/a b", "/c d"], ["7"])
    name = app.run("run:detached", "app", "id").text.strip()
    assert app.engine.containers[name].options["--tmpfs"] == ["/a b"]
    assert app.run("docker-options:remove", "app", "deploy", "-u7").status == 0
    assert "--user" not in app.engine.containers["app.worker.1-4"].options
    assert "no such option" in app.run("docker-options:remove", "app", "deploy", "-u7").err
    assert app.run("docker-options:clear", "app", "deploy").status == 0
    assert app.run("docker-options:clear", "app").status == 0
    assert store.section(app.paths, "app", "docker_options") == {}


def test_values_are_no_events(app: CrewDevice) -> None:
    app.run("docker-options:add", "--no-restart", "app", "run", "--env=TOKEN=secret", "--env", "TOKEN=secret")
    assert "docker-options:add run --env" in app.events() and "secret" not in app.events()


def test_a_deploy_key_may_take_away_what_an_admin_gave(app: CrewDevice) -> None:
    assert app.run("docker-options:add", "app", "deploy", "--privileged").status == 0
    assert app.run("docker-options:add", "app", "deploy", "--cap-add=ALL", caller=DEPLOYER).status == 1
    assert app.run("docker-options:remove", "app", "deploy", "--privileged", caller=DEPLOYER).status == 0
    assert "may not use" in app.run("docker-options:report", "app", caller=READER).err


def test_a_phase_that_there_is_not_is_refused(app: CrewDevice) -> None:
    for phase in ("start", "", "deploy,", "deploy run", "../x"):
        assert app.run("docker-options:add", "app", phase, "--tmpfs=/x").status == 1
    assert app.engine.argvs == []


# Networks


def test_apps_on_a_network_of_their_own(app: CrewDevice) -> None:
    assert app.run("network:create", "back").status == 0
    assert "already" in app.run("network:create", "back").err
    assert app.run("network:set", "app", "attach-post-create", "back").status == 0
    assert app.engine.containers["app.worker.1-2"].networks == ["crew", "back"]
    name = app.run("run:detached", "app", "id").text.strip()
    assert app.engine.containers[name].networks == ["crew", "back"]
    assert app.run("network:list", caller=READER).text == "back\ncrew\n"
    assert json.loads(app.run("network:info", "--json", "back").out)["apps"] == ["app"]
    assert json.loads(app.run("network:report", "--json", "app").out)["networks"] == ["crew", "back"]
    assert "must leave it" in app.run("network:destroy", "back").err
    assert app.run("network:set", "app", "attach-post-create").status == 0
    assert app.run("network:destroy", "back").status == 0
    assert app.run("network:exists", "back").status == 1
    assert app.run("network:rebuild", "app", caller=DEPLOYER).status == 0
    assert "network:create back" in app.events() and "network:destroy back" in app.events()


@pytest.mark.parametrize(
    "name", ["host", "none", "bridge", "crew", "podman", "../x", "-x", "", "a b", "a\n", "$(x)"]
)
def test_networks_of_others_are_left_alone(app: CrewDevice, name: str) -> None:
    for command in ("network:create", "network:destroy"):
        assert app.run(command, "--", name).status == 1
    assert app.run("network:set", "app", "attach-post-create", "--", name or "x").status == 1
    assert list(app.engine.networks) == ["crew"]


def test_a_network_that_crew_did_not_make_is_nobodys(app: CrewDevice) -> None:
    app.engine.networks["compose"] = {"Name": "compose", "Driver": "bridge", "Labels": None}
    assert app.run("network:destroy", "compose").status == 1
    assert app.run("network:set", "app", "attach-post-create", "compose").status == 1
    assert app.run("network:list").text == "crew\n"


def test_networks_are_for_admins(app: CrewDevice) -> None:
    app.run("network:create", "back")
    for words in (
        ["network:create", "x"], ["network:destroy", "back"],
        ["network:set", "app", "attach-post-create", "back"],
    ):  # fmt: skip
        assert "may not use" in app.run(*words, caller=DEPLOYER).err
