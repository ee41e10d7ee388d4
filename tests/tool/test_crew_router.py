"""The router among several apps: what one has set, or what is damaged of it, is nobody else's loss."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import preflight, release, restore, router, store
from skiff_device.crew.command import Caller
from tests.tool.crew_device import CrewDevice

MALLORY = Caller("mallory", "deploy", ("evil",))
HOST = socket.gethostname()
# Refuses more than three ports.
_NGINX = r"""#!/bin/sh
while [ $# -gt 0 ]; do case $1 in -p) folder=$2 ;; -c) file=$2 ;; esac; shift; done
ports=$(sed -n 's/^ *listen \([0-9][0-9]*\).*/\1/p' "$folder/$file" | sort -u | wc -l)
[ "$ports" -le 3 ] || { echo "nginx: [emerg] worker_connections are not enough" >&2; exit 1; }
"""


@pytest.fixture
def both(crew: CrewDevice) -> CrewDevice:
    """Two web apps, of which a deploy key is for the first one alone."""
    for name in ("evil", "good"):
        crew.app(name, web=None)
        store.change(crew.paths, name, "checks", lambda section: section.update(skipped=["web"]))
    return crew


@pytest.fixture
def certified(both: CrewDevice) -> CrewDevice:
    assert both.run("certs:generate", "evil", "evil.example.org").status == 0
    return both


def conf(crew: CrewDevice) -> str:
    """The router's configuration."""
    return (crew.paths.run / "router/nginx.conf").read_text()


def ports(crew: CrewDevice, app: str) -> object:
    return store.section(crew.paths, app, "ports").get("map")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["https:80:5000"], "port 80 is for http"),
        (["http:443:5000"], "port 443 is for https"),
        (["https:8080:5000"], "port 8080 is for http"),
        (["http:81:5000", "http:81:6000"], "port 81 is there twice"),
        (["http:53:5000"], "the device's port"),
        ([f"http:{port}:5000" for port in range(2000, 2033)], "33 ports"),
    ],
)
def test_ports_that_are_no_ports_of_the_routers_are_refused(
    certified: CrewDevice, words: list[str], reason: str
) -> None:
    assert certified.run("ports:set", "good", "http:80:5000", "http:8080:5000").status == 0
    before = conf(certified)
    done = certified.run("ports:set", "evil", *words, caller=MALLORY)
    assert done.status == 1 and reason in done.err
    assert ports(certified, "evil") is None and conf(certified) == before


def test_what_came_by_another_way_displaces_nobody(certified: CrewDevice) -> None:
    def claim(section: store.Section) -> None:
        section.update(map=[["https", 80, 5000]])

    store.change(certified.paths, "evil", "ports", claim)
    done = certified.run("domains:set", "good", "good.example.org")
    assert "evil: the router leaves it out: port 80 is another app's for http" in done.err
    assert "listen 80 default_server;" in conf(certified)


def test_what_is_wrong_only_beside_others_is_left_out(both: CrewDevice) -> None:
    (both.bin / "nginx").write_text(_NGINX)
    assert both.run("ports:set", "evil", "http:81:5000", "http:82:5000").status == 0
    done = both.run("ports:set", "good", "http:80:5000", "http:83:5000")
    assert done.status == 1 and "worker_connections" in done.err
    assert ports(both, "good") is None
    assert all(f"listen {port} " in conf(both) for port in (80, 81, 82)) and "listen 83" not in conf(both)


def test_ports_of_a_release_that_is_not_fit_are_put_back(
    both: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.run("ports:set", "good", "http:81:5000")

    def unfit(*_: object) -> None:
        raise DeviceError("does not listen on port 8080")

    with monkeypatch.context() as patched:
        patched.setattr(preflight, "must_pass", unfit)
        store.change(both.paths, "good", "checks", lambda section: section.pop("skipped"))
        assert both.run("ports:set", "good", "http:81:8080").status == 1
    assert ports(both, "good") == [["http", 81, 5000]]
    both.run("domains:set", "evil", "evil.example.org")
    assert ":8080" not in conf(both)


@pytest.mark.parametrize("name", [f"good.{HOST}.local", f"later.{HOST}.local", "shop.example.org"])
def test_a_name_of_another_app_is_not_for_a_deploy_key(both: CrewDevice, name: str) -> None:
    if name == "shop.example.org":
        both.run("domains:set", "good", "*.example.org")
    for command in ("domains:add", "domains:set"):
        done = both.run(command, "evil", name, caller=MALLORY)
        assert done.status == 1 and "choose another one" in done.err
        # Nor is it told which apps there are.
        assert "domains:remove" not in done.err
    assert both.run("domains:add", "evil", f"evil.{HOST}.local", caller=MALLORY).status == 0
    assert both.run("domains:add", "evil", "evil.example.com", caller=MALLORY).status == 0


def test_an_admin_is_told_whose_name_it_is(both: CrewDevice) -> None:
    done = both.run("domains:add", "evil", f"good.{HOST}.local")
    assert done.status == 1 and f"domains:remove good good.{HOST}.local" in done.err
    # Part of a wildcard may go elsewhere, where who has all apps wants it.
    both.run("domains:set", "good", "*.example.org")
    assert both.run("domains:add", "evil", "shop.example.org").status == 0


def test_plain_http_leads_to_the_port_that_has_https(certified: CrewDevice) -> None:
    certified.run("ports:set", "evil", "http:81:5000", "https:8443:5000")
    assert "return 301 https://$host:8443$request_uri" in conf(certified)


def test_nobody_is_sent_to_another_program(certified: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "return 301 https://$host$request_uri" in conf(certified)
    monkeypatch.setattr(router, "taken", lambda paths, wanted: {443})
    certified.run("domains:set", "evil", "evil.example.org")
    assert "return 301" not in conf(certified) and "listen 443" not in conf(certified)


@pytest.mark.parametrize("file", ["settings.json", "releases/1/release.json"])
def test_a_damaged_file_is_its_own_apps_trouble(
    both: CrewDevice, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (both.paths.app("evil") / file).write_text("")
    assert both.run("ps:restart", "good").status == 0
    (both.paths.run / "router/nginx.conf").unlink()
    assert restore.restore(both.paths) == 0
    assert "evil: the router leaves it out" in capsys.readouterr().err
    assert f"good.{HOST}.local" in conf(both) and f"evil.{HOST}.local" not in conf(both)
    assert "do not run: evil" in (both.paths.run / "status").read_text()
    assert both.run("apps:destroy", "--force", "evil").status == 0
    assert store.apps(both.paths) == ["good"]


def test_after_a_damaged_release_another_one_can_serve(both: CrewDevice) -> None:
    assert both.run("ps:restart", "good").status == 0
    assert release.current_number(both.paths, "good") == 2
    (both.paths.app("good") / "releases/2/release.json").write_text("{")
    done = both.run("ps:restart", "good")
    assert done.status == 1 and "rollback" in done.err
    assert both.run("rollback", "good").status == 0
    assert release.current_number(both.paths, "good") == 3


def test_a_card_that_fails_once_costs_no_release(
    both: CrewDevice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readlink = Path.readlink

    def fails(path: Path) -> Path:
        if path == both.paths.app("good") / "current":
            raise OSError(5, "Input/output error")
        return readlink(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "readlink", fails)
        restore.restore(both.paths)
    assert "Input/output error" in capsys.readouterr().err
    assert release.numbers(both.paths, "good") == [1]
    assert "good.web.1-1" in both.engine.containers
    restore.restore(both.paths)
    assert f"good.{HOST}.local" in conf(both)
