"""Apps on a cluster of several CPUs: each builds for itself, all become one image in a real registry."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skiff.host.ports import free_port
from skiff_device.common.errors import DeviceError
from skiff_device.crew import (
    build,
    engine_swarm,
    logs,
    native_build,
    other_cpus,
    pipeline,
    registry,
    registry_client,
    release,
    service_spec,
    services,
    store,
)
from tests.tool.crew_device import ROOT, CrewDevice

JOB = "crew-build-shop-arm64"
_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Debian's docker-registry, with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.address = f"127.0.0.1:{free_port()}"
        storage = {"filesystem": {"rootdirectory": str(folder / "data")}}
        settings = {"version": "0.1", "storage": storage, "http": {"addr": self.address}}
        (folder / "config.yml").write_text(json.dumps(settings))
        with (folder / "log").open("wb") as log:
            argv = ["docker-registry", "serve", str(folder / "config.yml")]
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://{self.address}/v2/"):
            return True
        return False

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def take(self, repository: str, tag: str, image: dict[str, Any]) -> str:
        """What an engine does that pushes an image; the digest."""
        config = json.dumps(
            {"architecture": image["Architecture"], "os": "linux", "id": image["Id"]}
        ).encode()
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        url = f"http://{self.address}/v2/{repository}"
        place = self._send("POST", f"{url}/blobs/uploads/")["Location"]
        self._send("PUT", f"{place}&digest={digest}", config, "application/octet-stream")
        told = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config)}
        manifest = {
            "schemaVersion": 2,
            "mediaType": _TYPE,
            "config": {**told, "digest": digest},
            "layers": [],
        }
        data = json.dumps(manifest).encode()
        return str(self._send("PUT", f"{url}/manifests/{tag}", data, _TYPE)["Docker-Content-Digest"])

    def _send(self, method: str, url: str, data: bytes = b"", kind: str = "") -> Any:
        request = urllib.request.Request(url, data, {"Content-Type": kind} if kind else {}, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.headers


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The cluster's registry."""
    made = Registry(tmp_path / "registry")
    monkeypatch.setattr(registry, "ADDRESS", made.address)
    yield made
    made.close()


@pytest.fixture
def shop(crew: CrewDevice, hub: Registry, monkeypatch: pytest.MonkeyPatch) -> CrewDevice:
    """An app of a cluster, whose devices are of two CPUs."""
    for module in (services, engine_swarm, other_cpus):
        monkeypatch.setattr(module, "_PAUSE", 0.01)
    monkeypatch.setattr(services, "MONITOR", 0)
    (crew.paths.root / "etc/service/crew-cluster").mkdir(parents=True)
    swarm = crew.engine.swarm
    swarm.rule()
    other = swarm.add("board2")
    swarm.nodes[other]["Description"]["Platform"]["Architecture"] = "aarch64"
    swarm.places[JOB] = other
    swarm.task_states[JOB] = {"State": "complete"}
    swarm.said[JOB] = "[1/2] FROM box\n  aarch64"
    swarm.on_create = lambda body: builds(crew, hub, body)
    crew.engine.on_push = hub.take
    store.create(crew.paths, "shop")
    store.change(crew.paths, "shop", "cluster", lambda part: part.update(on=True))
    store.change(crew.paths, "shop", "checks", lambda part: part.update(skipped=["web"]))
    return crew


def asked_of(body: Any) -> dict[str, Any]:
    """What a device is asked to build."""
    [variable] = body["TaskTemplate"]["ContainerSpec"]["Env"]
    found: dict[str, Any] = json.loads(variable.removeprefix(f"{native_build.ASKED}="))
    return found


def builds(crew: CrewDevice, hub: Registry, body: Any) -> None:
    """What the other device does that is asked to build."""
    swarm = crew.engine.swarm
    if body["Name"] == JOB and swarm.task_states[JOB]["State"] == "complete":
        hub.take(
            "crew/shop", asked_of(body)["tag"], {"Architecture": "arm64", "Id": asked_of(body)["source"]}
        )


def push(crew: CrewDevice) -> str:
    """Build and deploy; what who pushes is shown."""
    said: list[str] = []
    tar = crew.paths.app("shop") / "incoming"
    with tarfile.open(tar, "w") as archive:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(text := b"FROM scratch\n")
        archive.addfile(member, io.BytesIO(text))
    pipeline.build_and_deploy(crew.paths, "shop", tar, "push", "", ROOT, said.append)
    return "\n".join(said)


def image_of(crew: CrewDevice) -> dict[str, str]:
    """CPUs of the image that the service has, and digests."""
    repository, _, digest = crew.engine.swarm.services["shop_web"]["TaskTemplate"]["ContainerSpec"][
        "Image"
    ].partition("@")
    found = registry_client.find(repository.partition("/")[2], digest)
    assert found is not None
    parts = json.loads(found.data).get("manifests") or []
    return {one["platform"]["architecture"]: one["digest"] for one in parts}


def platforms(crew: CrewDevice) -> list[str]:
    """CPUs of devices that the service may be on."""
    placement = crew.engine.swarm.services["shop_web"]["TaskTemplate"]["Placement"]
    return [one["Architecture"] for one in placement["Platforms"]]


def test_each_cpu_builds_for_itself_and_all_become_one_image(shop: CrewDevice) -> None:
    said = push(shop)
    assert "-----> building for arm64 on board2\narm64: [1/2] FROM box\narm64:   aarch64" in said
    assert "does not run on" not in said
    swarm = shop.engine.swarm
    task = swarm.created[JOB]["TaskTemplate"]
    assert task["Placement"]["Constraints"] == ["node.platform.arch==aarch64"]
    writable = [one["Source"] for one in task["ContainerSpec"]["Mounts"] if not one["ReadOnly"]]
    assert writable == ["/run/docker.sock", "/sys/fs/cgroup"]
    # It ends with the push.
    assert set(swarm.services) == {"crew-registry", "shop_web"}
    assert list(image_of(shop)) == platforms(shop) == ["amd64", "arm64"]
    made = release.current(shop.paths, "shop")
    assert made is not None and made.others == {"arm64": image_of(shop)["arm64"]}


def test_what_others_put_into_the_registry_is_not_run(shop: CrewDevice, hub: Registry) -> None:
    evil = {"Architecture": "arm64", "Id": "evil"}
    theirs = hub.take("crew/native_build", "arm64", evil)
    swarm = shop.engine.swarm

    def replaced(body: Any) -> None:
        builds(shop, hub, body)
        if body["Name"] == JOB:
            tag = asked_of(body)["tag"]
            made = registry_client.find("crew/shop", tag)
            assert made is not None
            swarm.said[JOB] += f"\n{native_build.PUSHED}{made.digest}"
            hub.take("crew/shop", tag, evil)

    swarm.on_create = replaced
    said = push(shop)
    assert theirs not in swarm.created[JOB]["TaskTemplate"]["ContainerSpec"]["Image"]
    assert f"{native_build.PUSHED}{image_of(shop)['arm64']}" in swarm.said[JOB]
    assert native_build.PUSHED not in said


def test_a_later_change_builds_nothing_and_has_the_same_images(shop: CrewDevice) -> None:
    push(shop)
    first = image_of(shop)
    del shop.engine.swarm.created[JOB]
    assert shop.run("config:set", "shop", "COLOUR=blue").status == 0
    assert image_of(shop) == first
    assert shop.run("rollback", "shop", "1").status == 0
    assert image_of(shop) == first and JOB not in shop.engine.swarm.created


def test_a_registry_that_lost_its_images(
    shop: CrewDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(shop)
    fresh = Registry(tmp_path / "fresh")
    try:
        monkeypatch.setattr(registry, "ADDRESS", fresh.address)
        shop.engine.on_push = fresh.take
        done = shop.run("ps:restart", "shop")
        assert done.status == 0
        lost = "board2 (aarch64: the cluster's registry has lost it: ps:rebuild shop)"
        assert f"the image is for amd64; it does not run on {lost}" in done.err
        assert platforms(shop) == ["amd64"]
        assert f"shop is not on: {lost}" in " ".join(shop.run("cluster:report").text.split())
        shop.engine.swarm.on_create = lambda body: builds(shop, fresh, body)
        push(shop)
        assert platforms(shop) == ["amd64", "arm64"] and len(image_of(shop)) == 2
        assert "is not on" not in shop.run("cluster:report").text
    finally:
        fresh.close()


def test_a_cpu_whose_build_fails_is_kept_away(shop: CrewDevice) -> None:
    swarm = shop.engine.swarm
    swarm.task_states[JOB] = {"State": "failed", "Err": "task: non-zero exit (1)"}
    swarm.said[JOB] = "  oops\ncrew: the build failed: exit code: 1\n  hint: its last lines are above"
    another = swarm.add("board3")
    swarm.nodes[another]["Description"]["Platform"]["Architecture"] = "aarch64"
    said = push(shop)
    assert "arm64:   oops" in said
    why = "board2, board3 (aarch64: board2: the build failed: exit code: 1)"
    assert f"the image is for amd64; it does not run on {why}" in said
    assert platforms(shop) == ["amd64"]
    assert json.loads(shop.run("cluster:report", "--json").text)["kept away"] == {"shop": why}


def test_it_can_be_an_error(shop: CrewDevice) -> None:
    push(shop)
    assert shop.run("builder:set", "shop", "other-cpus", "must").status == 0
    shop.engine.swarm.task_states[JOB] = {"State": "failed", "Err": "task: non-zero exit (1)"}
    with pytest.raises(DeviceError, match=r"would not run on board2 \(aarch64: .*exit \(1\)\)") as caught:
        push(shop)
    assert "builder:set shop other-cpus try" in caught.value.hint
    assert release.current_number(shop.paths, "shop") == 1
    assert platforms(shop) == ["amd64", "arm64"]


def test_it_can_be_left_out(shop: CrewDevice) -> None:
    assert "is no way" in shop.run("builder:set", "shop", "other-cpus", "maybe").err
    assert shop.run("builder:set", "shop", "other-cpus", "never").status == 0
    assert "it does not run on board2 (aarch64)" in push(shop)
    assert JOB not in shop.engine.swarm.created
    assert "never" in shop.run("builder:report", "shop").text


@pytest.mark.parametrize("change", [{"Status": {"State": "down"}}, {"Availability": "drain"}])
def test_no_device_that_could_build(shop: CrewDevice, change: dict[str, Any]) -> None:
    node = shop.engine.swarm.named("board2")[0]
    (node if "Status" in change else node["Spec"]).update(change)
    assert "board2 (aarch64: board2 cannot build now)" in push(shop)
    assert JOB not in shop.engine.swarm.created


def test_a_device_that_is_lost_amid_a_build(shop: CrewDevice) -> None:
    swarm = shop.engine.swarm
    swarm.task_states[JOB] = {"State": "running"}

    def lose(body: Any) -> None:
        if body["Name"] == JOB:
            swarm.named("board2")[0]["Status"]["State"] = "down"

    swarm.on_create = lose
    assert "board2 was lost amid the build" in push(shop)
    assert JOB not in swarm.services


def test_builds_elsewhere_end_with_the_one_here(shop: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def broken_off(*_: object, **__: object) -> str:
        begun.append(JOB in shop.engine.swarm.services)
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "build", broken_off)
    with pytest.raises(KeyboardInterrupt):
        push(shop)
    assert begun == [True] and JOB not in shop.engine.swarm.services


def test_a_push_that_is_broken_off_leaves_no_image(shop: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_off(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(other_cpus._Watch, "ended", broken_off)
    with pytest.raises(KeyboardInterrupt):
        push(shop)
    assert JOB not in shop.engine.swarm.services
    assert not [name for name in shop.engine.images if ":build-" in name]


def test_what_a_power_cut_left_goes_with_the_next_push_or_the_app(shop: CrewDevice) -> None:
    swarm = shop.engine.swarm
    push(shop)
    left = swarm.created[JOB]
    swarm.services["crew-build-shop-riscv64"] = {**left, "Name": "crew-build-shop-riscv64"}
    push(shop)
    assert set(swarm.services) == {"crew-registry", "shop_web"}
    swarm.services[JOB] = left
    assert shop.run("apps:destroy", "--force", "shop").status == 0
    assert set(swarm.services) == {"crew-registry"}


def test_each_line_is_told_once_however_often_it_is_asked_for(
    shop: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarm = shop.engine.swarm
    swarm.task_states[JOB] = {"State": "running"}
    looks = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            swarm.task_states[JOB] = {"State": "complete"}

    monkeypatch.setattr(other_cpus, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    said = push(shop)
    assert said.count("arm64:   aarch64") == 1
    # It says that all is well, and has handed nothing over.
    assert "board2 (aarch64: no image of it came to the registry)" in said


def test_what_is_not_heard_of_a_build_does_not_end_it(
    shop: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(logs, "cut", late)
    push(shop)
    assert platforms(shop) == ["amd64", "arm64"]


@pytest.mark.parametrize(
    ("state", "told"), [("pending", "no device began"), ("running", "board2 did not end")]
)
def test_a_build_that_never_ends(
    shop: CrewDevice, monkeypatch: pytest.MonkeyPatch, state: str, told: str
) -> None:
    monkeypatch.setattr(other_cpus, "_FETCH", -3600)
    swarm = shop.engine.swarm
    swarm.task_states[JOB] = {"State": state}
    if state == "pending":
        swarm.places[JOB] = ""
    assert told in push(shop)


@pytest.mark.parametrize(
    ("place", "there"),
    [
        ("node.platform.arch==x86_64", False),
        ("node.platform.arch!=x86_64", True),
        ("node.hostname!=board2", False),
        ("node.role==Worker,node.labels.site==", True),
        ("node.labels.site!=museum", False),
        ("node.labels.site==attic", False),
        ("node.labels.door!=east,engine.labels.x==y", True),
    ],
)
def test_what_an_app_may_not_be_on_is_not_built_for(shop: CrewDevice, place: str, there: bool) -> None:
    node = shop.engine.swarm.named("board2")[0]
    if "museum" in place or "attic" in place:
        node["Spec"]["Labels"] = {"site": "museum"}
    store.change(shop.paths, "shop", "cluster", lambda part: part.update(constraints=place.split(",")))
    assert service_spec.is_placed(shop.paths, "shop", node) == there


def test_where_it_may_not_be_it_is_not_missed(shop: CrewDevice) -> None:
    assert shop.run("apps:set", "--place", "node.hostname==board1", "shop").status == 0
    assert shop.run("builder:set", "shop", "other-cpus", "must").status == 0
    assert "does not run on" not in push(shop)
    assert JOB not in shop.engine.swarm.created


def test_one_cpu_costs_nothing(shop: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in [one["ID"] for one in shop.engine.swarm.named("board2")]:
        del shop.engine.swarm.nodes[number]
    monkeypatch.setattr(registry_client, "_open", lambda *_: pytest.fail("the registry was asked"))
    push(shop)
    assert platforms(shop) == ["amd64"]
    assert set(shop.engine.swarm.created) == {"shop_web"}


def test_the_other_devices_part(
    shop: CrewDevice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.run("builder:set", "shop", "pids", "99")
    push(shop)
    body = shop.engine.swarm.created[JOB]
    group = shop.paths.root / "sys/fs/cgroup/docker/buildkit"
    group.mkdir(parents=True)
    for variable in body["TaskTemplate"]["ContainerSpec"]["Env"]:
        monkeypatch.setenv(*variable.split("=", 1))
    shop.engine.pushed.clear()
    before = set(shop.engine.images)
    assert native_build.run(shop.paths) == 0
    assert (group / "pids.max").read_text() == "99\n"
    made = registry_client.find("crew/shop", asked_of(body)["tag"])
    assert made is not None
    assert capsys.readouterr().out.endswith(f"{native_build.PUSHED}{made.digest}\n")
    name = f"{registry.ADDRESS}/crew/shop:{asked_of(body)['tag']}"
    assert shop.engine.pushed == [name]
    # Its name is in the registry alone.
    assert name not in shop.engine.images and before <= set(shop.engine.images)


def test_a_source_that_was_changed_is_not_built(hub: Registry, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"one" * 1000)
    digest = registry_client.put_file("crew/shop", source)
    assert registry_client.put_file("crew/shop", source) == digest
    got = io.BytesIO()
    registry_client.fetch_file("crew/shop", digest, got)
    assert got.getvalue() == source.read_bytes()
    [blob] = (tmp_path / "registry").rglob(f"blobs/sha256/*/{digest.partition(':')[2]}/data")
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(DeviceError, match="damaged"):
        registry_client.fetch_file("crew/shop", digest, io.BytesIO())


def test_a_registry_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ADDRESS", f"127.0.0.1:{free_port()}")
    with pytest.raises(DeviceError, match="does not answer"):
        registry_client.find("crew/shop", "1")


@pytest.mark.parametrize(
    ("machine", "cpu"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("armv7l", "arm"), ("s390x", "")]
)
def test_cpus_of_devices(machine: str, cpu: str) -> None:
    node = {"Description": {"Platform": {"Architecture": machine}}}
    assert service_spec.cpu_of(node) == cpu
    assert service_spec.runs(node, ["amd64"]) == (cpu in ("", "amd64"))
