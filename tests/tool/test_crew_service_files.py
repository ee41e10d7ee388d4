"""Secrets and configs of apps on a cluster: made, rotated, taken back with their release, forgotten."""

from __future__ import annotations

import base64
import json

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import release, store
from tests.tool.crew_device import CrewDevice
from tests.tool.test_crew_services import clustered, roll_out, shop

__all__ = ["clustered", "shop"]


def held(crew: CrewDevice, kind: str = "secrets", process: str = "web") -> dict[str, str]:
    """What the containers of a process see: path and content."""
    swarm = crew.engine.swarm
    container = swarm.services[f"shop_{process}"]["TaskTemplate"]["ContainerSpec"]
    one = kind.removesuffix("s").capitalize()
    return {
        each["File"]["Name"]: base64.b64decode(swarm.objects[kind][each[f"{one}ID"]]["Spec"]["Data"]).decode()
        for each in container.get(f"{one}s", [])
    }


def test_a_secret_is_a_file_of_all_processes(clustered: CrewDevice) -> None:
    clustered.run("ps:scale", "shop", "web=1", "worker=1")
    done = clustered.run("secrets:set", "shop", "db", stdin=b"hunter2")
    assert (done.status, done.text + done.err) == (0, "")
    done = clustered.run("configs:set", "--path", "/etc/shop.conf", "shop", "conf", stdin=b"colour=blue")
    assert done.status == 0
    roll_out(clustered)
    for process in ("web", "worker"):
        assert held(clustered, "secrets", process) == {"/run/secrets/db": "hunter2"}
        assert held(clustered, "configs", process) == {"/etc/shop.conf": "colour=blue"}
    for told in (clustered.run("secrets:report", "shop"), clustered.run("secrets:report", "--json", "shop")):
        assert "/run/secrets/db" in told.text and "hunter2" not in told.text
    assert "hunter2" not in (clustered.paths.app("shop") / "settings.json").read_text()


def test_a_new_value_is_a_new_one_in_the_same_place(clustered: CrewDevice) -> None:
    clustered.run("secrets:set", "--path", "/etc/key", "shop", "key", stdin=b"old")
    roll_out(clustered)
    assert clustered.run("secrets:set", "shop", "key", stdin=b"new").status == 0
    assert held(clustered) == {"/etc/key": "new"}
    assert len(clustered.engine.swarm.names("secrets")) == 2
    assert release.current_number(clustered.paths, "shop") == 2


def test_a_rollback_takes_the_secrets_of_its_release(clustered: CrewDevice) -> None:
    clustered.run("secrets:set", "shop", "key", stdin=b"old")
    roll_out(clustered)
    clustered.run("secrets:set", "shop", "key", stdin=b"new")
    # All releases have the same image: which one is meant has to be said.
    refused = clustered.run("rollback", "shop")
    assert refused.status == 1 and "no release of shop has another image" in refused.err
    assert "rollback shop NUMBER; kept are: 1, 2" in refused.err
    assert clustered.run("rollback", "shop", "1").status == 0
    assert held(clustered) == {"/run/secrets/key": "old"}
    # They are the app's from now on.
    assert clustered.run("config:set", "shop", "COLOUR=blue").status == 0
    assert held(clustered) == {"/run/secrets/key": "old"}


def test_what_no_release_has_is_forgotten(clustered: CrewDevice) -> None:
    clustered.run("cleanup:set", "shop", "keep-releases", "2")
    swarm = clustered.engine.swarm
    for value in (b"1", b"2", b"3"):
        clustered.run("secrets:set", "--no-restart", "shop", "key", stdin=value)
        roll_out(clustered)
    assert [one["Spec"]["Data"] for one in swarm.objects["secrets"].values()] == ["Mg==", "Mw=="]
    assert clustered.run("secrets:unset", "shop", "key").status == 0
    assert held(clustered) == {}
    assert [one["Spec"]["Data"] for one in swarm.objects["secrets"].values()] == ["Mw=="]
    assert clustered.run("apps:destroy", "--force", "shop").status == 0
    assert swarm.names("secrets") == []


def test_a_value_that_does_not_come_up_is_forgotten(clustered: CrewDevice) -> None:
    clustered.run("secrets:set", "shop", "key", stdin=b"old")
    roll_out(clustered)
    clustered.engine.swarm.breaks_at = "shop_web"
    done = clustered.run("secrets:set", "shop", "key", stdin=b"new")
    assert "the old one is back" in done.err
    assert len(clustered.engine.swarm.names("secrets")) == 1
    assert held(clustered) == {"/run/secrets/key": "old"}


def test_they_go_along_when_the_app_is_renamed(clustered: CrewDevice) -> None:
    clustered.run("secrets:set", "shop", "key", stdin=b"old")
    roll_out(clustered)
    assert clustered.run("apps:rename", "shop", "store").status == 0
    assert "store_web" in clustered.engine.swarm.services
    clustered.run("apps:destroy", "--force", "store")
    assert clustered.engine.swarm.names("secrets") == []


def test_what_the_cluster_has_lost_is_told(clustered: CrewDevice) -> None:
    clustered.run("secrets:set", "shop", "key", stdin=b"old")
    clustered.engine.swarm.objects["secrets"].clear()
    with pytest.raises(DeviceError) as caught:
        roll_out(clustered)
    assert "key" in caught.value.message and "secrets:set shop key" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (["secrets:set", "shop", "key"], b"", "nothing came through standard input"),
        (["secrets:set", "shop", "key"], b"x" * ((500 << 10) + 1), "more than 500 KiB"),
        (["secrets:set", "shop", "../key"], b"x", "is no name"),
        (["secrets:set", "--path", "etc/key", "shop", "key"], b"x", "is no path"),
        (["secrets:set", "--path", "/etc/../key", "shop", "key"], b"x", "is no path"),
        (["secrets:set", "--path", "/" + "a" * 300, "shop", "key"], b"x", "is no path"),
        (["configs:unset", "shop", "key"], b"", "shop has no key among its configs"),
        (["secrets:unset", "shop"], b"", "NAME is missing"),
    ],
)
def test_what_is_refused(clustered: CrewDevice, words: list[str], stdin: bytes, said: str) -> None:
    done = clustered.run(*words, stdin=stdin)
    assert done.status != 0 and said in done.err
    assert clustered.engine.swarm.names("secrets") == []
    assert store.section(clustered.paths, "shop", "files") == {}


def test_an_app_on_one_device_has_none(shop: CrewDevice) -> None:
    done = shop.run("secrets:set", "shop", "key", stdin=b"x")
    assert "apps:set --cluster shop" in done.err and "config:set" in done.err


def test_an_app_with_secrets_stays_on_the_cluster(clustered: CrewDevice) -> None:
    clustered.run("secrets:set", "shop", "key", stdin=b"old")
    done = clustered.run("apps:set", "--no-cluster", "shop")
    assert "secrets:unset --no-restart shop key" in done.err
    assert clustered.run("secrets:unset", "--no-restart", "shop", "key").status == 0
    assert clustered.run("apps:set", "--no-cluster", "shop").status == 0


def test_an_app_leaves_a_cluster_that_is_gone(clustered: CrewDevice) -> None:
    clustered.run("secrets:set", "shop", "key", stdin=b"old")
    clustered.engine.swarm.state = {"LocalNodeState": "inactive"}
    assert clustered.run("secrets:unset", "--no-restart", "shop", "key").status == 0
    assert clustered.run("apps:set", "--no-cluster", "shop").status == 0


def test_who_may_read_sees_names_alone(clustered: CrewDevice) -> None:
    clustered.run("secrets:set", "shop", "key", stdin=b"old")
    told = json.loads(clustered.run("secrets:report", "--json", "shop").text)
    assert told["key"].keys() == {"object", "path", "set"}
