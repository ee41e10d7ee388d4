"""Every command of crew over SSH, on a device whose engine, router and builder are real.

SKIFF_TEST_COMMANDS=1 asks for it, for under emulation each command takes seconds. What they refuse and leave
alone is asked in tests/tool.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import shlex
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from skiff.host.run import run
from skiff_device.crew import hooks, main
from tests.tool import acme_server
from tests.tool.acme_server import AS_SEEN_BY_DEVICES, Authority
from tests.vm.apps import Repository, crew, page, tunnel
from tests.vm.driver import Device
from tests.vm.environments import BOX, enter

MakeDevice = Callable[..., Device]

DOCKERFILE = """FROM box AS last
ARG WORD=usual
RUN mkdir /www && echo "$WORD VERSION" >/www/index.html
EXPOSE 8000
CMD ["sh", "-c", "exec httpd -f -p $PORT -h /www"]
FROM last AS never
RUN exit 1
"""
PROCFILE = """web: exec httpd -f -p $PORT -h /www
worker: while :; do echo at work; sleep 1; done
"""
CRON = {"cron": [{"command": "echo tick >>/data/ticks; echo ticked", "schedule": "0 4 1 1 *"}]}
# Each trigger notes that it was called.
MARKS = "/tmp/marks"
PLUGIN = f'#!/bin/sh\necho "${{0##*/}} $1" >>{MARKS}\n'
NAME = "shop.example.org"
LIMITS = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"


class Commands:
    """Commands of crew, written down as they are called."""

    def __init__(self, machine: Device) -> None:
        self.machine = machine
        self.called: set[str] = set()

    def __call__(self, command: str, words: str = "", *, stdin: bytes = b"", status: int = 0) -> str:
        """Its output, and what it says beside, which must have these words in it."""
        self.called.add(command.split()[0])
        done = crew(self.machine, command, stdin, status)
        assert words in done.stdout + done.stderr, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def until(self, command: str) -> None:
        """Again and again until it succeeds: what it waits for is on its way."""
        self.called.add(command.split()[0])
        self.machine.wait_until_succeeds(f"crew {command}", 120)


@pytest.mark.skipif(not os.environ.get("SKIFF_TEST_COMMANDS"), reason="SKIFF_TEST_COMMANDS=1 asks for it")
@pytest.mark.timeout(3600)
def test_every_command(device: MakeDevice, tmp_path: Path) -> None:
    machine = device("virt/qemu", "engine/docker", "apps/crew")
    machine.start(memory=1024)
    machine.wait_for_ssh()
    machine.wait_for_engine_to_answer()
    machine.succeed(BOX, timeout=180)
    ask = Commands(machine)
    shop = settings_before_a_push(ask, tmp_path)
    what_was_set_counts(ask, shop)
    processes(ask)
    one_offs_and_jobs(ask)
    sources(ask, shop)
    names_and_ports(ask)
    certificates(ask, tmp_path)
    the_rest(ask)
    # A cluster takes more devices than this one: test_cluster.py.
    alone = [name for name in main.FAMILIES if name not in ("cluster", "secrets")]
    families = (importlib.import_module(f"skiff_device.crew.commands.{name}") for name in alone)
    assert {one.name for family in families for one in family.COMMANDS.commands} == ask.called
    assert machine.failed() == {}


def settings_before_a_push(ask: Commands, folder: Path) -> Repository:
    """All that can be said of an app that was never deployed."""
    ask("apps:create shop")
    ask("apps:exists shop")
    ask("apps:exists nothing", status=1)
    ask("config:set --no-restart --global PLACE=here")
    ask("config:set --no-restart shop COLOUR=red 'GREETING=good day'")
    ask("config:import --no-restart shop", stdin=b'{"LINES": "a\\nb", "GONE": "1", "WENT": "2"}')
    ask("config:unset --no-restart shop GONE WENT")
    ask("config:get shop GREETING", "good day\n")
    ask("config:show shop", "COLOUR")
    ask("config:keys shop", "LINES")
    assert json.loads(ask("config:export --format json --merged shop"))["PLACE"] == "here"
    ask("docker-options:add --no-restart shop build --build-arg WORD=built")
    ask("docker-options:add --no-restart shop deploy,run --tmpfs /scratch")
    ask("docker-options:report shop", "/scratch")
    ask("network:create inner")
    ask("network:exists inner")
    ask("network:list", "inner")
    ask("network:set --no-restart shop attach-post-create inner")
    ask("resource:limit --memory 64m --pids 50 --no-restart shop")
    ask("resource:report shop", "64")
    ask("storage:ensure-directory shop")
    ask("storage:mount --no-restart shop shop:/data")
    ask("storage:list shop", "/data")
    ask("storage:report shop", "shop")
    ask(f"domains:set shop {NAME}")
    ask("ports:set shop http:80:8000 http:8080:8000")
    ask("ports:list shop", "http:8080:  8000")
    ask("checks:set shop timeout 20")
    ask("builder:set shop time-limit 600")
    ask("builder-dockerfile:set shop target last")
    ask("builder:report shop", "600")
    ask("git:set shop deploy-branch trunk")
    ask("plugin:install marks", stdin=_tar({name: PLUGIN for name in hooks.TRIGGERS}))
    ask("plugin:list", "post-deploy")
    return Repository(folder / "shop", Dockerfile=_version(1), Procfile=PROCFILE, app__json=json.dumps(CRON))


def what_was_set_counts(ask: Commands, shop: Repository) -> None:
    """The first push sees it, down to the kernel's limits."""
    machine = ask.machine
    status, shown = shop.push(machine, "shop", "main")
    assert status != 0 and "only trunk" in shown, shown
    status, shown = shop.push(machine, "shop", "trunk")
    assert status == 0, shown
    assert _page(machine) == "built 1\n" == _page(machine, 8080)
    marks = machine.succeed(f"cat {MARKS}")
    assert marks.split("\n")[:4] == [f"{name} shop" for name in hooks.TRIGGERS[:4]], marks
    inside = (
        'echo "$COLOUR $GREETING $PLACE"; echo "$LINES"; grep -c " /scratch tmpfs" /proc/mounts; '
        "ls -d /data; ip -o -4 addr | grep -c eth"
    )
    shown = ask(f"enter shop web sh -c {shlex.quote(inside)}")
    assert shown.split("\n") == ["red good day here", "a", "b", "1", "/data", "2", ""]
    ask(f"enter shop web cat {LIMITS}", "67108864\n50\n")
    ask("network:info inner", "shop")
    ask("network:report shop", "inner")
    ask("ps:inspect shop", "67108864")
    ask("apps:report shop", "shop")
    ask("domains:report shop", NAME)
    ask("git:status shop", "which serves")
    ask("git:report shop", "trunk")


def processes(ask: Commands) -> None:
    """How many, on and off, checked or not."""
    ask("ps:scale shop worker=2")
    ask("ps:report shop", "worker.2")
    ask("logs -n 5 -p worker shop", "at work")
    ask("ps:set shop restart-policy always")
    ask("ps:stop shop")
    ask.machine.fail(f"wget -q -O - --header 'Host: {NAME}' http://127.0.0.1/")
    ask("ps:start shop")
    assert _page(ask.machine) == "built 1\n"
    ask("checks:run shop web", "web.1")
    ask("checks:skip shop worker")
    ask("checks:disable shop worker")
    ask("checks:report shop", "worker")
    ask("ps:restart shop", "stopped before the new one starts")
    ask("checks:enable shop worker")
    ask("ps:rebuild shop")
    ask("releases shop", "rebuild")
    ask("network:set --no-restart shop attach-post-create")
    ask("network:rebuild shop")
    ask.until("network:destroy inner")
    ask("resource:limit-clear --no-restart shop")
    ask("docker-options:remove --no-restart shop deploy --tmpfs /scratch")
    ask("docker-options:clear --no-restart shop run")
    ask("storage:unmount --no-restart shop shop:/data")
    ask("storage:mount shop shop:/data")
    ask(f"enter shop web cat {LIMITS}", "max\n1024\n")
    ask("enter shop web grep /scratch /proc/mounts", status=1)


def one_offs_and_jobs(ask: Commands) -> None:
    """Containers beside those that serve."""
    ask("run shop sh -c 'cat >/data/in; wc -c </data/in; exit 3'", "5\n", stdin=b"bytes", status=3)
    ask("run:detached shop sleep 1000")
    ask("run:list shop", "sleep 1000")
    ask("run:stop shop")
    assert "sleep" not in ask("run:list shop")
    (job,) = json.loads(ask("cron:list --json shop"))
    ask(f"cron:run shop {job['id']}", "ticked")
    ask(f"cron:suspend shop {job['id']}")
    ask("cron:report shop", "1")
    ask(f"cron:resume shop {job['id']}")
    ask("cron:set shop time-limit 60")
    ask("enter shop web cat /data/ticks", "tick\n")


def sources(ask: Commands, shop: Repository) -> None:
    """What is not pushed: an archive, an image of here and one that comes, a repository behind SSH."""
    machine = ask.machine
    shop.commit(Dockerfile=_version(2))
    archive = run(["git", "-C", str(shop.folder), "archive", "HEAD"]).stdout
    ask("git:from-archive shop", stdin=archive)
    assert _page(machine) == "built 2\n"
    number = machine.succeed("basename $(readlink /mnt/persist/skiff/crew/apps/shop/current)").strip()
    image = f"crew/shop:{number}"
    ask("rollback shop")
    assert _page(machine) == "built 1\n"
    ask(f"git:from-image shop {image}")
    assert _page(machine) == "built 2\n"
    machine.succeed(f"docker tag {image} one:two")
    saved = run(enter(machine, "docker save one:two", user="root"), input=b"", timeout=240).stdout
    machine.succeed("docker rmi one:two")
    ask("git:load-image shop one:two", stdin=saved)
    # The device's own repository, by its own key: dropbear's client, git and crew at the other end.
    ask("ssh-keys:add own --role read", stdin=ask("git:public-key").encode())
    ask("ssh-keys:list", "own")
    ask("apps:create twin")
    ask("builder-dockerfile:set twin target last")
    ask("git:sync --build twin ssh://crew@127.0.0.1/shop trunk")
    assert page(machine, "twin") == "usual 2\n"
    ask("ssh-keys:remove own")
    ask("git:sync twin ssh://crew@127.0.0.1/shop trunk", "cannot be fetched", status=1)


def names_and_ports(ask: Commands) -> None:
    """By which an app is reached."""
    machine = ask.machine
    ask("domains:add shop other.example.org")
    assert _page(machine, name="other.example.org") == _page(machine)
    ask("domains:remove shop other.example.org")
    ask("ports:add shop http:8081:8000")
    ask("ports:remove shop 8080")
    machine.fail("wget -q -O - http://127.0.0.1:8080/")
    ask("proxy:disable shop")
    machine.fail("wget -q -O - http://127.0.0.1:8081/")
    ask("proxy:enable shop")
    ask("proxy:set shop max-body 1k")
    ask("proxy:report shop", "1k")
    # Text, for busybox takes a NUL for the end of what is to be posted.
    machine.succeed("printf %04000d 0 >/tmp/big")
    big = f"wget -q -O - --post-file /tmp/big --header 'Host: {NAME}' http://127.0.0.1/ 2>&1"
    assert "413" in machine.execute(big).stdout
    ask("domains:clear shop")
    assert page(machine, "shop") == "built 2\n"
    ask("domains:disable shop")
    machine.succeed("wget -q -O - --header 'Host: any.example' http://127.0.0.1/")
    ask("domains:enable shop")
    ask("ports:clear shop")


def certificates(ask: Commands, folder: Path) -> None:
    """Made, given, and fetched from a real ACME server, which asks the router for the proof."""
    machine = ask.machine
    ask(f"domains:set shop {NAME}")
    ask(f"certs:generate shop {NAME}")
    ask("certs:report shop", NAME)
    words = "-x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=shop"
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    run(["openssl", "req", *words.split(), *files, "-addext", f"subjectAltName=DNS:{NAME}"])
    given = (folder / "crt").read_bytes() + (folder / "key").read_bytes()
    ask("certs:update shop", stdin=given)
    ask("certs:remove shop")
    ask("certs:add shop", stdin=given)
    ask("certs:remove shop")
    acme_server.needed()
    with tunnel(machine, 80) as router, closing(Authority(folder / "acme", folder, router)) as authority:
        # It is trusted as others are: by the device's own list.
        machine.succeed("cat >>/etc/ssl/certs/ca-certificates.crt", input=authority.certificate.read_bytes())
        directory = authority.directory.replace("localhost", AS_SEEN_BY_DEVICES)
        ask(f"letsencrypt:set --global server {directory}")
        ask("letsencrypt:enable shop")
        ask("letsencrypt:active shop")
        ask("letsencrypt:list", "shop  20")
        ask("certs:report shop", "Pebble")
        ask("letsencrypt:auto-renew --force shop")
        head = machine.execute(f"wget -S -O - --header 'Host: {NAME}' http://127.0.0.1/ 2>&1 | head -n 5")
        assert "301" in head.stdout
        ask("letsencrypt:disable shop")


def the_rest(ask: Commands) -> None:
    """Copies, locks, one file with all, room, and the end."""
    machine = ask.machine
    saved = run(enter(machine, "backup:export", "shop", user="crew"), input=b"", timeout=240).stdout
    ask.called.add("backup:export")
    ask("apps:rename twin pair")
    assert page(machine, "pair") == "usual 2\n"
    ask("apps:lock pair")
    ask("apps:destroy --force pair", "locked", status=1)
    ask("apps:unlock pair")
    ask("apps:clone pair third")
    assert page(machine, "third") == "usual 2\n"
    ask("config:clear third")
    ask("apps:core third")
    ask("apps:core --off third")
    ask("apps:set --cluster third", "add layer apps/cluster", status=1)
    ask("apps:destroy --force shop")
    assert "pre-delete shop" in machine.succeed(f"cat {MARKS}")
    machine.succeed("rm -r /mnt/persist/skiff/crew/storage/shop")
    ask("backup:import", stdin=saved)
    assert _page(machine) == "built 2\n"
    ask("apps:list", "pair\nshop\nthird\n")
    ask("cleanup:set --global keep-releases 2")
    ask("cleanup:report shop", "2")
    ask("cleanup", "are free")
    ask("plugin:disable marks")
    ask("plugin:enable marks")
    ask("plugin:trigger post-deploy shop")
    ask("plugin:uninstall marks")
    ask("events -n 5", "plug-in marks uninstalled")
    ask("help ps", "ps:scale")
    ask("version")


def _tar(files: dict[str, str]) -> bytes:
    """Programs in an archive."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o755
            archive.addfile(info, io.BytesIO(text.encode()))
    return data.getvalue()


def _version(number: int) -> str:
    return DOCKERFILE.replace("VERSION", str(number))


def _page(machine: Device, port: int = 80, name: str = NAME) -> str:
    return machine.succeed(f"wget -q -O - -T 20 --header 'Host: {name}' http://127.0.0.1:{port}/")
