"""Names of apps on the cluster, which the routers of all managers answer."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from skiff_device.crew import cluster_sites, router, service_spec, store
from tests.tool.crew_device import CrewDevice
from tests.tool.test_crew_services import clustered, roll_out, shop

__all__ = ["clustered", "shop"]

PEM = "a certificate and its key\n"
# Another manager, by its id.
ANOTHER = "00002node"
OTHER = {"app": "blog", "port": 80, "names": ["blog.example.org"], "servers": ["127.0.0.1:30007"], "tls": ""}


@pytest.fixture
def manager(clustered: CrewDevice) -> CrewDevice:
    """The device, as it is when it came into the cluster by its own command; other managers are there."""
    (clustered.paths.crew / "cluster").mkdir()
    (clustered.paths.crew / "cluster/interface").write_text("eth1\n")
    clustered.run("domains:set", "shop", "shop.example.org")
    assert clustered.engine.swarm.add("board2", "manager") == ANOTHER
    return clustered


def told(crew: CrewDevice) -> list[dict[str, Any]]:
    """The sites that this device told the others, by port."""
    found = [
        site
        for one in crew.engine.swarm.objects["configs"].values()
        if one["Spec"]["Labels"].get("crew.site.device") == crew.engine.swarm.state["NodeID"]
        for site in json.loads(base64.b64decode(one["Spec"]["Data"]))
    ]
    return sorted(found, key=lambda site: int(site["port"]))


def another_tells(crew: CrewDevice, *sites: dict[str, Any], app: str = "blog") -> None:
    """A site that comes from another manager."""
    labels = {"crew.site.app": app, "crew.site.device": ANOTHER}
    data = base64.b64encode(json.dumps(sites).encode()).decode()
    body = {"Name": "x", "Labels": labels, "Data": data}
    crew.engine.swarm.object("configs", ["create"], "POST", {}, body)


def answered(crew: CrewDevice) -> dict[tuple[str, int], tuple[str, ...]]:
    """What the router is told to lead on."""
    return {(site.app, site.port): site.servers for site in router.sites(crew.paths)[0]}


def test_the_others_are_told_whenever_the_router_changes(manager: CrewDevice) -> None:
    roll_out(manager)
    [site] = told(manager)
    assert (site["names"], site["servers"], site["tls"]) == (["shop.example.org"], ["127.0.0.1:30000"], "")
    manager.run("domains:add", "shop", "www.example.org")
    assert [site["names"] for site in told(manager)] == [["shop.example.org", "www.example.org"]]
    (manager.paths.certs / "shop").mkdir(parents=True)
    (manager.paths.certs / "shop/server.pem").write_text(PEM)
    router.apply(manager.paths)
    assert [(site["port"], site["tls"]) for site in told(manager)] == [(80, ""), (443, PEM)]
    manager.run("ps:stop", "shop")
    assert told(manager) == []


def test_nothing_is_told_of_apps_on_one_device(manager: CrewDevice) -> None:
    store.change(manager.paths, "shop", "cluster", lambda part: part.clear())
    store.change(manager.paths, "shop", "ps", lambda part: part.update(scale={"web": 1, "worker": 0}))
    roll_out(manager)
    assert answered(manager) and told(manager) == []


def test_what_others_tell_is_answered_here(manager: CrewDevice) -> None:
    roll_out(manager)
    another_tells(manager, OTHER, {**OTHER, "port": 443, "tls": PEM, "of a later version": 1})
    assert cluster_sites.sync(manager.paths)
    assert answered(manager) == {
        ("shop", 80): ("127.0.0.1:30000",),
        ("blog", 80): ("127.0.0.1:30007",),
        ("blog", 443): ("127.0.0.1:30007",),
    }
    [pem] = [site.tls for site in router.sites(manager.paths)[0] if site.tls]
    assert Path(pem).read_text() == PEM
    conf = (manager.paths.run / "router/nginx.conf").read_text()
    assert "server_name blog.example.org;" in conf
    # Theirs are not told as ours, nor do they answer for names that nobody has.
    assert {site["app"] for site in told(manager)} == {"shop"}
    assert [site.default for site in router.sites(manager.paths)[0] if site.app == "blog"] == [False, False]


def test_an_app_that_is_here_is_not_anothers(manager: CrewDevice) -> None:
    roll_out(manager)
    another_tells(manager, {**OTHER, "app": "shop"}, app="shop")
    cluster_sites.sync(manager.paths)
    assert answered(manager) == {("shop", 80): ("127.0.0.1:30000",)}


def test_the_last_of_two_managers_counts(manager: CrewDevice) -> None:
    another_tells(manager, OTHER)
    another_tells(manager, {**OTHER, "servers": ["127.0.0.1:30008"]})
    cluster_sites.sync(manager.paths)
    assert answered(manager) == {("blog", 80): ("127.0.0.1:30008",)}


def test_what_is_gone_is_forgotten(manager: CrewDevice) -> None:
    another_tells(manager, {**OTHER, "tls": PEM})
    another_tells(manager, {**OTHER, "app": "wiki"}, app="wiki")
    cluster_sites.sync(manager.paths)
    pem = manager.paths.run / "sites/blog.pem"
    assert pem.stat().st_mode & 0o777 == 0o600
    del manager.engine.swarm.objects["configs"][manager.engine.swarm.made[0]]
    cluster_sites.sync(manager.paths)
    assert answered(manager).keys() == {("wiki", 80)} and not pem.exists()


def lose(crew: CrewDevice, *, forgotten: bool = False) -> None:
    """The other manager goes for ever."""
    swarm = crew.engine.swarm
    swarm.nodes[ANOTHER]["Status"]["State"] = "down"
    if forgotten:
        assert crew.run("cluster:remove", "board2").status == 0


def runs(crew: CrewDevice, app: str) -> None:
    """An app of another manager has a service."""
    name = f"{app}_web"
    labels, mode = {service_spec.APP: app}, {"Replicated": {"Replicas": 1}}
    spec = {"Name": name, "Labels": labels, "Mode": mode, "TaskTemplate": {}}
    crew.engine.swarm.services[name] = spec


@pytest.mark.parametrize("forgotten", [False, True])
def test_apps_of_a_lost_manager_are_answered_until_they_end(manager: CrewDevice, forgotten: bool) -> None:
    runs(manager, "blog")
    another_tells(manager, OTHER)
    lose(manager, forgotten=forgotten)
    cluster_sites.sync(manager.paths)
    assert answered(manager) == {("blog", 80): ("127.0.0.1:30007",)}
    manager.engine.swarm.services.clear()
    cluster_sites.sync(manager.paths)
    assert answered(manager) == {} and manager.engine.swarm.names("configs") == []


def test_a_manager_that_is_there_looks_after_its_own(manager: CrewDevice) -> None:
    """It may be making services anew; and would tell again what others take away, and again."""
    another_tells(manager, OTHER)
    cluster_sites.sync(manager.paths)
    assert answered(manager) == {("blog", 80): ("127.0.0.1:30007",)}


def test_an_app_of_a_manager_that_was_forgotten_is_told_by_the_one_that_has_it_now(
    manager: CrewDevice,
) -> None:
    roll_out(manager)
    another_tells(manager, {**OTHER, "app": "shop", "tls": PEM}, app="shop")
    lose(manager)
    # It may come back.
    cluster_sites.sync(manager.paths)
    assert len(manager.engine.swarm.names("configs")) == 2
    lose(manager, forgotten=True)
    cluster_sites.sync(manager.paths)
    assert len(manager.engine.swarm.names("configs")) == len(told(manager)) == 1


def test_a_worker_knows_nothing_of_others(manager: CrewDevice) -> None:
    another_tells(manager, OTHER)
    swarm = manager.engine.swarm
    seen = []

    def demoted() -> None:
        seen.append(answered(manager))
        if len(seen) == 3:
            swarm.state["ControlAvailable"] = False

    swarm.on_event = demoted
    assert cluster_sites.follow(manager.paths) == 0
    assert seen == [{}, {("blog", 80): ("127.0.0.1:30007",)}, {("blog", 80): ("127.0.0.1:30007",)}]
    assert answered(manager) == {}
    assert not (manager.paths.run / "sites").exists()


def test_managers_that_cannot_be_asked_keep_no_router_from_its_work(manager: CrewDevice) -> None:
    manager.engine.close()
    assert router.apply(manager.paths) == {}
