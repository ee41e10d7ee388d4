"""Programs in Go lose the lines of their sources, and nothing that their runtime needs."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from elftools.elf.elffile import ELFFile

from skiff.builders.golines import without_lines
from skiff.builders.rewrite import CannotRewrite
from skiff.host.run import run

NAMES, UNITS, FILES = b"main.main\0main.other\0", b"of which files", b"/main.go\0/x.go\0"
# The first byte is of no value. Equal values are there once: those of other's lines are its stack's too.
STACK, LINES, SHARED, DATA = b"\x02\x07\0", b"\x04\x05\x06\x07\0", b"\x08\x09\0", b"\x0a\x0b\0"
VALUES = b"\0" + STACK + LINES + SHARED + DATA


class Function(NamedTuple):
    """What the table says of one, as src/runtime/runtime2.go of Go has it."""

    place: int
    name: int
    arguments: int
    deferreturn: int
    stack: int
    file: int
    line: int
    kinds: int
    unit: int
    first_line: int
    rest: int


MAIN = Function(0, 0, 8, 0, VALUES.index(STACK), VALUES.index(SHARED), VALUES.index(LINES), 1, 0, 7, 0)
OTHER = MAIN._replace(place=64, name=10, stack=VALUES.index(SHARED), line=VALUES.index(SHARED), first_line=9)


def table(word: str) -> bytes:
    """As Go's linker writes it, with two functions."""
    size = struct.calcsize("<" + word)
    parts = [NAMES, UNITS, FILES, VALUES]
    places = [8 + 8 * size]
    for part in parts:
        places.append(places[-1] + len(part))
    functions = [struct.pack("<12I", *each, VALUES.index(DATA)) for each in (MAIN, OTHER)]
    index = struct.pack("<5I", 0, 20, 64, 20 + len(functions[0]), 128)
    head = struct.pack(f"<IHBB8{word}", 0xFFFFFFF1, 0, 1, size, 2, 2, 0x1000, *places)
    return head + b"".join(parts) + index + b"".join(functions)


def compile(folder: Path, data: bytes, section: str, *, wide: bool = True) -> Path:
    """An ELF file with these bytes in a section, behind some that are there before."""
    (folder / "table").write_bytes(data)
    source, made = folder / "table.s", folder / "table.o"
    before = (
        ""
        if section == ".gopclntab"
        else '.long 0xfffffff1, 0, 0, 0; .ascii "\\xf1\\xff\\xff\\xff\\0\\0"; .balign 32'
    )
    lines = [f'.section {section},"a"', before if section == ".data.rel.ro" else "", '.incbin "table"', ""]
    source.write_text("\n".join(lines))
    run(["as", "--64" if wide else "--32", "-o", made, source], cwd=folder)
    return made


def without(path: Path, section: str, size: int) -> bytes:
    """The table of what is left of the file."""
    path.write_bytes(without_lines(path.read_bytes()))
    with path.open("rb") as file:
        found: Any = ELFFile(file).get_section_by_name(section)
        return bytes(found.data()[-size:])


# C's linker puts the table of a program that runs wherever it is put among other things.
@pytest.mark.parametrize("section", [".gopclntab", ".data.rel.ro.gopclntab", ".data.rel.ro"])
@pytest.mark.parametrize("wide", [True, False])
def test_what_tells_lines_is_gone(tmp_path: Path, section: str, wide: bool) -> None:
    before = table("Q" if wide else "I")
    made = compile(tmp_path, before, section, wide=wide)
    size = made.stat().st_size
    after = without(made, section, len(before))
    assert made.stat().st_size == size
    main, other = MAIN._replace(file=0, line=0, first_line=0), OTHER._replace(file=0, line=0, first_line=0)
    expected = before.replace(FILES, bytes(len(FILES))).replace(UNITS, bytes(len(UNITS)))
    expected = expected.replace(LINES, bytes(len(LINES)))
    for old, new in ((MAIN, main), (OTHER, other)):
        expected = expected.replace(struct.pack("<11I", *old), struct.pack("<11I", *new))
    assert after == expected
    assert STACK in after and SHARED in after and DATA in after and NAMES in after
    # Of one that has none, nothing changes.
    assert without(made, section, len(before)) == after


@pytest.mark.parametrize(
    ("data", "section"), [(b"", ".text"), (b"\xf0\xff\xff\xff\0\0\1\x08" + bytes(100), ".gopclntab")]
)
def test_what_has_no_such_table_is_refused(tmp_path: Path, data: bytes, section: str) -> None:
    made = compile(tmp_path, data, section)
    with pytest.raises(CannotRewrite, match=r"as Go 1\.20 and later write it"):
        without_lines(made.read_bytes())


def test_a_script_is_refused() -> None:
    with pytest.raises(CannotRewrite, match="no ELF file"):
        without_lines(b"#!/bin/sh\n")
