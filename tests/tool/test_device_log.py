"""The copy of the system log on persist: none of its programs outlives the service."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.tool.device import Device

RUN = Path(__file__).parents[2] / "layers/base/services/keep-log/run"
# Does not end by TERM, as one that waits for a disk that is gone.
STUCK = "trap '' TERM; echo kept; cat >/dev/null"


def test_a_keeper_whose_disk_is_gone_ends_with_the_service(device: Device) -> None:
    device.put("run/skiff/persist", "vda1\n")
    device.put("run/log/messages", "a line\n")
    script = RUN.read_text().replace(". /usr/lib", f". {device.root}/usr/lib").replace("pause 1", "pause 0.1")
    for name in ("tail", "svlogd"):
        script = script.replace(f"\n{name} ", f"\nfake_{name} ")
    fakes = f'fake_tail() {{ echo $$; exec sleep 60; }}\nfake_svlogd() {{ exec sh -c "{STUCK}"; }}\n'
    service = subprocess.Popen(
        [device.busybox, "sh", "-c", fakes + script],
        env={"SKIFF_ROOT": str(device.root), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert service.stdout is not None
    assert service.stdout.readline() == "kept\n"
    service.terminate()
    # At the end of the pipe all that held it have ended.
    assert service.communicate(timeout=30)[0] == ""
    assert device.read("mnt/persist/skiff/log/config") == "s262144\nn4\n"
