"""Clusters: devices that share apps, and go on when one of them is lost (Docker's Swarm)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names
from skiff_device.crew.command import Args, Context, Family

if TYPE_CHECKING:
    from skiff_device.crew.engine_swarm import Swarm

COMMANDS = Family("clusters: devices that share apps")


def _labels(found: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in found.items())


def _log(context: Context, text: str) -> None:
    from skiff_device.crew import events

    events.log(context.paths, context.caller, text)


@COMMANDS.command("cluster:init [--interface NAME]", "make a cluster, with this device as its manager")
def init(context: Context, args: Args) -> int | None:
    """Its ports are open on that interface alone; without the option, on the one that leads to the world."""
    from skiff_device.crew import cluster

    interface = args.option("--interface") or ""
    args.none_left()
    used = cluster.init(context.paths, interface)
    _log(context, f"cluster:init on {used}")
    context.say(f"this device is a cluster, by {used}; others come in with: cluster:token")
    return None


@COMMANDS.command("cluster:recover", "be the only manager, when most of them are lost for good")
def recover(context: Context, args: Args) -> int | None:
    """Devices and apps stay as this one knows them. A lost manager must not come back with what it knew."""
    from skiff_device.crew import cluster

    args.none_left()
    cluster.recover(context.paths)
    _log(context, "cluster:recover")
    context.say("this device is the only manager now: cluster:promote others")
    return None


@COMMANDS.command(
    "cluster:token [--manager] [--replace NAME]", "print what lets a device in, for its cluster:join"
)
def token(context: Context, args: Args) -> int | None:
    """--replace forgets a lost device, and gives its labels to the new one of that name when it comes."""
    from skiff_device.crew import cluster

    role = "manager" if args.flag("--manager") else "worker"
    name = args.option("--replace") or ""
    args.none_left()
    swarm = cluster.manager(context.paths)
    if not name:
        context.say(swarm.token(role))
        return None
    lost = cluster.remove(swarm, name)
    _log(context, f"cluster:token --replace {name}")
    context.say(swarm.token(lost["Spec"]["Role"]))
    labels = _labels(lost["Spec"].get("Labels") or {})
    context.note(f"waiting for {name}, whose cluster:join reads this; its labels: {labels or 'none'}")
    cluster.await_successor(swarm, lost, context.note)
    return None


@COMMANDS.command("cluster:join [--interface NAME] HOST", "join a cluster; the token comes by stdin")
def join(context: Context, args: Args) -> int | None:
    """HOST is the manager's address. Without the option the interface is the one that leads there."""
    from skiff_device.crew import cluster

    interface = args.option("--interface") or ""
    host = names.domain(args.take("the manager's address"))
    args.none_left()
    given = context.stdin.readline(200).decode(errors="replace").strip()
    used = cluster.join(context.paths, interface, host, given)
    _log(context, f"cluster:join {host} by {used}")
    context.say(f"this device is in the cluster of {host}, by {used}")
    return None


@COMMANDS.command("cluster:leave [--force]", "leave the cluster")
def leave(context: Context, args: Args) -> int | None:
    """Its apps go to the other devices. --force is for the last manager, and when the others are lost."""
    from skiff_device.crew import cluster

    force = args.flag("--force")
    args.none_left()
    cluster.leave(context.paths, force, context.note)
    _log(context, "cluster:leave")
    return None


def _each(context: Context, args: Args, role: str) -> None:
    from skiff_device.crew import cluster

    wanted = [args.take("the device"), *args.rest()]
    swarm: Swarm = cluster.manager(context.paths)
    nodes = [cluster.named(swarm, name) for name in wanted]
    for node in nodes:
        if role == "manager":
            cluster.must_be_there(node)
        cluster.set_role(swarm, node["ID"], role)
    _log(context, f"{context.command.name} {' '.join(wanted)}")


@COMMANDS.command("cluster:promote NAME…", "make devices managers: of three, one may be lost")
def promote(context: Context, args: Args) -> int | None:
    """More than half of the managers have to be there for a change."""
    _each(context, args, "manager")
    return None


@COMMANDS.command("cluster:demote NAME…", "make managers workers again")
def demote(context: Context, args: Args) -> int | None:
    """Of a manager that is lost the vote is no longer waited for."""
    _each(context, args, "worker")
    return None


@COMMANDS.command("cluster:remove NAME", "forget a device that left, or is lost")
def remove(context: Context, args: Args) -> int | None:
    """cluster:token --replace does it too."""
    from skiff_device.crew import cluster

    name = args.take("the device")
    args.none_left()
    cluster.remove(cluster.manager(context.paths), name)
    _log(context, f"cluster:remove {name}")
    return None


@COMMANDS.command("cluster:registry [--off]", "keep images for all devices on this one")
def registry(context: Context, args: Args) -> int | None:
    """Every device pushes to it and pulls from it by the address that is told. Its data is on persist."""
    from skiff_device.crew import registry

    off = args.flag("--off")
    args.none_left()
    if off:
        registry.stop(context.paths)
        _log(context, "cluster:registry --off")
        return None
    registry.start(context.paths)
    _log(context, "cluster:registry")
    context.say(f"on each device: docker push {registry.ADDRESS}/NAME")
    return None


@COMMANDS.command("cluster:label NAME KEY=VALUE…", "set labels of a device; KEY= takes one away")
def label(context: Context, args: Args) -> int | None:
    """They stay with the name when the device is replaced."""
    from skiff_device.crew import cluster

    name = args.take("the device")
    words = [args.take("KEY=VALUE"), *args.rest()]
    swarm = cluster.manager(context.paths)
    node = cluster.named(swarm, name)
    labels: dict[str, str] = dict(node["Spec"].get("Labels") or {})
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise DeviceError(f"{names.shown(word)!r} is no KEY=VALUE", "cluster:label board1 site=museum")
        labels[names.process(key)] = value
    swarm.change_node(node, Labels={key: value for key, value in labels.items() if value})
    _log(context, f"cluster:label {name} {' '.join(words)}")
    return None


@COMMANDS.command("cluster:report [--json]", "the cluster as this device sees it", access="read")
def report(context: Context, args: Args) -> int | None:
    """Managers know of all devices, workers of the managers."""
    from skiff_device.crew import cluster, services

    as_json = args.flag("--json")
    args.none_left()
    rows: dict[str, Any] = cluster.report(context.paths)
    if rows.get("devices") and (kept := services.all_kept_away(context.paths)):
        rows["kept away"] = kept
    if as_json:
        context.say(json.dumps(rows, indent=1))
        return None
    devices = rows.pop("devices", {})
    for name, one in devices.items():
        words = [one[key] for key in ("role", "state", "availability", "cpu", "address")]
        words.append(_labels(one["labels"]))
        rows[name] = " ".join(word for word in words if word)
    for app, those in rows.pop("kept away", {}).items():
        rows[f"{app} is not on"] = those
    context.report(rows, False, "cluster")
    return None
