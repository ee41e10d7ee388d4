"""Programs of another CPU that a Dockerfile copies out of its folder, and what .dockerignore keeps back."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import pytest

from skiff.model.port import Platform
from skiff.port.graph import Request, make_plan
from skiff.port.reference import parse_reference
from skiff.port.sources import Sources
from skiff.port.tie_rules import Rules
from tests.unit.port_world import Images, root, write
from tests.unit.test_port_ties import only, ties


def elf(machine: int, bits: int = 64) -> bytes:
    """The head of a program."""
    head = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    return head + struct.pack("<HHI", 2, machine, 1) + bytes(64)


def test_programs_of_another_cpu_that_are_copied(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, machine in (("good", 183), ("bad", 62), ("ignored", 62)):
        (tmp_path / "bin" / name).write_bytes(elf(machine))
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "bin" / "text.sh").write_text("#!/bin/sh\n")
    (tmp_path / ".dockerignore").write_text("# c\nbin/ignored\n")
    assert ties("COPY bin/good bin/text.sh /", folder=tmp_path).findings == ()
    assert ties("COPY bin/ignored /", folder=tmp_path).findings == ()
    assert ties("COPY --from=a bin /", folder=tmp_path).findings == ()
    for line in ("COPY . /", "COPY bin/b* /", 'COPY ["./bin/", "/"]', "ADD /bin/bad /", "COPY bi?/bad /"):
        finding = only(ties(line, folder=tmp_path))
        assert finding.what == f"{line.split()[0]} brings bin/bad (amd64)"
        assert (finding.kind, finding.line, finding.blocks) == ("binary", 2, True)


@pytest.mark.parametrize(
    ("ignore", "brought"),
    [
        ("*\n!bin/app\n", ["bin/app"]),
        ("bin\n!bin/app", ["bin/app", "lib/x.so"]),
        ("*.so", ["bin/app", "lib/x.so"]),
        ("**/*.so", ["bin/app"]),
        ("lib/**\n", ["bin/app"]),
        ("/bin/\n!app", ["lib/x.so"]),
        ("!bin/app\n*", []),
        ("*\n!lib\n# !bin", ["lib/x.so"]),
        ("**/[^ab]*", ["bin/app"]),
        ("./bin/../lib", ["bin/app"]),
        ("**/" * 500 + "*a" * 500, ["bin/app", "lib/x.so"]),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_what_is_ignored_is_as_the_build_has_it(
    tmp_path: Path, ignore: str, brought: list[str], own: bool
) -> None:
    for name in ("bin/app", "lib/x.so"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(elf(62))
    # A Dockerfile's own list takes the place of the folder's.
    (tmp_path / ".dockerignore").write_text("*" if own else ignore)
    if own:
        (tmp_path / "Dockerfile.dockerignore").write_text(ignore)
    found = ties("COPY bin bin\nCOPY lib lib", folder=tmp_path)
    assert [one.what for one in found.findings] == [f"COPY brings {name} (amd64)" for name in brought]


def test_a_dockerfile_in_a_folder_has_its_list_beside_it(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(elf(62))
    for name, ignore in (("d/Dockerfile.dockerignore", "x"), (".dockerignore", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(ignore)
    write(tmp_path / "d", Dockerfile="FROM a\nCOPY x /\n")
    sources = Sources({}, str(tmp_path), tmp_path)
    request = Request(
        image=parse_reference("localhost/app"),
        platforms=(Platform.parse("arm64"),),
        path=tmp_path,
        file="d/Dockerfile",
    )
    plan = make_plan(request, Images({"a": ("arm64",)}), sources, Rules())
    assert root(plan).findings == ()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_packed_tree_of_another_cpu(tmp_path: Path, mode: str) -> None:
    name = f"rootfs.tar{mode[1:].replace(':', '.')}"
    with tarfile.open(tmp_path / name, mode) as packed:  # type: ignore[call-overload]
        for path, data in (("etc/x", b"text" * 20), ("bin/sh", elf(62))):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    assert only(ties(f"ADD {name} /", folder=tmp_path)).what == f"ADD brings {name} (amd64)"
    assert ties(f"ADD {name} /", "amd64", folder=tmp_path).findings == ()
    (tmp_path / name).write_bytes(b"broken" * 100)
    assert ties(f"ADD {name} /", folder=tmp_path).findings == ()
