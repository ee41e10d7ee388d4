"""The lines of source that a Go program knows, taken out of it: of an engine, packed, they are a tenth.

Go's linker writes a table of where each function is, what lies on its stack, and which line of which file
each instruction comes from. The runtime needs all but the last, which a panic prints. That becomes zeros in
place, and each function says that it has no lines, as some of those in assembler do. Nothing moves.

The layout: src/internal/abi/symtab.go, src/runtime/symtab.go and src/cmd/link/internal/ld/pcln.go of Go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

from skiff.builders.rewrite import CannotRewrite, parsed

# In the last one, which C's linker made of others, it lies somewhere.
_SECTIONS = (".gopclntab", ".data.rel.ro.gopclntab", ".data.rel.ro")
# How the table starts since Go 1.20. After two zeros: the sizes of the shortest instruction and of a pointer.
_MAGIC = 0xFFFFFFF1
_ALIGNED = 8
# Then numbers as wide as a pointer: of functions and files, where the code starts; and where in the table
# start: names of functions, units of compilation, files, values (a line, a size of a stack …), functions.
_HEAD = 8
# Of a function: its place, name and arguments, deferreturn; where its values of stack, file and line start,
# and of how many other kinds; its unit and first line; in the last byte, of how many kinds of data.
_FUNCTION = "4I4I2I3xB"
_FILE_AND_LINE = 20
_FIRST_LINE = 36


def without_lines(program: bytes) -> bytes:
    """The program with zeros for its line numbers and the names of its sources. Raises CannotRewrite."""
    elf = parsed(program)
    order, word = elf.order, "Q" if elf.wide else "I"
    for section in (elf.sections[name] for name in _SECTIONS if name in elf.sections):
        start, size = section["sh_offset"], section["sh_size"]
        for at in _tables(program[start : start + size], order, word):
            changed = bytearray(program)
            table = memoryview(changed)[start + at : start + size]
            _clear_lines(table, order, word)
            table.release()
            return bytes(changed)
    raise CannotRewrite("it has no table of functions as Go 1.20 and later write it")


def _tables(data: bytes, order: str, word: str) -> Iterator[int]:
    """Where in a section such a table starts, if one does."""
    at = -1
    while (at := data.find(struct.pack(f"{order}IH", _MAGIC, 0), at + 1)) >= 0:
        head = struct.Struct(f"{order}8{word}")
        if at % _ALIGNED or data[at + 7 : at + 8] != bytes([head.size // 8]):
            continue
        places = [*head.unpack_from(data, at + _HEAD)[3:], len(data) - at]
        if places == sorted(places):
            yield at


def _clear_lines(table: memoryview, order: str, word: str) -> None:
    count, _, _, _, units, _, values, functions = struct.unpack_from(f"{order}8{word}", table, _HEAD)
    function = struct.Struct(order + _FUNCTION)
    needed, lines = set[int](), set[int]()
    for _, place in struct.iter_unpack(f"{order}2I", bytes(table[functions : functions + 8 * count])):
        at = functions + place
        *_, stack, file, line, more, _, _, _ = function.unpack_from(table, at)
        needed |= {stack, *struct.unpack_from(f"{order}{more}I", table, at + function.size)}
        lines |= {file, line}
        struct.pack_into(f"{order}2I", table, at + _FILE_AND_LINE, 0, 0)
        struct.pack_into(f"{order}I", table, at + _FIRST_LINE, 0)
    # Equal values are there once, so those of a line may be needed for something else.
    for start, end in pairwise(sorted(needed | lines | {functions - values})):
        if start not in needed:
            table[values + start : values + end] = bytes(end - start)
    # Which files each unit has, and their names.
    table[units:values] = bytes(values - units)
