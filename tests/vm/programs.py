"""Whether the programs that an image declares run on it: trimming can take what no check of ELF sees."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

from skiff.host.dirs import builtin_layers, device_python
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


# Python says nothing of those in functions until they are called.
_IMPORT = """import sys
sys.dont_write_bytecode = True
for line in sys.stdin.read().split("\\0"):
    try:
        exec(line)
    except ImportError as error:
        print(f"{line}: {error}")
"""


def imports_that_fail(machine: Device) -> str:
    """Imports anywhere in Skiff's own Python on the device that it cannot do; empty when all are there."""
    folder = "/usr/lib/skiff/python"
    parts = machine.succeed(f"cd {folder}/skiff_device && ls -d */").split()
    lines = {
        ast.unparse(node)
        for part in parts
        for file in (device_python() / part).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert len(lines) > 20, lines
    words = f"PYTHONPATH={folder} python3 -P -c {shlex.quote(_IMPORT)}"
    return machine.succeed(words, input="\0".join(sorted(lines)).encode())
