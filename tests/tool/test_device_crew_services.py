"""The services that only apps need: down while there is nothing to do, and never for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tool.device import Device

APPS = Path(__file__).parents[2] / "layers/apps"


@pytest.mark.parametrize(
    ("script", "file"),
    [
        ("crew/services/crew-cron/run", "run/skiff/crew/crontab"),
        ("router/services/crew-router/run", "run/skiff/crew/router/nginx.conf"),
        ("cluster/services/crew-sites/run", "mnt/persist/skiff/crew/cluster/interface"),
    ],
)
@pytest.mark.parametrize("written", [False, True])
def test_what_comes_while_it_goes_down_brings_it_up(
    device: Device, script: str, file: str, written: bool
) -> None:
    target = device.root / file
    target.parent.mkdir(parents=True)
    (device.root / "run/skiff/persist").touch()
    name = script.split("/")[2]
    come = f'[ $1 != down ] || echo work >"{target}"' if written else ":"
    fakes = f"cd {device.root}; sv() {{ echo $1 $2; {come}; }}\n"
    done = device.raw(_text(script, fakes))
    assert done.stdout.splitlines() == [f"down {name}"] + [f"up {name}"] * written


def _text(script: str, fakes: str) -> str:
    """A service's script, with functions in place of programs."""
    lib = '. "$SKIFF_ROOT/usr/lib/skiff/lib.sh"\n'
    return (APPS / script).read_text().replace(". /usr/lib/skiff/lib.sh", lib + fakes)


# What the kernel lists (proc(5)): a program that listens (0A) on 2377, and a connection (01) to a manager.
LISTENS = (
    "   1: 00000000000000000000000000000000:0949 00000000000000000000000000000000:0000 0A 00000000:00000000"
)
TALKS = "   3: 0A4D0002:9F1A 0A4D0001:0949 01 00000000:00000000"


@pytest.mark.parametrize(("first", "waits"), [("", 1), (TALKS, 1), (LISTENS, 0)])
def test_only_managers_ask_for_names(device: Device, first: str, waits: int) -> None:
    interface = device.root / "mnt/persist/skiff/crew/cluster/interface"
    interface.parent.mkdir(parents=True)
    interface.write_text("eth1\n")
    (device.root / "run/skiff/persist").touch()
    listed = device.root / "proc/net/tcp6"
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text(f"{first}\n")
    later = f'pause() {{ echo waits; echo "{LISTENS}" >"{listed}"; }}\n'
    fakes = f"cd {device.root}; crew() {{ echo crew $1; }}\n{later}"
    script = _text("cluster/services/crew-sites/run", fakes).replace("exec crew", "crew")
    assert device.raw(script).stdout.splitlines() == ["waits"] * waits + ["crew follow-sites"]


def test_names_of_a_cluster_that_was_left_are_forgotten(device: Device) -> None:
    (device.root / "run/skiff/crew/sites").mkdir(parents=True)
    (device.root / "run/skiff/persist").touch()
    fakes = f"cd {device.root}; crew() {{ echo crew $1; }}; sv() {{ echo sv $1 $2; }}\n"
    done = device.raw(_text("cluster/services/crew-sites/run", fakes))
    assert done.stdout.splitlines() == ["crew follow-sites", "sv down crew-sites"]
