"""Compiles modules. It is run by the Python that the image has, and not by the one that runs Skiff.

Standard input has a line for each: its file, its path on the device, and where to write, with NUL between
them. For one that is not valid standard error has its path on the device, NUL and why; the status is 1.
"""

import py_compile
import sys


def main() -> int:
    """Compile what standard input names; returns the exit status."""
    for line in sys.stdin:
        source, path, target = line.rstrip("\n").split("\0")
        try:
            # By hash: no date is in the file, and the same text gives the same bytes.
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(source, target, path, doraise=True, invalidation_mode=mode)
        except py_compile.PyCompileError as error:
            print(f"{path}\0{error.exc_value}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
