"""The environments that come as layers: what of them can be checked without a registry to build them from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skiff.port.dockerfile import parse
from skiff_device.core import config

CORE = Path(__file__).parents[2] / "layers" / "core"
NAMES = sorted(path.name for path in CORE.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_built_is_what_the_configuration_enters(name: str) -> None:
    share = CORE / name / "rootfs/usr/share/skiff/core"
    settings = config.read(share / "config.yaml")
    assert settings.warnings == ()
    container, user = settings.containers["core"], settings.users["core"]
    build = settings.images[container.image].build
    assert build is not None and build.source == f"/usr/share/skiff/core/{name}"
    folder = share / Path(build.source).name
    instructions = parse((folder / "Dockerfile").read_text(), "Dockerfile").instructions
    assert [one.words for one in instructions if one.keyword == "CMD"] == [container.cmd]
    steps = "\n".join(one.text for one in instructions)
    for one in instructions:
        if one.keyword == "COPY":
            for source in one.words[:-1]:
                steps += (folder / source).read_text()
    # Who logs in is made with a shell, and with the number that files in `/home` already have.
    assert re.search(rf"(useradd|adduser) .*(--uid|-u) 1000 .*/bin/bash {user.container_user}\b", steps)
    assert f"{user.container_user} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{user.container_user}" in steps
    # What scp, sftp, rsync and git ask for inside.
    for package in (r"openssh(-sftp-server)?\b", r"rsync\b", r"git\b", r"sudo\b", r"ca-certificates\b"):
        assert re.search(rf"^\W*{package}|[\s]{package}", steps, re.MULTILINE), package
    assert container.mounts == ("core-home:/home",)


def test_only_one_of_them_is_in_an_image() -> None:
    for name in NAMES:
        others = [f'"core/{other}"' for other in NAMES if other != name]
        assert f"conflicts = [{', '.join(others)}]" in (CORE / name / "layer.toml").read_text()
