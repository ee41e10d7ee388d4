"""What `status` shows: containers, images, users, what is kept aside; as values for text or JSON."""

from __future__ import annotations

from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.core import accounts, desired, observe, plan, reconcile, state
from skiff_device.core.paths import Paths


def collect(paths: Paths) -> dict[str, Any]:
    """Everything, also when the engine does not answer: then with what was last written."""
    result: dict[str, Any] = {"error": "", "containers": {}, "images": {}, "users": {}, "aside": []}
    try:
        loaded = reconcile.load(paths)
    except DeviceError as error:
        return {**result, "error": error.message}
    if loaded.error is not None:
        result["error"] = loaded.error.message
    wanted = desired.wanted(loaded.config, paths)
    try:
        seen = observe.observe(wanted, paths)
    except DeviceError as error:
        result["error"] = result["error"] or error.message
        seen = observe.Observed()
    for name, want in wanted.items():
        grade, text, hint = state.container_line(paths, name)
        found = seen.containers.get(name)
        there = seen.images.get(want.source.image.name)
        result["containers"][name] = {
            "state": found.state if found else "",
            "report": grade,
            "text": text,
            "hint": hint,
            "id": found.id if found else "",
            "image": want.source.image.name,
            # The image was made anew since; `apply --renew` takes it.
            "image_is_newer": bool(found and there and found.image_id and found.image_id != there.id),
        }
        result["images"][want.source.image.name] = {
            "there": there is not None,
            "id": there.id if there else "",
            "built": bool(there and there.source),
        }
    passwd = accounts.read_passwd(paths)
    for name, user in loaded.config.users.items():
        uid = passwd.ours.get(name)
        result["users"][name] = {"container": user.container, "uid": uid, "locked": user.locked}
    result["aside"] = list(plan.kept_aside(wanted, seen))
    return result


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    shown = [f"error: {found['error']}"] if found["error"] else []
    for name, one in found["containers"].items():
        hint = f" ({one['hint']})" if one["hint"] else ""
        shown.append(f"container {name}: {one['text'] or one['state'] or 'not made yet'}{hint}")
        if one["image_is_newer"]:
            shown.append(f"  {one['image']} is newer than the container: skiff-core apply --renew {name}")
    for name, one in found["images"].items():
        how = "built here" if one["built"] else "pulled"
        shown.append(f"image {name}: {how if one['there'] else 'not there'}")
    for name, one in found["users"].items():
        how = "locked" if one["locked"] else "ready" if one["uid"] is not None else "no account yet"
        shown.append(f"user {name}: in {one['container']}, {how}")
    shown += [f"kept aside: {name}" for name in found["aside"]]
    return shown
