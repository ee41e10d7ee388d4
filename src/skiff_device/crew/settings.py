"""A change of an app's settings: kept, logged, and put into effect with no gap; all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable

from skiff_device.crew import store
from skiff_device.crew.command import Context
from skiff_device.crew.store import Section


def change(
    context: Context, app: str, section: str, change: Callable[[Section], None], what: str, restart: bool
) -> None:
    """Change a section, and redeploy. Raises DeviceError; nothing is changed then."""
    from skiff_device.crew import deploy, events

    before = store.section(context.paths, app, section)
    if store.change(context.paths, app, section, change) == before:
        context.note("nothing changed")
        return
    try:
        if restart:
            deploy.redeploy(context.paths, app, what, context.note)
    except BaseException:
        # What does not come up is not to be tried again at the next change.
        store.change(context.paths, app, section, lambda part: _back(part, before))
        raise
    events.log(context.paths, context.caller, f"{app}: {what}")


def _back(part: Section, before: Section) -> None:
    part.clear()
    part.update(before)
