"""Whether the programs that an image declares run on it: trimming can take what no check of ELF sees."""

from __future__ import annotations

import shlex
from pathlib import Path

from skiff.host.dirs import builtin_layers
from skiff.layers import Search, resolve
from tests.vm.driver import Device

# Not every program knows the word, but it has to run to say so (busybox looks for an applet of that name).
# 124 is one that does not end, 126 and 127 one that is not there or not whole; from 128 on a signal ended it,
# but for 255, which is exit(-1).
_EACH = """for program in %s; do
said=$(timeout 60 "$program" --version 2>&1 </dev/null)
status=$?
case $said in
*'applet not found') status=0 ;;
*'shared librar'* | *Traceback*) status=127 ;;
esac
[ $status -lt 124 ] || [ $status = 255 ] || echo "$program: status $status: $said"
done"""


def programs_that_fail(machine: Device) -> str:
    """What goes wrong, a line or more for each program; empty when all run."""
    search = Search(builtin=builtin_layers(), folders=(Path(__file__).parent / "layers",))
    recipe = resolve(machine.image.layers, machine.image.arch, search)
    return machine.succeed(_EACH % shlex.join(recipe.programs), timeout=600)
