"""A container image for tests, made on the device of its own busybox: no registry is asked."""

from __future__ import annotations

from tests.vm.driver import Device

IMAGE = "test-busybox"

_MAKE = f"""
set -e
folder=$(mktemp -d)
mkdir "$folder/bin" "$folder/data"
cp /usr/bin/busybox "$folder/bin/busybox"
for name in sh cat echo sleep sync date tail sha256sum; do ln -s busybox "$folder/bin/$name"; done
tar -C "$folder" -cf - . | docker import - {IMAGE}
rm -r "$folder"
"""

# A container with limits: it serves a page at its address on the bridge, and is there again after a start.
SERVE = (
    f"docker run -d --name web --memory 64m --pids-limit 50 --restart=always {IMAGE} "
    "sh -c 'echo small >/index.html; exec busybox httpd -f -p 80 -h /'"
)
ASK = """wget -qO- "http://$(docker inspect -f '{{.NetworkSettings.IPAddress}}' web)/" | grep small"""


def make_image(machine: Device) -> None:
    """Import the image into the device's engine, which must be up."""
    machine.succeed(_MAKE, timeout=180)


def running(machine: Device, name: str, timeout: float = 400) -> None:
    """Wait until a container runs that was not asked for since boot."""
    machine.wait_for_engine_to_answer(timeout)
    machine.wait_until_succeeds(
        f"test \"$(docker inspect -f '{{{{.State.Running}}}}' {name})\" = true", timeout
    )
