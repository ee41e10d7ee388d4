"""A change of an app's settings: kept, logged, and put into effect with no gap; all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skiff_device.crew import store
from skiff_device.crew.command import Context
from skiff_device.crew.store import Section


def change(
    context: Context, app: str, section: str, change: Callable[[Section], None], what: str, restart: bool
) -> None:
    """Change a section, and redeploy. Raises DeviceError; nothing is changed then."""
    before = store.section(context.paths, app, section)
    after = store.change(context.paths, app, section, change)
    if after == before:
        context.note("nothing changed")
        return

    def back() -> None:
        store.change(context.paths, app, section, lambda part: undo(part, before, after))

    put_into_effect(context, app, what, restart, back)


def put_into_effect(context: Context, app: str, what: str, restart: bool, back: Callable[[], object]) -> None:
    """Redeploy an app whose settings were changed, and log it. Raises DeviceError, after it called `back`."""
    from skiff_device.crew import deploy, events, release

    number = release.current_number(context.paths, app)
    try:
        if restart:
            deploy.redeploy(context.paths, app, what, context.note)
    except BaseException:
        now = release.current_number(context.paths, app)
        made = release.current(context.paths, app) if now != number else None
        if made is None or made.reason != what:
            # What does not come up is not to be tried again at the next change.
            back()
            raise
        # It serves: a client was lost amid what follows the switch.
        events.log(context.paths, context.caller, f"{app}: {what}")
        raise
    events.log(context.paths, context.caller, f"{app}: {what}")


def undo(part: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    """Take back the change that made ``after`` of ``before``; what somebody else has set since stays."""
    left = _undone(part, before, after) or {}
    part.clear()
    part.update(left)


def _undone(now: Any, before: Any, after: Any) -> Any:
    """A value without a change of it; None where there is nothing then."""
    if now == after:
        return before
    if not isinstance(now, dict | list):
        return now
    was: Any
    made: Any
    was, made = (one if isinstance(one, type(now)) else type(now)() for one in (before, after))
    if isinstance(now, dict):
        found = {name: _undone(now.get(name), was.get(name), made.get(name)) for name in {**was, **now}}
        return {name: value for name, value in found.items() if value is not None} or None
    kept = [one for one in now if one in was or one not in made]
    return [*kept, *(one for one in was if one not in made and one not in kept)] or None
