"""Files that a cluster brings to an app's containers: secrets, which they alone can read, and configs.

Swarm keeps what they hold and never changes it: a new value is a new object, named by its date. Which ones
an app has is in its settings (section `files`) and in each release, which so keeps those of its time.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import cluster, store
from skiff_device.crew import release as releases
from skiff_device.crew.engine_api import Refused
from skiff_device.crew.engine_swarm import Swarm
from skiff_device.crew.paths import Paths
from skiff_device.crew.service_spec import APP, is_clustered

# As Swarm has them, and where a file is when nobody says.
KINDS = {"secrets": "/run/secrets/", "configs": "/"}
# In bytes; Swarm's own bound of a secret.
LONGEST = 500 << 10
# In characters; Swarm's own bound of a name.
_LONGEST_NAME = 64

# Of each kind, by name: `object` in Swarm, `path` in containers, `set` (when).
Files = dict[str, dict[str, dict[str, str]]]


def on_cluster(paths: Paths, app: str) -> Swarm:
    """The engine, for an app of the cluster. Raises DeviceError."""
    if not is_clustered(paths, app):
        raise DeviceError(
            f"{app} runs on this device alone, and secrets and configs are the cluster's",
            f"apps:set --cluster {app}; on one device: config:set, or a file by storage:mount",
        )
    return cluster.manager(paths)


def keep(swarm: Swarm, app: str, kind: str, name: str, path: str, data: bytes) -> dict[str, str]:
    """Have Swarm keep what a file holds; what crew remembers of it. Raises DeviceError."""
    if not data or len(data) > LONGEST:
        many = f"more than {LONGEST >> 10} KiB" if data else "nothing"
        raise DeviceError(
            f"{many} came through standard input", f"ssh crew@DEVICE {kind}:set {app} {name} <FILE"
        )
    now = time.time()
    # With thousandths: two of one second must not have the same.
    made = f"{app}.{name}.{time.strftime('%y%m%d%H%M%S', time.gmtime(now))}{int(now % 1 * 1000):03}"
    if len(made) > _LONGEST_NAME:
        raise DeviceError(f"{name}: too long a name beside that of {app}", "choose a shorter one")
    swarm.create_object(kind, made, {APP: app}, data)
    path = path or KINDS[kind] + name
    return {"object": made, "path": path, "set": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))}


def parts(swarm: Swarm, app: str, files: Files) -> dict[str, Any]:
    """What a service is told of its files. Raises DeviceError for one that the cluster has not."""
    found = {}
    for kind, named in files.items():
        one = kind.removesuffix("s").capitalize()
        there = {each["Spec"]["Name"]: each["ID"] for each in swarm.objects(kind, f"{APP}={app}")}
        for name, file in named.items():
            if file["object"] not in there:
                raise DeviceError(
                    f"the cluster has not what {name} of {app} held", f"{kind}:set {app} {name} <FILE"
                )
        found[f"{one}s"] = [
            {
                f"{one}ID": there[file["object"]], f"{one}Name": file["object"],
                "File": {"Name": file["path"], "UID": "0", "GID": "0", "Mode": 0o444},
            }
            for _, file in sorted(named.items())
        ]  # fmt: skip
    return found


def sweep(paths: Paths, app: str, gone: bool = False) -> None:
    """Have the cluster forget what neither an app nor a release of it has any more; with gone, all of it.

    What cannot be forgotten now is at the next deploy.
    """

    def forget(section: Files) -> None:
        swarm = cluster.manager(paths)
        kept = [] if gone else [section, *(one.files for one in releases.kept(paths, app))]
        wanted = {file["object"] for files in kept for named in files.values() for file in named.values()}
        for kind in KINDS:
            for found in swarm.objects(kind, f"{APP}={app}"):
                if found["Spec"]["Name"] not in wanted:
                    # A service that is just ending may have it still.
                    with suppress(Refused):
                        swarm.remove_object(kind, found)

    with suppress(DeviceError):
        # Under the settings' lock: one that is just being made is in no settings yet.
        store.change(paths, app, "files", forget)


def hand_on(paths: Paths, app: str, name: str) -> None:
    """Have an app's files be those of the name that it has got."""
    swarm = cluster.manager(paths)
    for kind in KINDS:
        for found in swarm.objects(kind, f"{APP}={app}"):
            swarm.label_object(kind, found, {APP: name})
