"""Real builds from the real archive: the same to the byte, and clear ends for what goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skiff.host.files import file_digest
from skiff.host.run import run
from skiff.image.assemble import load
from tests.vm.conftest import Images

# Seconds; a build of the small image from a warm package cache takes a tenth of this.
PATIENCE = 600


class Build:
    """Runs `skiff` in a folder of workspaces of its own, with the shared package cache."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.environment = {
            "SKIFF_WORKSPACES": str(folder / "workspaces"),
            "SKIFF_CACHE": str(cache),
            "SKIFF_CONFIG": "",
            "SKIFF_WORKSPACE": "",
        }

    def layer(self, name: str, text: str) -> str:
        path = self.folder / "layers" / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "layer.toml").write_text(f'description = "{name}"\n{text}')
        return str(path)

    def skiff(self, *words: str) -> tuple[int, str]:
        done = run(
            [sys.executable, "-m", "skiff", *words],
            env=self.environment,
            input=b"",
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).decode()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "skiff", *words],
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def image(self, workspace: str) -> Path:
        return self.folder / "workspaces" / workspace / "image"


@pytest.fixture
def build(images: Images, tmp_path: Path) -> Build:
    return Build(tmp_path, images.cache)


# The second has Python's modules, compiled by what runs on this machine.
@pytest.mark.parametrize("named", [("virt/qemu",), ("virt/qemu,apps/common", "--arch", "arm64")])
def test_two_builds_of_one_lock_on_two_paths_are_the_same(
    build: Build, images: Images, tmp_path: Path, named: tuple[str, ...]
) -> None:
    words = ("--no-user-keys", *named)
    assert build.skiff("lock", "-w", "one", *words)[0] == 0
    status, output = build.skiff("build", "-w", "one", "--locked", *words)
    assert status == 0, output
    # Another cache, in which only the package files are the same; another folder.
    cache = tmp_path / "other-cache"
    shutil.copytree(images.cache / "debs", cache / "debs", copy_function=os.link)
    other = Build(tmp_path / "elsewhere", cache)
    for name in ("lock.json", "keys"):
        source, target = build.image("one").parent / name, other.image("two").parent / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    status, output = other.skiff("build", "-w", "two", "--locked", *words)
    assert status == 0, output
    for name in ("kernel", "initramfs"):
        assert file_digest(build.image("one") / name) == file_digest(other.image("two") / name)


def test_a_lock_of_other_packages_is_refused(build: Build) -> None:
    assert build.skiff("lock", "virt/qemu")[0] == 0
    more = build.layer("more", '[debian]\npackages = ["tini"]\n')
    status, output = build.skiff("build", "--locked", f"virt/qemu,{more}")
    assert status == 2
    assert "the lock is for other packages" in output


def test_a_package_that_debian_lacks(build: Build) -> None:
    wrong = build.layer("wrong", '[debian]\npackages = ["no-such-package-here"]\n')
    status, output = build.skiff("build", f"virt/qemu,{wrong}")
    assert status == 2
    assert "has no package no-such-package-here for amd64 (layer layers/wrong)" in output
    assert not build.image("default").exists()


def test_a_promised_program_that_is_missing(build: Build) -> None:
    wrong = build.layer("wrong", '[tree]\nprograms = ["/usr/bin/nothing"]\n')
    status, output = build.skiff("build", f"virt/qemu,{wrong}")
    assert status == 2
    assert "/usr/bin/nothing" in output
    assert not build.image("default").exists()


def test_a_program_whose_library_was_trimmed_away(build: Build) -> None:
    wrong = build.layer("wrong", '[trim]\ndrop = ["usr/lib/*/libpopt.so.*"]\n')
    status, output = build.skiff("build", f"virt/qemu,{wrong}")
    assert status == 2
    assert "/usr/bin/rsync (rsync) needs libpopt.so.0" in output


def test_a_module_that_the_kernel_lacks(build: Build) -> None:
    wrong = build.layer("wrong", '[kernel]\nmodules = ["no_such_module"]\n')
    status, output = build.skiff("build", f"virt/qemu,{wrong}")
    assert status == 2
    assert "has no module no_such_module" in output


def test_a_mirror_out_of_reach(build: Build) -> None:
    status, output = build.skiff("build", "virt/qemu", "--mirror", "http://127.0.0.1:9/debian")
    assert status == 2
    assert "could not be fetched" in output
    assert "--mirror" in output


def test_ctrl_c_leaves_the_old_image(build: Build, tmp_path: Path) -> None:
    slow = build.layer("slow", "")
    assert build.skiff("build", f"virt/qemu,{slow}")[0] == 0
    before = load(build.image("default"))
    hook = tmp_path / "layers/slow/hooks/generate"
    hook.parent.mkdir()
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    # The hook tells that the build is under way, and then lasts until it is ended.
    hook.write_text(f"#!/bin/sh\necho here > {ready}\nread -r _ < {ready}\n")
    hook.chmod(0o755)
    process = build.start("build")
    ready.read_text()
    # A second build of the same workspace is refused meanwhile.
    status, output = build.skiff("build")
    assert status == 2
    assert "another build of workspace default is under way" in output
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert load(build.image("default")) == before
    assert [path.name for path in build.image("default").parent.glob(".image*")] == []
    hook.unlink()
    assert build.skiff("build")[0] == 0
