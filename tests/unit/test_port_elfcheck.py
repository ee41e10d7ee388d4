"""Whether an image is for its CPU, from heads of ELF files in the layers that the engine saved."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Literal

import pytest

from skiff.host.elf import read_head
from skiff.host.errors import UserError
from skiff.model.arch import Arch
from skiff.port.elfcheck import check


def elf(arch: Arch, *, type: int = 2, flags: int = 0) -> bytes:
    """The first bytes of a program for a CPU."""
    order: Literal["big", "little"] = "big" if arch.big_endian else "little"
    wide = arch.elf_bits == 64
    head = bytearray(64)
    head[:6] = b"\x7fELF" + bytes([2 if wide else 1, 2 if arch.big_endian else 1])
    head[16:18] = type.to_bytes(2, order)
    head[18:20] = arch.elf_machine.to_bytes(2, order)
    at = 48 if wide else 36
    head[at : at + 4] = flags.to_bytes(4, order)
    return bytes(head)


def layer(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def saved(path: Path, *layers: dict[str, bytes]) -> Path:
    """An image as `docker save` writes it."""
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    parts = {name: layer(files) for name, files in zip(names, layers, strict=True)}
    parts["manifest.json"] = json.dumps([{"Config": "c.json", "RepoTags": [], "Layers": names}]).encode()
    path.write_bytes(layer(parts))
    return path


ARM = elf(Arch.ARM64)
PC = elf(Arch.AMD64)


@pytest.mark.parametrize("arch", list(Arch), ids=lambda arch: arch.value)
def test_every_cpu_is_known_by_its_programs(arch: Arch) -> None:
    head = read_head(elf(arch))
    assert head is not None and head.runs_on(arch)
    others = {other for other in Arch if head.runs_on(other)} - {arch}
    assert others <= {Arch.ARMHF, Arch.ARMEL}


def test_arm_with_and_without_a_floating_point_unit_differ() -> None:
    hard = read_head(elf(Arch.ARMHF, flags=0x5000400))
    soft = read_head(elf(Arch.ARMEL, flags=0x5000200))
    assert hard is not None and soft is not None
    assert hard.runs_on(Arch.ARMHF) and not hard.runs_on(Arch.ARMEL)
    assert soft.runs_on(Arch.ARMEL) and not soft.runs_on(Arch.ARMHF)


def test_a_program_for_another_cpu_is_named(tmp_path: Path) -> None:
    image = saved(tmp_path / "i.tar", {"./bin/good": ARM, "etc/text": b"x" * 99}, {"usr/bin/bad": PC})
    proof = check(image, Arch.ARM64)
    assert (proof.files, proof.wrong) == (2, (("/usr/bin/bad", "amd64"),))
    with pytest.raises(UserError, match=r"demo has 1 of its 2 .*arm64:\n  /usr/bin/bad \(amd64\)"):
        proof.require("demo", Arch.ARM64)


def test_what_a_later_layer_replaced_or_took_away_does_not_count(tmp_path: Path) -> None:
    lower = {"bin/one": PC, "bin/two": PC, "opt/a/b": PC, "srv/x": PC, "srv/y": PC}
    upper = {"bin/one": ARM, "bin/.wh.two": b"", "opt/.wh.a": b"", "srv/y": ARM, "srv/.wh..wh..opq": b""}
    proof = check(saved(tmp_path / "i.tar", lower, upper), Arch.ARM64)
    assert (proof.files, proof.wrong) == (2, ())


def test_a_whiteout_beside_its_like_takes_nothing_else(tmp_path: Path) -> None:
    proof = check(saved(tmp_path / "i.tar", {"opt/ab": ARM, "opt/a": PC}, {"opt/.wh.a": b""}), Arch.ARM64)
    assert proof.files == 1


def test_samples_objects_and_what_is_allowed_are_let_be(tmp_path: Path) -> None:
    files = {
        "usr/lib/go/src/debug/elf/testdata/sample": PC,
        "lib/modules/one.ko": elf(Arch.AMD64, type=1),
        "usr/x86_64-linux-gnu/lib/libc.so": PC,
    }
    image = saved(tmp_path / "i.tar", files)
    assert check(image, Arch.ARM64, ["/usr/x86_64-linux-gnu/*"]).wrong == ()
    assert [path for path, _ in check(image, Arch.ARM64).wrong] == ["/usr/x86_64-linux-gnu/lib/libc.so"]


def test_what_is_no_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"no\.tar: not an image"):
        check(tmp_path / "no.tar", Arch.ARM64)
