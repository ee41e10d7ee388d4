"""Plug-ins: executables that are called around builds and deploys, under Dokku's names of triggers."""

from __future__ import annotations

import os
from collections.abc import Callable

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
# Dokku's names. Those that begin with pre- may refuse what is to come.
TRIGGERS = ("pre-build", "post-build", "pre-deploy", "post-deploy", "pre-delete", "post-delete")
# A file beside the triggers that holds a plug-in back.
DISABLED = "disabled"
# In seconds; a plug-in that waits for ever must not hold an app up.
_LONGEST = 300


def trigger(paths: Paths, name: str, app: str, words: list[str], say: Say) -> None:
    """Run `plugins/*/NAME APP WORDS…` in order of name. Raises DeviceError when one before a step fails.

    One after a step that fails is told and changes nothing.
    """
    for program in sorted(paths.plugins.glob(f"[!.]*/{name}")):
        if (program.parent / DISABLED).exists() or not os.access(program, os.X_OK):
            continue
        limit = ["timeout", str(_LONGEST)]
        result = run.stream([*limit, str(program), app, *words], lambda line: say(f"  {line}"))
        if result.status:
            what = f"plug-in {program.parent.name}: {name} ended with status {result.status}"
            if name.startswith("pre-"):
                raise DeviceError(what, f"plugin:disable {program.parent.name}")
            say(what)
