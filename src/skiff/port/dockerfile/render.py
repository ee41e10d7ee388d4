"""A Dockerfile's values back to text: one line for each instruction, comments left out."""

from __future__ import annotations

from skiff.port.dockerfile.model import Dockerfile, Instruction


def render(file: Dockerfile) -> str:
    """Text that parses to the same instructions."""
    lines = [f"# {one.name}={one.value}" for one in file.directives]
    for instruction in file.instructions:
        lines += _lines(instruction, file.escape)
    return "\n".join(lines) + "\n"


def _lines(made: Instruction, escape: str) -> list[str]:
    words = [made.keyword, *(flag.raw for flag in made.flags)]
    if made.text.startswith("--"):
        words.append("--")
    line = " ".join([*words, made.text]).rstrip(" ")
    if line.endswith("\r"):
        # Else it would count to the end of the line.
        line += " "
    elif line.endswith(escape) and line[-2:-1] != escape:
        # Only at the very end of a file does a line end in an escape that continues nothing.
        line += f" {escape}"
    return [line, *(f"{one.content}{one.name}" for one in made.heredocs)]
