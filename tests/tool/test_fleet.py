"""`skiff fleet`: fifty devices, played by a stand-in for ssh that runs their programs here."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from skiff.__main__ import main
from skiff.cli import fleet_push
from skiff.fleet import table
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.machine import push as update
from skiff.machine.push import Done, Wish
from skiff.machine.remote import Remote
from skiff.model.fleet import Host, Outcome
from tests.tool.ssh_server import missing, ssh_servers

# Devices are the folders below $FLEET. One with a file `off` is out of reach.
SSH = """
for word; do case $word in *@*) host=$word ;; esac; done
device=$FLEET/${host#*@}
[ -d "$device" ] || { echo "Could not resolve hostname" >&2; exit 255; }
echo "$*" >>"$device/ssh.log"
[ ! -e "$device/off" ] || { echo "No route to host" >&2; exit 255; }
while [ "$1" != -- ]; do shift; done
shift
export DEVICE="$device"
case $* in
'cat /proc/sys/kernel/random/boot_id') exec cat "$device/boot_id" ;;
'reboot -n') echo again >>"$device/boot_id"; echo "${host#*@}" >>"$FLEET/rebooted"; exit 0 ;;
esac
exec sh -c "$*"
"""
STATUS = 'cat "$DEVICE/status"'


class Fleet:
    """Folders that are devices, and an inventory of them."""

    def __init__(self, root: Path, count: int) -> None:
        self.root = root
        self.names = [f"device-{number:02}" for number in range(count)]
        for name in self.names:
            (root / name).mkdir(parents=True)
            (root / name / "boot_id").write_text("first\n")
            self.status(name, "ok", "all is well")
        self.inventory = root / "hosts.toml"
        self.inventory.write_text(
            f"hosts = ['device-[00:{count - 1}]']\n[groups.few]\nhosts = ['device-[00:02]']\n"
        )

    def status(self, name: str, state: str, text: str) -> None:
        unit = {"state": state, "text": text, "hint": "look"}
        (self.root / name / "status").write_text(json.dumps({"ok": state != "fail", "units": {"net": unit}}))

    def turn_off(self, *names: str) -> None:
        for name in names:
            (self.root / name / "off").touch()

    def asked(self) -> list[str]:
        return [name for name in self.names if (self.root / name / "ssh.log").exists()]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    made = Fleet(tmp_path / "fleet", 50)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in {"ssh": SSH, "skiff-status": STATUS}.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("FLEET", str(made.root))
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("SKIFF_INVENTORY", str(made.inventory))
    return made


Capture = pytest.CaptureFixture[str]


def test_a_program_on_fifty_devices(fleet: Fleet, capsys: Capture) -> None:
    fleet.turn_off("device-07", "device-33")
    (fleet.root / "device-20/odd").touch()
    line = 'echo "$SKIFF_HOST: $1"; [ ! -e "$DEVICE/odd" ] || { echo no >&2; exit 3; }'
    assert main(["fleet", "run", "--json", "--", "sh", "-c", line, "sh", "a  'b"]) == 2
    told = json.loads(capsys.readouterr().out)["devices"]
    assert list(told) == fleet.names
    failed = {name: one["text"] for name, one in told.items() if one["state"] != "ok"}
    out = "not reached over SSH: No route to host"
    assert failed == {"device-07": out, "device-20": "status 3: no", "device-33": out}
    assert told["device-20"]["value"] == {"status": 3, "stdout": "device-20: a  'b\n", "stderr": "no"}
    assert told["device-49"]["value"]["stdout"] == "device-49: a  'b\n"


def test_lines_carry_the_name_of_their_device(fleet: Fleet, capsys: Capture) -> None:
    fleet.turn_off("device-01")
    assert main(["fleet", "run", "--on", "few", "--", "printf", "a\\nb\\n"]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "device-00  a",
        "device-00  b",
        "device-01  (failed: not reached over SSH: No route to host)",
        "device-02  a",
        "device-02  b",
    ]
    assert "1 of 3 devices failed: device-01" in said.err
    assert fleet.asked() == ["device-00", "device-01", "device-02"]


def test_failures_end_a_run_within_a_wave(fleet: Fleet, capsys: Capture) -> None:
    fleet.turn_off("device-05", "device-12")
    words = [
        "fleet",
        "run",
        "-q",
        "--json",
        "--wave",
        "1,9,50%",
        "--max-failures",
        "2",
        "-j",
        "1",
        "--",
        "true",
    ]
    assert main(words) == 2
    told = json.loads(capsys.readouterr().out)["devices"]
    assert fleet.asked() == fleet.names[:13]
    assert [told[f"device-{number:02}"]["wave"] for number in (0, 1, 9, 10, 12, 13)] == [1, 2, 2, 3, 3, 0]
    assert {one["state"] for name, one in told.items() if name > "device-12"} == {"untried"}


def test_how_all_are(fleet: Fleet, capsys: Capture) -> None:
    fleet.status("device-02", "fail", "no address")
    fleet.status("device-01", "warn", "only one of two")
    assert main(["fleet", "status", "-q", "--on", "few"]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "device-00  ok",
        "device-01  ok         net: only one of two",
        "device-02  failed     net: no address",
    ]


def test_restarts_one_first_and_stops_at_the_first_failure(fleet: Fleet, capsys: Capture) -> None:
    fleet.turn_off("device-01")
    assert main(["fleet", "reboot", "-q", "-j", "1", "--on", "few", "--patience", "20"]) == 2
    assert (fleet.root / "rebooted").read_text() == "device-00\n"
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("device-00  ok         answered again after")
    assert out[2] == "device-02  untried"


def test_the_list_asks_nobody(fleet: Fleet, capsys: Capture) -> None:
    assert main(["fleet", "list", "--on", "device-02"]) == 0
    assert capsys.readouterr().out == "device-02  root@device-02  few\n"
    assert fleet.asked() == []
    # An order of work means nothing here, and is not taken in silence.
    assert main(["fleet", "list", "--wave", "1"]) == 2
    assert "No such option" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e9", "-1"])
@pytest.mark.parametrize("words", [["run", "--timeout", "X", "--", "true"], ["reboot", "--patience", "X"]])
def test_a_time_that_nobody_can_wait(fleet: Fleet, words: list[str], seconds: str, capsys: Capture) -> None:
    assert main(["fleet", *(seconds if word == "X" else word for word in words)]) == 2
    assert f"Invalid value for '{words[1]}': " in capsys.readouterr().err
    assert fleet.asked() == []


def test_a_program_that_does_not_end(fleet: Fleet, capsys: Capture) -> None:
    assert main(["fleet", "run", "-q", "--on", "device-00", "--timeout", "0.1", "--", "sleep", "60"]) == 2
    assert capsys.readouterr().out == "device-00  (failed: no end after 0.1 s)\n"


def test_an_update_of_all_needs_an_inventory(tmp_path: Path, capsys: Capture) -> None:
    assert main(["push", "--all", str(tmp_path / "none.toml")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["push", "--wave", "1", "root@10.0.0.5"]) == 2
    assert "for many devices" in capsys.readouterr().err


def test_the_live_table_shows_first_what_one_wants_to_see() -> None:
    hosts = [Host(f"device-{number:02}", "x") for number in range(20)]
    live = table.LiveTable(hosts)
    live.begin(hosts[18])
    live.detail(hosts[18], "send")
    live.begin(hosts[19])
    live.end(hosts[19], Outcome("failed", "it is [off]", seconds=2.0))
    live.begin(hosts[17])
    live.end(hosts[17], Outcome("ok", "done", seconds=1.0))
    live.notice("one more Ctrl-C")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, no_color=True, width=80, height=10, highlight=False)
    console.print(live)
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    assert len(lines) == 8
    assert lines[0].split() == ["device-19", "failed", "2.0", "s", "it", "is", "[off]"]
    assert lines[1].startswith("device-18  at work") and lines[1].endswith("send")
    assert "1 ok, 1 failed, 1 at work, 17 waiting of 20; 14 are not shown" in screen.getvalue()
    assert "one more Ctrl-C" in lines[-1]


def test_an_update_in_waves_with_the_image_of_each_one_s_workspace(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    built: list[str] = []
    pushed: dict[str, str] = {}

    @contextmanager
    def slot(source: fleet_push.Source, ui: Ui) -> Iterator[Path]:
        built.append(source.workspace.name)
        yield tmp_path / source.workspace.name

    def push(remote: Remote, folder: Path, wish: Wish, ui: Ui) -> Done:
        pushed[remote.host] = folder.name
        if remote.host == "root@device-05":
            raise UserError("root@device-05: runs slot a again")
        return Done("b", 2.0, 100, 10) if remote.host != "root@device-04" else Done("a", 0, already=True)

    monkeypatch.setattr(fleet_push.Source, "slot", slot)
    monkeypatch.setattr(update, "push", push)
    with fleet.inventory.open("a") as file:
        file.write("workspace = 'kiosk'\n")
    assert main(["push", "--all", str(fleet.inventory), "-q", "--json", "-j", "1", "--wave", "1,4"]) == 2
    told = json.loads(capsys.readouterr().out)["devices"]
    assert built == ["kiosk", "default"]
    assert pushed == {f"root@device-{n:02}": "kiosk" if n < 3 else "default" for n in range(6)}
    assert told["device-03"]["value"]["slot"] == "b"
    assert (
        told["device-04"]["text"] == "slot a runs this image already"
        and told["device-05"]["text"] == "runs slot a again"
    )
    assert [told[f"device-{n:02}"]["wave"] for n in range(7)] == [1, 2, 2, 2, 2, 3, 0]
    built.clear()
    assert main(["push", "--all", str(fleet.inventory), "--wave", "1,x"]) == 2
    assert "wave: 'x'" in capsys.readouterr().err and built == []


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_over_real_ssh(tmp_path: Path, capsys: Capture) -> None:
    with ssh_servers(tmp_path / "servers", 7) as servers:
        # The eighth does not listen.
        inventory = str(servers.inventory(8))
        words = [
            "fleet",
            "run",
            "-q",
            "--json",
            "-I",
            inventory,
            "--",
            "printf",
            "%s|",
            "$SKIFF_HOST",
            "a 'b",
        ]
        assert main(words) == 2
    told = json.loads(capsys.readouterr().out)["devices"]
    assert [one["state"] for one in told.values()] == ["ok"] * 7 + ["failed"]
    assert {one["value"]["stdout"] for name, one in told.items() if name != "127.0.0.8"} == {
        "$SKIFF_HOST|a 'b|"
    }
    assert "Connection refused" in told["127.0.0.8"]["text"]


class Announced:
    """Plays the library zeroconf on a network with one device and one printer."""

    class InterfaceChoice:
        All = "all"

    def __init__(self, interfaces: object = None) -> None: ...

    def __enter__(self) -> Announced:
        return self

    def __exit__(self, *_: object) -> None: ...

    def get_service_info(self, kind: str, name: str, timeout: int) -> object:
        text = {b"skiff": b"0.1.0"} if name.startswith("pump") else {}
        server = name.replace(kind, "local.")
        return SimpleNamespace(
            server=server, port=22, properties=text, parsed_scoped_addresses=lambda: ["10.0.0.7"]
        )


def browse(link: object, kind: str, listener: Any) -> None:
    # The library takes one that is empty, as a dict may be, for none.
    assert listener
    for name in ("pump", "gone", "printer"):
        listener.add_service(link, kind, f"{name}.{kind}")
    listener.remove_service(link, kind, f"gone.{kind}")


def test_devices_that_announce_themselves(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(
        Zeroconf=Announced, ServiceBrowser=browse, InterfaceChoice=Announced.InterfaceChoice
    )
    monkeypatch.setitem(sys.modules, "zeroconf", library)
    assert main(["discover", "--seconds", "0"]) == 0
    assert capsys.readouterr().out.split() == ["pump.local", "10.0.0.7", "Skiff", "0.1.0"]
    assert main(["discover", "--all", "--toml", "--seconds", "0"]) == 0
    assert capsys.readouterr().out == 'hosts = [\n    "printer.local",\n    "pump.local",\n]\n'
    # Anybody there may say anything: what is no host's name is not taken over, nor what a terminal obeys.
    for server in (
        'a"]\n[defaults]\nssh_options=["ProxyCommand=id',
        "-oProxyCommand=id",
        "\x1b[2J",
        "pump.local",
    ):
        told = SimpleNamespace(
            server=server, port=22, properties={b"skiff": b"1\x1b[2J"}, parsed_scoped_addresses=list
        )
        monkeypatch.setattr(Announced, "get_service_info", lambda *words, told=told, **more: told)
        assert main(["discover", "--toml", "--seconds", "0"]) == 0
        names = '\n    "pump.local",' * 2 if server == "pump.local" else ""
        assert capsys.readouterr().out == f"hosts = [{names}\n]\n"
        assert main(["discover", "--seconds", "0"]) == 0
        assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr(Announced, "get_service_info", lambda *words, **more: None)
    assert main(["discover", "--seconds", "0"]) == 0
    none = capsys.readouterr()
    assert none.out == "" and "no device announced itself within 0 s; --seconds N listens longer" in none.err
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    assert main(["discover"]) == 2
    said = capsys.readouterr().err
    assert "zeroconf is not installed" in said
    # The Python that this tool runs with, not another one.
    assert f"hint: {sys.executable} -m pip install zeroconf" in said
