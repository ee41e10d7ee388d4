"""An image compiled from source boots and does what one of packages does. It takes a quarter of an hour.

BUILDROOT names a tree of Buildroot. Where the sources' own sites are out of reach, SKIFF_SOURCE_LAYER names a
layer that says where they are (`[buildroot.source]`), and BR2_DL_DIR their folder.
SKIFF_TEST_FROM_SOURCE=1 has the other tests of `virt/qemu` run on this image too.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from skiff.model.arch import Arch
from tests.vm.driver import Device
from tests.vm.sources import words_for_source

MakeDevice = Callable[..., Device]

# Nobody promises speed under emulation.
PATIENT = 300


@pytest.fixture
def compiled(device: MakeDevice) -> Device:
    if not os.environ.get("BUILDROOT"):
        pytest.skip("BUILDROOT names no tree of Buildroot")
    return device(*words_for_source(), shipped=True)


def test_an_image_from_source_boots_and_keeps_its_promises(compiled: Device) -> None:
    compiled.boot(PATIENT)
    assert compiled.succeed("uname -m").strip() == Arch.ARM64.machine
    # Compiled: no package of Debian's is in it.
    compiled.fail("test -e /usr/lib/aarch64-linux-gnu")
    compiled.wait_for_persist(PATIENT)
    assert compiled.failed() == {}
    compiled.succeed("echo kept >/mnt/persist/note; sync")
    compiled.cut_power()
    compiled.boot(PATIENT)
    compiled.wait_for_persist(PATIENT)
    assert compiled.succeed("cat /mnt/persist/note").strip() == "kept"
