"""KVM is believed only after a kernel has booted with it, and the answer is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.machine import kvm
from skiff.model.arch import Arch
from skiff.model.image import Image
from tests.tool.fake_machine import FakeHost, small_image

WORKS = "[ 1.0] VFS: Unable to mount root fs on unknown-block(0,0)"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    fake = FakeHost(tmp_path, monkeypatch)
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(kvm, "_DEVICE", device)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    yield fake
    fake.end_all()


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return small_image(tmp_path / "image")


def choose(image: Image, tmp_path: Path, wish: str = "auto") -> tuple[str, list[str]]:
    notices: list[str] = []
    return kvm.choose(image, wish, tmp_path / "cache", notices.append), notices


def trials(host: FakeHost) -> int:
    return len([words for words in host.calls("qemu") if "-no-reboot" in words])


def test_a_kernel_that_boots_is_proof(host: FakeHost, image: Image, tmp_path: Path) -> None:
    host.qemu(kvm=WORKS)
    assert choose(image, tmp_path) == ("kvm", [])


def test_a_failure_falls_back_with_one_line(host: FakeHost, image: Image, tmp_path: Path) -> None:
    accel, notices = choose(image, tmp_path)
    assert accel == "tcg"
    assert len(notices) == 1 and "MSR 0x10a" in notices[0]


def test_a_kernel_that_stops_half_way_is_no_proof(host: FakeHost, image: Image, tmp_path: Path) -> None:
    host.qemu(kvm="[ 0.0] Linux version 6.12")
    assert choose(image, tmp_path)[0] == "tcg"


def test_a_kernel_that_hangs_is_given_up(
    host: FakeHost, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm, "_LIMIT", 0.2)
    host.program("qemu-system-x86_64", '[ "$1" != --version ] || exec echo QEMU; exec tail -f /dev/null')
    accel, notices = choose(image, tmp_path)
    assert accel == "tcg" and "does not boot within" in notices[0]


@pytest.mark.parametrize("behaviour", [{"kvm": WORKS}, {}])
def test_it_is_tried_once(host: FakeHost, image: Image, tmp_path: Path, behaviour: dict[str, str]) -> None:
    host.qemu(**behaviour)
    first = choose(image, tmp_path)
    assert choose(image, tmp_path) == first
    assert trials(host) == 1


def test_another_kernel_is_tried_anew(host: FakeHost, image: Image, tmp_path: Path) -> None:
    choose(image, tmp_path)
    choose(small_image(tmp_path / "other", kernel="another"), tmp_path)
    assert trials(host) == 2


def test_a_failure_is_tried_anew_after_a_reboot(
    host: FakeHost, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(image, tmp_path)
    monkeypatch.setattr(kvm, "_boot_id", lambda: "another")
    host.qemu(kvm=WORKS)
    assert choose(image, tmp_path)[0] == "kvm"


def test_a_damaged_memory_is_no_obstacle(host: FakeHost, image: Image, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kvm.json").write_text("{half")
    host.qemu(kvm=WORKS)
    assert choose(image, tmp_path)[0] == "kvm"


def test_a_foreign_cpu_is_emulated_without_a_trial(host: FakeHost, tmp_path: Path) -> None:
    accel, notices = choose(small_image(tmp_path / "arm", arch=Arch.ARM64), tmp_path)
    assert accel == "tcg" and "aarch64" in notices[0]
    assert host.calls("qemu") == []


def test_a_wish_for_tcg_tries_nothing(host: FakeHost, image: Image, tmp_path: Path) -> None:
    assert choose(image, tmp_path, "tcg") == ("tcg", [])
    assert host.calls("qemu") == []


def test_a_demand_for_kvm_that_fails_is_an_error(host: FakeHost, image: Image, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="KVM does not work here") as error:
        choose(image, tmp_path, "kvm")
    assert "tcg" in error.value.hint
