"""Users inside containers: who they are there, and making those that are missing."""

from __future__ import annotations

from dataclasses import replace

from skiff_device.common.errors import DeviceError, EngineDown
from skiff_device.core import accounts, engine, observe, state
from skiff_device.core.accounts import Known, Warn
from skiff_device.core.model import Config, User
from skiff_device.core.observe import Seen
from skiff_device.core.paths import Paths


def settle(config: Config, seen: dict[str, Seen | None], paths: Paths, warn: Warn) -> None:
    """Ask each container about its users, keep the answers, and bring the accounts to them."""
    before = accounts.known_of(config, paths)
    known = dict(before)
    # Who had a number first, so that nobody who is made gets it.
    for name in sorted(config.users, key=lambda name: not before[name].uid):
        user = config.users[name]
        container = seen.get(user.container)
        if container is None or user.locked:
            continue
        try:
            found = ask(user, container, before[name], warn)
            known[name] = replace(found, container=user.container, user=user.container_user)
        except EngineDown:
            raise
        except DeviceError as error:
            # A program of that container that never ends, say: no reason to leave the others.
            warn(f"{container.name}: user {name} is not looked after: {error.message}")
    ids = {name: (one.id, one.cgroup) for name, one in seen.items() if one is not None}
    for text in state.keep(paths.known, accounts.known_text(known, ids)):
        warn(text)
    if known != before:
        accounts.apply(config, paths, lambda text: None)


def ask(user: User, container: Seen, before: Known, warn: Warn) -> Known:
    """What a container says of a user; as before when it cannot say. Makes the user when asked to."""
    data = engine.copy_out(container.name, "/etc/passwd")
    if data is None:
        return before
    passwd = data.decode(errors="replace")
    inside = user.container_user or container.user
    found = accounts.inside(passwd, inside)
    if found is None and user.create_container_user and user.container_user:
        if make(user, container, before.uid, warn):
            data = engine.copy_out(container.name, "/etc/passwd") or b""
            found = accounts.inside(data.decode(errors="replace"), inside)
    elif found is None and inside and not inside.partition(":")[0].isdigit():
        warn(
            f"{container.name}: there is no user {inside} in it: set createContainerUser for user {user.name}"
        )
    # Of one that is not there the number stays, for files that outlive the container.
    return found or Known(before.uid)


def make(user: User, container: Seen, uid: int, warn: Warn) -> bool:
    """Make the container user, by the program that the container has for it; with its old number if free."""
    name = user.container_user
    if name.partition(":")[0].isdigit() or ":" in name:
        warn(f"{container.name}: user {name} cannot be made: createContainerUser needs a name")
        return False
    current = observe.look_at(container.name)
    if current is None or current.state != "running":
        warn(f"{container.name}: user {name} is not made yet: the container does not run")
        return False
    shell = user.container_shell[0] if user.container_shell else ""
    number = number_of(container.name, name, uid)
    tries = []
    for wanted in dict.fromkeys((number, "")):
        useradd = [*(["--uid", wanted] if wanted else []), *(["--shell", shell] if shell else [])]
        adduser = [*(["-u", wanted] if wanted else []), *(["-s", shell] if shell else [])]
        tries += [["useradd", "--create-home", *useradd, "--", name], ["adduser", "-D", *adduser, name]]
    said: list[str] = []
    for argv in tries:
        result = engine.execute(container.name, argv)
        if result.status == 0:
            return True
        words = (result.err or result.out.decode(errors="replace")).strip()
        if "not found" not in words:
            said.append(words)
    cause = engine.plain(said[-1])[0] if said else "neither useradd nor adduser is in the image"
    warn(f"{container.name}: user {name} cannot be made: {cause}")
    return False


def number_of(container: str, name: str, before: int) -> str:
    """The number that files of a user may have: that of a kept home, or the one before; else empty."""
    found = engine.execute(container, ["stat", "-c", "%u", f"/home/{name}"])
    words = found.out.decode(errors="replace").strip()
    uid = int(words) if accounts.NUMBER.fullmatch(words) else 0
    # Lower ones are the system's: an empty folder that was made for a mount is root's.
    return next((str(one) for one in (uid, before) if one >= 1000), "")
