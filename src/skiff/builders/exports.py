"""The names that a program offers to plug-ins, taken out of it: of large Go programs they are a tenth.

Go's linker makes each function of a program that could load plug-ins a dynamic symbol (in C: `-rdynamic`).
To start the program, the loader needs only what that asks for. The rest and its names become zeros in place,
which weigh nothing compressed; the table by which symbols are found holds what is left. Nothing moves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from skiff.builders.rewrite import CannotRewrite, Elf, parsed

_SHIFT = 16
# Entries of the dynamic section that name something.
_NAMING = ("DT_NEEDED", "DT_SONAME", "DT_RPATH", "DT_RUNPATH")


def without_exports(program: bytes) -> bytes:
    """The program with zeros for all that it exports. Raises CannotRewrite.

    One that Go's own linker made stays as it is: it can load no plug-ins, and so has nothing for them.
    """
    elf = parsed(program)
    sections, order, wide = elf.sections, elf.order, elf.wide
    # That linker makes the table of the old kind; the system's, which it calls for plug-ins, makes the other.
    if {".go.buildinfo", ".interp", ".hash"} <= set(sections) and ".gnu.hash" not in sections:
        return program
    missing = {".interp", ".dynamic", ".dynsym", ".dynstr", ".gnu.hash"} - set(sections)
    if missing:
        raise CannotRewrite(
            f"it is no program with dynamic symbols: it has no {' and no '.join(sorted(missing))}"
        )
    if ".hash" in sections:
        raise CannotRewrite("its symbols are in a second table too, of the old kind (DT_HASH)")
    asked = set(_asked_for(program, elf))
    found = sections[".gnu.hash"]
    # Symbols before that number are in no table, and so nobody finds them.
    (first,) = struct.unpack_from(f"{order}4xI", program, found["sh_offset"])
    defined = {number for number in _defined(program, sections, order, wide=wide) if number >= first}
    changed = bytearray(program)
    _keep_names(changed, sections, defined - asked)
    for number in defined - asked:
        for name in (".dynsym", ".gnu.version"):
            if name in sections:
                start = sections[name]["sh_offset"] + number * sections[name]["sh_entsize"]
                _clear(changed, start, start + sections[name]["sh_entsize"])
    symbols: Any = sections[".dynsym"]
    left = {number: symbols.get_symbol(number).name for number in sorted(defined & asked)}
    _clear(changed, found["sh_offset"], found["sh_offset"] + found["sh_size"])
    table = _hash_table(left, order, wide=wide)
    changed[found["sh_offset"] : found["sh_offset"] + len(table)] = table
    return bytes(changed)


def _hash_table(symbols: Mapping[int, str], order: str, *, wide: bool) -> bytes:
    """The table by which these symbols are found, with one bucket (glibc, elf/dl-lookup.c).

    It is no longer than one for more symbols of the same numbers.
    """
    first = min(symbols, default=1)
    bits, word = (64, "Q") if wide else (32, "I")
    seen = 0
    chain = [0] * (max(symbols, default=0) - first + 1)
    for number, name in symbols.items():
        value = _gnu_hash(name)
        # Two bits of the filter for each: by the hash, and by the same without its lower half.
        seen |= 1 << value % bits | 1 << (value >> _SHIFT) % bits
        # An odd number ends the chain.
        chain[number - first] = value & ~1
    if chain:
        chain[-1] |= 1
    head = struct.pack(f"{order}4I{word}I", 1, first, 1, _SHIFT, seen, first if symbols else 0)
    return head + struct.pack(f"{order}{len(chain)}I", *chain)


def _gnu_hash(name: str) -> int:
    value = 5381
    for byte in name.encode():
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def _defined(program: bytes, sections: Mapping[str, Any], order: str, *, wide: bool) -> set[int]:
    """Numbers of the symbols that are defined here, and not in a library."""
    table = sections[".dynsym"]
    data = memoryview(program)[table["sh_offset"] : table["sh_offset"] + table["sh_size"]]
    # Of a symbol only the section is read that it is in; 0: in none.
    symbols = struct.iter_unpack(order + ("6xH16x" if wide else "14xH"), data)
    return {number for number, (section,) in enumerate(symbols) if section}


def _asked_for(program: bytes, elf: Elf) -> Iterator[int]:
    """Numbers of the symbols that relocations name: of libraries, and the program's own that these share."""
    entries = {
        ("SHT_RELA", True): ("8xQ8x", 32),
        ("SHT_REL", True): ("8xQ", 32),
        ("SHT_RELA", False): ("4xI4x", 8),
        ("SHT_REL", False): ("4xI", 8),
    }
    for section in elf.file.iter_sections():
        kind = entries.get((section["sh_type"], elf.wide))
        if kind is not None and section["sh_size"]:
            data = memoryview(program)[section["sh_offset"] : section["sh_offset"] + section["sh_size"]]
            yield from (info >> kind[1] for (info,) in struct.iter_unpack(elf.order + kind[0], data))


def _keep_names(changed: bytearray, sections: Mapping[str, Any], gone: set[int]) -> None:
    """Of the names leave those that the loader reads; a name may be the end of another one."""
    table = sections[".dynstr"]
    start, end = table["sh_offset"], table["sh_offset"] + table["sh_size"]
    names = bytes(changed[start:end])
    _clear(changed, start, end)
    for at in set(_names_read(sections, gone)):
        length = names.index(b"\0", at) - at
        changed[start + at : start + at + length] = names[at : at + length]


def _names_read(sections: Mapping[str, Any], gone: set[int]) -> Iterator[int]:
    """Where in the table of names those start that the loader reads."""
    symbols = sections[".dynsym"]
    left = set(range(symbols.num_symbols())) - gone
    yield from (symbols.get_symbol(number)["st_name"] for number in left)
    for tag in sections[".dynamic"].iter_tags():
        if tag.entry.d_tag in _NAMING:
            yield tag.entry.d_val
    for name, field in ((".gnu.version_r", "vn_file"), (".gnu.version_d", "")):
        if name in sections:
            for version, parts in sections[name].iter_versions():
                if field:
                    yield version[field]
                yield from (part["vna_name" if field else "vda_name"] for part in parts)


def _clear(changed: bytearray, start: int, end: int) -> None:
    changed[start:end] = bytes(end - start)
