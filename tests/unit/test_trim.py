"""Globs, and which libraries stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.builders import elf
from skiff.builders.elf import ElfFacts, Linker
from skiff.builders.trim import Globs, drop, drop_unneeded_libraries
from skiff.host.errors import UserError
from skiff.model.arch import Arch
from skiff.model.tree import Entry, Kind, Tree

LIB = "usr/lib/x86_64-linux-gnu"


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("etc/init.d", "etc/init.d/ssh", True),
        ("etc/init.d", "etc/init.dx", False),
        ("usr/lib/*/gconv", "usr/lib/x86_64-linux-gnu/gconv/A.so", True),
        ("usr/lib/*/gconv", "usr/lib/a/b/gconv", False),
        ("usr/share/**/x.png", "usr/share/a/b/x.png", True),
        ("usr/share/**/x.png", "usr/share/x.png", True),
        ("etc/cron.*", "etc/cron.d/job", True),
        ("lib?.so", "lib1.so", True),
        ("a[bc]d", "acd", True),
        ("a[bc]d", "aed", False),
        ("usr/lib/libnss_files.so.*", "usr/lib/libnss_files.so.2", True),
    ],
)
def test_glob(glob: str, path: str, matches: bool) -> None:
    assert Globs([glob]).match(path) is matches


def test_drop_leaves_what_keep_holds() -> None:
    tree = Tree()
    for path in ("usr/share/zsh/a", "usr/share/zsh/b"):
        tree.add(path, Entry(Kind.FILE, 0o644, "p", source=b""))
    drop(tree, ["usr/share/zsh"], Globs(["usr/share/zsh/b"]))
    assert list(tree) == ["usr", "usr/share", "usr/share/zsh", "usr/share/zsh/b"]


class Programs:
    """A tree of pretended ELF files: their facts come from here instead of their bytes."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tree = Tree()
        self.root = tmp_path
        self._facts: dict[Path, ElfFacts] = {}
        monkeypatch.setattr(elf, "read_elf", lambda source: self._facts.get(source))

    def add(self, path: str, *needed: str, machine: int = 62, runpath: tuple[str, ...] = ()) -> None:
        source = self.root / path.replace("/", "_")
        source.write_bytes(b"")
        self._facts[source] = ElfFacts(needed, runpath, "", machine)
        self.tree.add(path, Entry(Kind.FILE, 0o755, "package", source=source))

    def link(self, path: str, target: str) -> None:
        self.tree.add(path, Entry(Kind.LINK, 0o777, "package", target=target))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(tmp_path, monkeypatch)


def test_libraries_that_nobody_loads_go(programs: Programs) -> None:
    programs.add("usr/bin/a", "libx.so.1")
    programs.add(f"{LIB}/libx.so.1.2", "liby.so.1")
    programs.link(f"{LIB}/libx.so.1", "libx.so.1.2")
    programs.add(f"{LIB}/liby.so.1")
    programs.add(f"{LIB}/libz.so.1")
    programs.link(f"{LIB}/libz.so", "libz.so.1")
    drop_unneeded_libraries(programs.tree, Arch.AMD64, Globs([]))
    left = [path for path in programs.tree if ".so" in path]
    assert left == [f"{LIB}/libx.so.1", f"{LIB}/libx.so.1.2", f"{LIB}/liby.so.1"]


def test_a_library_that_a_layer_keeps_stays_with_what_it_needs(programs: Programs) -> None:
    programs.add(f"{LIB}/libnss_files.so.2", "libc.so.6")
    programs.add(f"{LIB}/libc.so.6")
    drop_unneeded_libraries(programs.tree, Arch.AMD64, Globs(["usr/lib/*/libnss_files.so.*"]))
    assert f"{LIB}/libc.so.6" in programs.tree


def test_a_library_is_kept_by_the_name_of_its_link(programs: Programs) -> None:
    programs.add(f"{LIB}/libplugin.so.1.2.3")
    programs.link(f"{LIB}/libplugin.so.1", "libplugin.so.1.2.3")
    drop_unneeded_libraries(programs.tree, Arch.AMD64, Globs(["usr/lib/*/libplugin.so.1"]))
    left = [path for path in programs.tree if ".so" in path]
    assert left == [f"{LIB}/libplugin.so.1", f"{LIB}/libplugin.so.1.2.3"]


def test_a_missing_library_is_named_with_who_needs_it(programs: Programs) -> None:
    programs.add("usr/sbin/sshd", "libsqlite3.so.0")
    with pytest.raises(UserError, match=r"/usr/sbin/sshd \(package\) needs libsqlite3\.so\.0"):
        Linker(programs.tree, Arch.AMD64).check()


def test_a_program_for_another_cpu_is_named(programs: Programs) -> None:
    programs.add("usr/bin/a", machine=Arch.ARM64.elf_machine)
    with pytest.raises(UserError, match=r"/usr/bin/a .* is not a program for amd64"):
        Linker(programs.tree, Arch.AMD64).check()


def test_origin_in_a_runpath_is_the_programs_folder(programs: Programs) -> None:
    programs.add("opt/app/bin/a", "libown.so", runpath=("$ORIGIN/../lib",))
    programs.add("opt/app/lib/libown.so")
    Linker(programs.tree, Arch.AMD64).check()


def test_real_elf_facts_of_this_python() -> None:
    facts = elf.read_elf(Path("/bin/ls").resolve())
    assert facts is not None
    assert "libc.so.6" in facts.needed
    assert facts.interpreter.startswith("/lib")
