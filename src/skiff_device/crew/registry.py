"""The cluster's own registry: a service on one device, which each device reaches at one local address.

Its image is made of the program docker-registry (layer apps/registry) and of the libraries that this loads.
"""

from __future__ import annotations

import io
import re
import tarfile
import time
import zlib
from pathlib import Path
from typing import Any

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.crew import cluster
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths

SERVICE = "crew-registry"
# Docker trusts 127.0.0.1 without TLS, and the cluster leads from there to where the registry is. The firewall
# of apps/cluster keeps all others out.
_PORT = 7947
ADDRESS = f"127.0.0.1:{_PORT}"
# Nothing answers there, so that nobody else's image of this name is ever fetched.
_IMAGE = "127.0.0.1:1/crew-registry"
_PROGRAM = "/usr/bin/docker-registry"
# In seconds.
_LONGEST = 120.0
_PAUSE = 0.2
_CONFIG = """version: 0.1
storage:
  filesystem:
    rootdirectory: /data
  delete:
    enabled: true
http:
  addr: :5000
"""
# A line of what the dynamic loader lists: `libc.so.6 => /usr/lib/…/libc.so.6 (0x…)`, or the loader itself.
_LOADED = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)


def make_image(engine: Engine, paths: Paths) -> str:
    """Make the image of the registry's program, when it is not there; its name. Raises DeviceError."""
    program = paths.root / _PROGRAM.lstrip("/")
    if not program.exists():
        raise DeviceError("this image has no registry", "add layer apps/registry")
    # Another one after an update of the system.
    name = f"{_IMAGE}:{zlib.crc32(program.read_bytes()):08x}"
    if engine.image(name) is not None:
        return name
    loader = next(Path("/").glob("lib*/ld-linux*.so*"), None)
    listed = run.capture([str(loader), "--list", str(program)]) if loader else None
    libraries = _LOADED.findall(listed.out.decode()) if listed else []
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in (str(program), *libraries):
            tar.add(Path(path).resolve(), _PROGRAM if path == str(program) else path)
        config = tarfile.TarInfo("config.yml")
        config.size = len(_CONFIG)
        tar.addfile(config, io.BytesIO(_CONFIG.encode()))
    packed.seek(0)
    engine.import_tar(packed, name)
    return name


def spec(paths: Paths, node: str, image: str) -> dict[str, Any]:
    """The service, on the device whose disk has the data."""
    folder = {"Type": "bind", "Source": str(paths.crew / "registry"), "Target": "/data"}
    port = {"Protocol": "tcp", "TargetPort": 5000, "PublishedPort": _PORT, "PublishMode": "ingress"}
    return {
        "Name": SERVICE,
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": image, "Command": [_PROGRAM, "serve", "/config.yml"], "Mounts": [folder],
            },
            "Placement": {"Constraints": [f"node.id=={node}"]},
            "RestartPolicy": {"Condition": "any", "Delay": 1_000_000_000},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Ports": [port]},
    }  # fmt: skip


def start(paths: Paths) -> None:
    """Have the registry run on this device, which is a manager. Raises DeviceError."""
    swarm = cluster.manager(paths)
    image = make_image(Engine(paths), paths)
    (paths.crew / "registry").mkdir(mode=0o700, exist_ok=True)
    wanted = spec(paths, str(swarm.state()["NodeID"]), image)
    found = swarm.service(SERVICE)
    if found is None:
        swarm.create_service(wanted)
    else:
        swarm.update_service(found, wanted)
    end = time.monotonic() + _LONGEST
    while not any(task["Status"]["State"] == "running" for task in swarm.tasks(SERVICE)):
        if time.monotonic() > end:
            said = [str(task["Status"].get("Err") or "") for task in swarm.tasks(SERVICE)]
            raise DeviceError(
                "the registry does not come up", next(filter(None, said), "less /run/log/messages")
            )
        time.sleep(_PAUSE)


def stop(paths: Paths) -> None:
    """End the registry; its data stays. Raises DeviceError when there is none."""
    swarm = cluster.manager(paths)
    if swarm.service(SERVICE) is None:
        raise DeviceError("this cluster has no registry", "cluster:registry")
    swarm.remove_service(SERVICE)
