"""SSH keys: who may push, who may look, who may do everything."""

from __future__ import annotations

import json

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("SSH keys, and what each of them may do")


@COMMANDS.command(
    "ssh-keys:add NAME [--role admin|deploy|read] [--app NAME]…", "take a public key from stdin"
)
def add(context: Context, args: Args) -> int | None:
    """deploy is for the apps named, read looks at all, admin (the default) may do everything."""
    from skiff_device.crew import events, keys

    apps = [store.must_exist(context.paths, word) for word in args.options("--app")]
    role = args.option("--role") or ("deploy" if apps else "admin")
    name = names.key(args.take("the name"))
    args.none_left()
    if (role == "deploy") != bool(apps):
        raise DeviceError("a deploy key is for apps, others are not", "--role deploy --app NAME")
    keys.add(context.paths, name, context.stdin.read(20_000).decode(errors="replace"), role, apps)
    events.log(context.paths, context.caller, f"key {name} added: {role} {' '.join(apps)}".rstrip())
    return None


@COMMANDS.command("ssh-keys:remove NAME", "lock a key out")
def remove(context: Context, args: Args) -> int | None:
    """At once."""
    from skiff_device.crew import events, keys

    name = names.key(args.take("the name"))
    args.none_left()
    keys.remove(context.paths, name)
    events.log(context.paths, context.caller, f"key {name} removed")
    return None


@COMMANDS.command("ssh-keys:list [--json]", "names and roles of all keys")
def listing(context: Context, args: Args) -> int | None:
    """Root's keys are admins and not listed."""
    from skiff_device.crew import keys

    as_json = args.flag("--json")
    args.none_left()
    found = keys.read(context.paths)
    if as_json:
        context.say(json.dumps(found, indent=1, sort_keys=True))
    else:
        for name, one in sorted(found.items()):
            context.say(f"{name}  {one['role']}  {' '.join(one.get('apps', []))}".rstrip())
    return None
