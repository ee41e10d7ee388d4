"""Names of platforms and images, in every spelling one meets."""

from __future__ import annotations

import msgspec
import pytest

from skiff.model.arch import Arch
from skiff.model.oci import ImageConfig
from skiff.model.port import Platform, Reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("amd64/v1", "linux/amd64"),
        ("amd64/v3", "linux/amd64/v3"),
        ("arm64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("arm64v8", "linux/arm64"),
        ("armhf", "linux/arm/v7"),
        ("linux/arm", "linux/arm/v7"),
        ("arm/v6", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("arm32v6", "linux/arm/v6"),
        ("armel", "linux/arm/v5"),
        ("i386", "linux/386"),
        ("386", "linux/386"),
        ("ppc64el", "linux/ppc64le"),
        ("mips64el", "linux/mips64le"),
        ("s390x", "linux/s390x"),
        ("LOONG64", "linux/loong64"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_a_platform_is_known_by_every_name(text: str, expected: str) -> None:
    assert str(Platform.parse(text)) == str(Platform.known(text)) == expected


@pytest.mark.parametrize("text", ["mips", "linux/ppc64", "wasi/wasm"])
def test_a_cpu_without_debian_is_known_too(text: str) -> None:
    assert Platform.known(text) == Platform.parse(text)


@pytest.mark.parametrize("text", ["", "linux/", "a/b/c/d", "linux/arm/v7/x", "li nux/arm"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(ValueError, match="not a platform"):
        Platform.parse(text)


@pytest.mark.parametrize("arch", list(Arch))
def test_every_cpu_goes_to_its_platform_and_back(arch: Arch) -> None:
    platform = Platform.of(arch)
    assert str(platform) == arch.oci
    assert platform.debian is arch
    assert platform.library == arch.library


def test_an_older_variant_is_taken_when_the_own_one_is_missing() -> None:
    v5, v6, v7 = (Platform("linux", "arm", variant) for variant in ("v5", "v6", "v7"))
    assert v7.choose((v5, v6)) == v6
    assert v6.choose((v7,)) is None
    assert v6.choose((v5, v6, v7)) == v6
    assert Platform.parse("amd64/v3").choose((Platform.parse("amd64"),)) == Platform.parse("amd64")
    assert Platform.parse("arm64").choose((v7,)) is None


def test_packages_for_arm_v6_are_armel_s() -> None:
    assert Platform.parse("arm/v6").debian is Arch.ARMEL
    assert Platform.parse("arm/v6").library == "arm32v6"
    assert Platform.parse("windows/amd64").debian is None


def test_a_reference_is_short_and_in_full() -> None:
    name = Reference("docker.io", "library/debian", "trixie", "sha256:ab")
    assert str(name) == "docker.io/library/debian:trixie@sha256:ab"
    assert name.short == "debian:trixie@sha256:ab"
    assert Reference("ghcr.io", "a/b", "1").short == "ghcr.io/a/b:1"
    assert Reference("docker.io", "a/b", "1").short == "a/b:1"


def test_a_configuration_is_read_as_registries_give_it() -> None:
    text = b"""{"architecture": "arm", "os": "linux", "variant": "v7", "author": "x",
      "config": {"Env": ["A=b"], "Cmd": ["sh"], "Labels": null, "OnBuild": ["RUN x"],
        "ExposedPorts": {"8/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5}},
      "rootfs": {"type": "layers", "diff_ids": ["sha256:a"]},
      "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "x", "empty_layer": true}]}"""
    config = msgspec.json.decode(text, type=ImageConfig)
    assert config.run.env == ("A=b",)
    assert config.run.on_build == ("RUN x",)
    assert config.labels == {}
    assert config.history[0].empty_layer
