"""Programs lose the names that they offer to plug-ins, and run as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from skiff.builders.exports import without_exports
from skiff.builders.rewrite import CannotRewrite
from skiff.host.run import run

# `stderr` is a variable of the C library; where it is copied into the program, the program exports it.
PROGRAM = """
#include <stdio.h>
int a_name_for_plugins(int x) { return x + 1; }
_Thread_local int another_name;
int main(void) { another_name = a_name_for_plugins(41); fprintf(stderr, "%d", another_name); return 0; }
"""


def compile(folder: Path, *words: str, text: str = PROGRAM) -> Path:
    source, program = folder / "program.c", folder / "program"
    source.write_text(text)
    run(["gcc", "-rdynamic", *words, "-o", program, source])
    return program


def exported(program: Path) -> set[str]:
    with program.open("rb") as file:
        section: Any = ELFFile(file).get_section_by_name(".dynsym")
        return {each.name for each in section.iter_symbols() if each["st_shndx"] != "SHN_UNDEF"}


# One that runs wherever it is put, and one that has a place of its own.
@pytest.mark.parametrize("words", [("-pie", "-fPIE"), ("-no-pie", "-fno-pie")])
def test_a_program_runs_without_its_exports(tmp_path: Path, words: tuple[str, ...]) -> None:
    program = compile(tmp_path, *words)
    before = program.read_bytes()
    assert {"a_name_for_plugins", "another_name"} <= exported(program)
    program.write_bytes(without_exports(before))
    assert program.stat().st_size == len(before)
    assert not {"a_name_for_plugins", "another_name"} & exported(program)
    # What is shared with a library still is: else it would write to nobody's stderr.
    assert run([program]).stderr == b"42"
    assert without_exports(program.read_bytes()) == program.read_bytes()


# Neither has a C library here, so nothing but what is in the file can be looked at.
@pytest.mark.parametrize("compiler", ["aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc"])
def test_a_program_for_another_cpu(tmp_path: Path, compiler: str) -> None:
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text("int a_name; extern int asked(void); void _start(void) { a_name = asked(); }")
    words = ["-rdynamic", "-nostdlib", "-pie", "-fPIE", "-Wl,--unresolved-symbols=ignore-all"]
    run([compiler, *words, "-Wl,--dynamic-linker=/lib/ld.so", "-o", program, source])
    assert "a_name" in exported(program)
    program.write_bytes(without_exports(program.read_bytes()))
    assert not {"a_name", "_start"} & exported(program)
    assert b"asked" in program.read_bytes()


def test_a_program_by_gos_own_linker_has_nothing_for_plugins(tmp_path: Path) -> None:
    section = '__attribute__((section(".go.buildinfo"))) char info[] = "Go";'
    of_go = compile(tmp_path, "-Wl,--hash-style=sysv", text=PROGRAM + section).read_bytes()
    assert without_exports(of_go) == of_go
    # In C it can have them.
    with pytest.raises(CannotRewrite, match=r"no \.gnu\.hash"):
        without_exports(compile(tmp_path, "-Wl,--hash-style=sysv").read_bytes())


def test_a_library_is_refused(tmp_path: Path) -> None:
    library = compile(tmp_path, "-shared", "-fPIC")
    with pytest.raises(CannotRewrite, match=r"no \.interp"):
        without_exports(library.read_bytes())


def test_a_script_is_refused() -> None:
    with pytest.raises(CannotRewrite, match="no ELF file"):
        without_exports(b"#!/bin/sh\n")
