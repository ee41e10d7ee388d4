"""Apps as services of a cluster: what Swarm is asked for, and what a service cannot have."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import (
    containers,
    deploy,
    engine_swarm,
    nginx_conf,
    release,
    router,
    service_spec,
    services,
    store,
)
from skiff_device.crew.release import Release
from tests.tool.crew_device import CrewDevice

RELEASE = Release(
    7, "", "push", "sha256:1", "crew/shop:7", processes={"web": None, "worker": ["work", "hard"]}
)


@pytest.fixture
def shop(crew: CrewDevice) -> CrewDevice:
    """A device with an app that was never deployed."""
    store.create(crew.paths, "shop")
    return crew


def spec(crew: CrewDevice, process: str = "worker", inside: int = 0, *cpus: str) -> service_spec.Spec:
    image = "127.0.0.1:5000/crew/shop:7"
    return service_spec.spec(crew.paths, "shop", RELEASE, process, 6, image, cpus or ("arm64",), inside, {})


def test_a_process_is_a_service(shop: CrewDevice) -> None:
    store.change_env(shop.paths, "shop", lambda env: env.update(COLOUR="blue"))
    wanted = spec(shop)
    assert wanted["Name"] == "shop_worker"
    assert wanted["Mode"] == {"Replicated": {"Replicas": 6}}
    container = wanted["TaskTemplate"]["ContainerSpec"]
    assert container["Args"] == ["work", "hard"]
    assert "COLOUR=blue" in container["Env"] and "CREW_APP=shop" in container["Env"]
    assert container["Labels"] == wanted["Labels"]
    assert wanted["EndpointSpec"]["Ports"] == []
    assert (wanted["UpdateConfig"]["Order"], wanted["UpdateConfig"]["FailureAction"]) == (
        "start-first",
        "rollback",
    )


def test_a_web_process_has_a_port_of_the_clusters_choice(shop: CrewDevice) -> None:
    [port] = spec(shop, "web", 8000)["EndpointSpec"]["Ports"]
    assert port == {"Protocol": "tcp", "TargetPort": 8000, "PublishMode": "ingress"}


@pytest.mark.parametrize(
    ("memory", "size"), [("64m", 64 << 20), ("1G", 1 << 30), ("4096", 4096), ("512k", 512 << 10)]
)
def test_limits(shop: CrewDevice, memory: str, size: int) -> None:
    limit = {"_default_": {"memory": memory, "cpu": "0.5"}}
    store.change(shop.paths, "shop", "resource", lambda part: part.update(limit=limit))
    limits = spec(shop)["TaskTemplate"]["Resources"]["Limits"]
    assert limits == {"MemoryBytes": size, "NanoCPUs": 500_000_000, "Pids": 1024}


def test_placement_and_one_on_each_device(shop: CrewDevice) -> None:
    chosen = {"constraints": ["node.platform.arch==aarch64"], "global": ["worker"]}
    store.change(shop.paths, "shop", "cluster", lambda part: part.update(chosen))
    wanted = spec(shop)
    assert wanted["Mode"] == {"Global": {}}
    assert wanted["TaskTemplate"]["Placement"]["Constraints"] == ["node.platform.arch==aarch64"]


@pytest.mark.parametrize(("cpu", "asked"), [("arm64", "arm64"), ("riscv64", "riscv64"), ("arm", "")])
def test_devices_with_another_cpu_are_left_out(shop: CrewDevice, cpu: str, asked: str) -> None:
    placement = spec(shop, "worker", 0, cpu)["TaskTemplate"]["Placement"]
    assert placement["Platforms"] == [{"OS": "linux", "Architecture": asked}]
    others = [f"node.platform.arch!={machine}" for machine in ("x86_64", "aarch64", "riscv64")]
    assert placement["Constraints"] == (others if cpu == "arm" else [])


def test_an_image_for_several_cpus(shop: CrewDevice) -> None:
    placement = spec(shop, "worker", 0, "amd64", "arm")["TaskTemplate"]["Placement"]
    assert [one["Architecture"] for one in placement["Platforms"]] == ["amd64", ""]
    assert placement["Constraints"] == [
        f"node.platform.arch!={machine}" for machine in ("aarch64", "riscv64")
    ]


def test_kinds_of_arm_are_told_apart_by_who_places_the_app(shop: CrewDevice) -> None:
    chosen = {"constraints": ["node.platform.arch==armv7l"]}
    store.change(shop.paths, "shop", "cluster", lambda part: part.update(chosen))
    assert spec(shop, "worker", 0, "arm")["TaskTemplate"]["Placement"]["Constraints"] == chosen["constraints"]


def test_what_swarm_runs_is_none_of_what_crew_clears_away(shop: CrewDevice) -> None:
    labels = spec(shop)["TaskTemplate"]["ContainerSpec"]["Labels"]
    assert not {containers.LABEL, "crew.process", "crew.release"} & set(labels)


def test_what_must_not_run_twice_ends_first(shop: CrewDevice) -> None:
    store.change(shop.paths, "shop", "checks", lambda part: part.update(disabled=["worker"]))
    assert spec(shop)["UpdateConfig"]["Order"] == "stop-first"


def test_a_command_that_checks_is_the_services_health(shop: CrewDevice) -> None:
    command = {"type": "startup", "command": ["test", "-e", "/ready"], "attempts": 4, "wait": 2, "timeout": 3}
    page = {"type": "startup", "name": "page", "path": "/health"}
    told = RELEASE._replace(app_json={"healthchecks": {"worker": [page, command]}})
    health = service_spec.healthcheck(shop.paths, "shop", told, "worker")
    assert health == {
        "Test": ["CMD", "test", "-e", "/ready"],
        "Interval": 2_000_000_000,
        "Timeout": 3_000_000_000,
        "Retries": 4,
    }
    wanted = service_spec.spec(shop.paths, "shop", told, "worker", 1, "image", "amd64", 0, {})
    assert wanted["TaskTemplate"]["ContainerSpec"]["Healthcheck"] == health
    # Nothing told: the image's own.
    assert "Healthcheck" not in spec(shop)["TaskTemplate"]["ContainerSpec"]
    store.change(shop.paths, "shop", "checks", lambda part: part.update(skipped=["worker"]))
    assert service_spec.healthcheck(shop.paths, "shop", told, "worker") == {}


@pytest.mark.parametrize(
    ("section", "content", "hint"),
    [
        ("storage", {"mounts": ["shop:/data"]}, "storage:unmount"),
        ("docker_options", {"deploy": [["--privileged"]]}, "docker-options:clear"),
        ("docker_options", {"deploy": ["--device=/dev/ttyUSB0"]}, "docker-options:clear"),
        ("network", {"attach": ["backend"]}, "network:set"),
    ],
)
def test_what_one_device_alone_has_is_refused(
    shop: CrewDevice, section: str, content: dict[str, object], hint: str
) -> None:
    service_spec.unfit(shop.paths, "shop")
    store.change(shop.paths, "shop", section, lambda part: part.update(content))
    with pytest.raises(DeviceError) as caught:
        service_spec.unfit(shop.paths, "shop")
    assert hint in caught.value.hint


@pytest.fixture
def clustered(shop: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> CrewDevice:
    """The app on a device that is a manager of a cluster with a registry."""
    monkeypatch.setattr(services, "MONITOR", 0)
    monkeypatch.setattr(services, "_PAUSE", 0.01)
    monkeypatch.setattr(engine_swarm, "_PAUSE", 0.01)
    (shop.paths.root / "etc/service/crew-cluster").mkdir(parents=True)
    shop.engine.swarm.rule()
    assert shop.run("apps:set", "--cluster", "shop").status == 0
    # A web process is asked before anything changes: tests of that do so.
    assert shop.run("checks:skip", "shop", "web").status == 0
    return shop


def roll_out(crew: CrewDevice, *, exposed: int = 8000) -> release.Release:
    crew.engine.image("shop", exposed)
    processes: dict[str, list[str] | None] = {"web": None, "worker": ["work"]}
    return deploy.deploy(crew.paths, "shop", "shop", "push", processes=processes, say=lambda _: None)


def test_a_deploy_makes_services_of_an_image_that_all_devices_reach(clustered: CrewDevice) -> None:
    clustered.run("ps:scale", "shop", "web=6", "worker=2")
    made = roll_out(clustered)
    swarm = clustered.engine.swarm
    assert clustered.engine.pushed == ["127.0.0.1:7947/crew/shop:1"]
    web, worker = swarm.services["shop_web"], swarm.services["shop_worker"]
    assert web["Mode"] == {"Replicated": {"Replicas": 6}}
    assert web["TaskTemplate"]["ContainerSpec"]["Image"] == f"127.0.0.1:7947/crew/shop@{made.image}"
    assert worker["TaskTemplate"]["ContainerSpec"]["Args"] == ["work"]
    assert not clustered.engine.containers
    # One upstream: every device leads to all containers.
    assert (made.services, made.port) == (("web", "worker"), 30000)
    [site] = router.sites(clustered.paths)[0]
    assert (site.servers, site.clustered) == (("127.0.0.1:30000",), True)
    assert "6 of 6 run: board1" in clustered.run("ps:report", "shop").text
    assert "shop[worker]: at work" in clustered.run("logs", "-p", "worker", "shop").text


def test_devices_that_an_image_is_not_for_are_named(
    clustered: CrewDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    swarm = clustered.engine.swarm
    other = swarm.nodes[swarm.add("board2")]
    other["Description"]["Platform"]["Architecture"] = "aarch64"
    clustered.engine.image("shop", 8000)
    deploy.deploy(clustered.paths, "shop", "shop", "push", say=print)
    assert "the image is for amd64; it does not run on board2 (aarch64)" in capsys.readouterr().out
    clustered.engine.arch = "riscv64"
    with pytest.raises(DeviceError, match=r"for riscv64, .*: board1 \(x86_64\), board2 \(aarch64\)"):
        roll_out(clustered)
    assert release.current_number(clustered.paths, "shop") == 1


def test_what_is_said_of_containers_elsewhere(clustered: CrewDevice) -> None:
    store.change_env(clustered.paths, "shop", lambda env: env.update(COLOUR="blue"))
    roll_out(clustered)
    done = clustered.run("enter", "shop", "web")
    assert done.status != 0 and "on any device" in done.err
    shown = clustered.run("ps:inspect", "shop").text
    assert "shop_web" in shown and "COLOUR" not in shown


def test_what_swarm_takes_back_is_no_release(clustered: CrewDevice) -> None:
    roll_out(clustered)
    clustered.engine.swarm.breaks_at = "shop_web"
    with pytest.raises(DeviceError, match="the old one is back"):
        roll_out(clustered)
    assert release.current_number(clustered.paths, "shop") == 1


def test_a_process_that_came_up_goes_back_with_one_that_did_not(clustered: CrewDevice) -> None:
    clustered.run("ps:scale", "shop", "web=1", "worker=1")
    roll_out(clustered)
    swarm = clustered.engine.swarm
    swarm.breaks_at = "shop_worker"
    with pytest.raises(DeviceError, match="shop_worker: the new release does not stay up"):
        roll_out(clustered)
    assert swarm.services["shop_web"]["Labels"][service_spec.RELEASE] == "1"


def test_what_never_comes_up_goes_back_too(clustered: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    roll_out(clustered)
    swarm = clustered.engine.swarm
    swarm.task_status = {"State": "pending", "Err": "no suitable node"}
    monkeypatch.setattr(services, "_LONGEST", 0)
    with pytest.raises(DeviceError, match="does not stay up"):
        roll_out(clustered)
    assert swarm.services["shop_web"]["Labels"][service_spec.RELEASE] == "1"
    assert release.numbers(clustered.paths, "shop") == [1]


@pytest.mark.parametrize("breaks", ["save", "apply"])
def test_services_go_back_when_the_release_cannot_be_switched_to(
    clustered: CrewDevice, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    roll_out(clustered)

    def fail(*_: object, wait: bool = True) -> None:
        # Without waiting it is the router that is put back.
        if wait:
            raise DeviceError("the disk is full", "")

    monkeypatch.setattr(release if breaks == "save" else router, breaks, fail)
    with pytest.raises(DeviceError, match="the disk is full"):
        roll_out(clustered)
    assert clustered.engine.swarm.services["shop_web"]["Labels"][service_spec.RELEASE] == "1"
    assert release.current_number(clustered.paths, "shop") == 1


def test_a_process_that_is_gone_ends_after_the_switch(clustered: CrewDevice) -> None:
    roll_out(clustered)
    clustered.engine.image("shop", 8000)
    deploy.deploy(clustered.paths, "shop", "shop", "push", processes={"web": None}, say=lambda _: None)
    assert set(clustered.engine.swarm.services) == {"crew-registry", "shop_web"}


def test_a_first_release_that_ends_leaves_nothing(clustered: CrewDevice) -> None:
    clustered.run("ps:scale", "shop", "web=5")
    swarm = clustered.engine.swarm
    swarm.task_status = {"State": "failed", "Err": "task: non-zero exit (1)"}
    with pytest.raises(DeviceError) as caught:
        roll_out(clustered)
    assert "non-zero exit" in caught.value.hint
    assert list(swarm.services) == ["crew-registry"]


def test_its_services_end_with_the_app(clustered: CrewDevice) -> None:
    swarm = clustered.engine.swarm
    roll_out(clustered)
    assert clustered.run("ps:stop", "shop").status == 0
    assert list(swarm.services) == ["crew-registry"]
    assert router.sites(clustered.paths) == ([], {})
    assert clustered.run("ps:start", "shop").status == 0
    assert "shop_web" in swarm.services
    assert clustered.run("apps:destroy", "--force", "shop").status == 0
    assert list(swarm.services) == ["crew-registry"]


def test_back_on_one_device(clustered: CrewDevice) -> None:
    clustered.run("ps:scale", "shop", "web=0", "worker=1")
    store.change(clustered.paths, "shop", "checks", lambda part: part.update(wait=0))
    roll_out(clustered)
    done = clustered.run("apps:set", "--no-cluster", "shop")
    assert done.status == 0, done.err
    assert list(clustered.engine.swarm.services) == ["crew-registry"]
    assert list(clustered.engine.containers) == ["shop.worker.1-2"]


def test_what_it_had_in_a_cluster_that_it_left_keeps_no_app(clustered: CrewDevice) -> None:
    roll_out(clustered)
    clustered.engine.swarm.state = {"LocalNodeState": "inactive"}
    assert clustered.run("apps:destroy", "--force", "shop").status == 0


def test_one_on_each_device_is_another_kind_of_service(clustered: CrewDevice) -> None:
    clustered.run("ps:scale", "shop", "web=1", "worker=1")
    roll_out(clustered)
    assert clustered.run("apps:set", "--global", "worker", "shop").status == 0
    assert clustered.engine.swarm.services["shop_worker"]["Mode"] == {"Global": {}}


def test_managers_that_choose_a_leader_are_waited_for(clustered: CrewDevice) -> None:
    swarm = clustered.engine.swarm
    swarm.elections = 3
    roll_out(clustered)
    swarm.elections = swarm.quicker = 2
    roll_out(clustered)
    assert swarm.services["shop_web"]["Labels"][service_spec.RELEASE] == "2"


def test_what_cannot_be_set(shop: CrewDevice) -> None:
    assert "usage" in shop.run("apps:set", "shop").err
    assert "is no constraint" in shop.run("apps:set", "--place", "anywhere", "shop").err
    assert "add layer apps/cluster" in shop.run("apps:set", "--cluster", "shop").err


def test_without_a_registry(clustered: CrewDevice) -> None:
    clustered.engine.swarm.services.clear()
    with pytest.raises(DeviceError, match="no registry"):
        roll_out(clustered)
    assert release.numbers(clustered.paths, "shop") == []


def test_the_router_tries_other_containers_of_a_cluster(tmp_path: Path) -> None:
    site = nginx_conf.Site("shop", 80, ("shop.example.org",), ("127.0.0.1:30000",), clustered=True)
    text = nginx_conf.text([site], "1", tmp_path / "socket")
    assert text.count("server 127.0.0.1:30000") == 3
    assert "keepalive" not in text and "proxy_connect_timeout" in text
    text = nginx_conf.text([site._replace(clustered=False)], "1", tmp_path / "socket")
    assert text.count("server 127.0.0.1:30000") == 1
    assert "keepalive" in text and "proxy_connect_timeout" not in text
