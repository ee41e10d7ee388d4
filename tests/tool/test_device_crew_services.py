"""The services that only apps need: down while there is nothing to do, and never for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tool.device import Device

APPS = Path(__file__).parents[2] / "layers/apps"


@pytest.mark.parametrize(
    ("script", "file"),
    [
        ("crew/services/crew-cron/run", "crontab"),
        ("router/services/crew-router/run", "router/nginx.conf"),
    ],
)
@pytest.mark.parametrize("written", [False, True])
def test_what_comes_while_it_goes_down_brings_it_up(
    device: Device, script: str, file: str, written: bool
) -> None:
    target = device.root / "run/skiff/crew" / file
    target.parent.mkdir(parents=True)
    name = script.split("/")[2]
    come = f'[ $1 != down ] || echo work >"{target}"' if written else ":"
    fakes = f"cd {device.root}; sv() {{ echo $1 $2; {come}; }}\n"
    lib = '. "$SKIFF_ROOT/usr/lib/skiff/lib.sh"\n'
    text = (APPS / script).read_text().replace(". /usr/lib/skiff/lib.sh", lib + fakes)
    done = device.raw(text)
    assert done.stdout.splitlines() == [f"down {name}"] + [f"up {name}"] * written
