"""Names of apps on the cluster, for the routers of all managers: one tells its apps' sites, others read them.

They are configs of Swarm, certificate and all, which managers alone can read. What others have told is kept
in RAM, where the router finds it; the service crew-sites brings it up to date whenever configs change.
"""

from __future__ import annotations

import base64
import json
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import names, router, service_spec, store
from skiff_device.crew.engine_api import Api, Refused, records
from skiff_device.crew.engine_swarm import Swarm, is_there, patiently
from skiff_device.crew.nginx_conf import Site
from skiff_device.crew.paths import Paths

# Labels: the app that a config has the sites of, and the device that told them.
_APP, _DEVICE = "crew.site.app", "crew.site.device"
# In seconds. A manager that is made a worker is told of nothing any more: it looks by itself.
_LOOK = 300.0

# An app's sites as JSON has them; `tls` is the certificate with its key.
Told = list[dict[str, Any]]


def follow(paths: Paths) -> int:
    """Bring names up to date, again and again, while this device is a manager. Raises DeviceError."""
    query = {"filters": {"type": ["config"], "scope": ["swarm"]}}
    while True:
        # Listened to first, so that nothing is missed between.
        with Api(paths).open("GET", "/events", query, timeout=_LOOK) as answer, suppress(TimeoutError):
            if not sync(paths):
                return 0
            for _ in records(answer):
                if not sync(paths):
                    return 0


def sync(paths: Paths) -> bool:
    """Tell this device's sites, take in those of others; False when it is no manager. Raises DeviceError."""
    swarm = Swarm(paths)
    state = swarm.state()
    if not state.get("ControlAvailable"):
        _take_in(paths, {})
        return False
    here = str(state["NodeID"])
    listed = patiently(lambda: swarm.objects("configs", _APP))
    own = _own(paths)
    _keep(swarm, here, listed, own)
    others = _without_lost(swarm, [one for one in listed if not _is_of(one, here)], own)
    others.sort(key=lambda one: str(one["CreatedAt"]))
    # Of an app that was pushed to two managers the last one counts.
    _take_in(paths, {one["Spec"]["Labels"][_APP]: json.loads(_data(one)) for one in others})
    return True


def tell(paths: Paths) -> None:
    """Tell this device's sites at once; when managers cannot be asked now, `follow` does it later."""
    swarm = Swarm(paths)
    # A manager without a leader may take too long to say so.
    with suppress(DeviceError, TimeoutError):
        state = swarm.state()
        if state.get("ControlAvailable"):
            _keep(swarm, str(state["NodeID"]), swarm.objects("configs", _APP), _own(paths))


def _own(paths: Paths) -> dict[str, bytes]:
    """Sites of the apps that are this device's, and run on the cluster."""
    found: dict[str, Told] = {}
    for site in router.own_sites(paths)[0]:
        if site.clustered:
            tls = Path(site.tls).read_text() if site.tls else ""
            # Proofs for an authority are where the certificate is asked for.
            told = site._replace(tls=tls, proofs=False, default=False)
            found.setdefault(site.app, []).append(told._asdict())
    return {app: json.dumps(sites, sort_keys=True).encode() for app, sites in found.items()}


def _keep(swarm: Swarm, here: str, listed: list[dict[str, Any]], wanted: dict[str, bytes]) -> None:
    """Have the cluster keep these sites of ours and no others: new ones come before old ones go."""
    mine = [one for one in listed if _is_of(one, here)]
    kept = [one for one in mine if _data(one) == wanted.get(one["Spec"]["Labels"][_APP])]
    for app in wanted.keys() - {one["Spec"]["Labels"][_APP] for one in kept}:
        name = f"crew-site.{app}.{time.time_ns() // 1_000_000}"
        swarm.create_object("configs", name, {_APP: app, _DEVICE: here}, wanted[app])
    for one in mine:
        if one not in kept:
            _forget(swarm, one)


def _forget(swarm: Swarm, found: dict[str, Any]) -> None:
    # Another command may have been quicker.
    with suppress(Refused):
        swarm.remove_object("configs", found)


def _without_lost(swarm: Swarm, others: list[dict[str, Any]], own: dict[str, bytes]) -> list[dict[str, Any]]:
    """Forget what lost managers told of apps that have ended, or are this device's now; what is left.

    An app of theirs that runs is answered still. Managers that are there look after their own.
    """
    nodes = {str(node["ID"]): node for node in patiently(swarm.nodes)} if others else {}
    left = []
    for one in others:
        app, node = one["Spec"]["Labels"][_APP], nodes.get(str(one["Spec"]["Labels"].get(_DEVICE)))
        lost = node is None or not is_there(node) or "ManagerStatus" not in node
        if lost and ((node is None and app in own) or not _runs(swarm, app)):
            _forget(swarm, one)
        else:
            left.append(one)
    return left


def _runs(swarm: Swarm, app: str) -> bool:
    return bool(patiently(lambda: swarm.labelled(f"{service_spec.APP}={app}")))


def _is_of(found: dict[str, Any], here: str) -> bool:
    return str(found["Spec"]["Labels"].get(_DEVICE)) == here


def _data(found: dict[str, Any]) -> bytes:
    return base64.b64decode(found["Spec"].get("Data") or "")


def _take_in(paths: Paths, told: dict[str, Told]) -> None:
    """Keep what others told, and bring the router to it where that is new."""
    folder = _folder(paths)
    text = json.dumps(told, sort_keys=True)
    file = folder / "sites.json"
    if (file.read_text() if file.exists() else "{}") == text:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for app, sites in told.items():
        certificates = [site["tls"] for site in sites if site["tls"]]
        if certificates:
            write_atomically(_certificate(paths, app), certificates[0], 0o600)
    write_atomically(file, text, 0o600)
    router.apply(paths)
    for old in folder.glob("*.pem"):
        if old.stem not in told:
            old.unlink()
    if not told:
        shutil.rmtree(folder)


def of_others(paths: Paths) -> list[Site]:
    """Sites of apps that are other managers', but not of names that an app here has."""
    try:
        told: dict[str, Told] = json.loads((_folder(paths) / "sites.json").read_text())
    except OSError:
        return []
    found = []
    for app in sorted(told.keys() - set(store.apps(paths))):
        for site in told[app]:
            # A manager with another version of Skiff may know less of a site, or more.
            known = {key: value for key, value in site.items() if key in Site._fields}
            known["servers"], known["names"] = tuple(site["servers"]), tuple(site["names"])
            found.append(Site(**{**known, "tls": str(_certificate(paths, app)) if site["tls"] else ""}))
    return found


def _folder(paths: Paths) -> Path:
    return paths.run / "sites"


def _certificate(paths: Paths, app: str) -> Path:
    return _folder(paths) / f"{names.app(app)}.pem"
