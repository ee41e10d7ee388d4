"""The official library's format: paragraphs, defaults, continued lines, fields for one CPU."""

from __future__ import annotations

import pytest

from skiff.host.errors import UserError
from skiff.model.port import Platform
from skiff.port.library import find_entry, read_library

ARM64, ARMHF, AMD64 = (Platform.parse(name) for name in ("arm64", "armhf", "amd64"))

TEXT = """\
# this file is generated

Maintainers: Anna <a@e.x> (@a),
             Bert <b@e.x> (@b)
GitRepo: https://e.x/app.git
GitCommit: aaaa
# of another branch
arm32v6-GitFetch: refs/heads/arm
arm32v6-GitCommit: bbbb
Builder: buildkit

Tags: 1.2, 1, latest
Architectures: amd64, arm32v6, arm64v8
Directory: one
arm64v8-Directory: one/arm64
arm64v8-File: Dockerfile.arm

Tags: 1.2-windows
SharedTags: 1.2-any
Architectures: windows-amd64
Directory: windows
Constraints: windowsservercore-ltsc2025

Tags: 1.2-linux
SharedTags: 1.2-any
GitRepo: https://e.x/other.git
Builder: oci-import
Directory: oci
File: index.json
"""
ENTRIES = read_library(TEXT, "library/app")


def test_defaults_and_fields_for_one_cpu() -> None:
    entry = find_entry(ENTRIES, "latest", ARM64)
    assert entry is not None
    source = entry.source(ARM64)
    assert (source.url, source.commit, source.directory, source.file) == (
        "https://e.x/app.git",
        "aaaa",
        "one/arm64",
        "Dockerfile.arm",
    )
    source = entry.source(AMD64)
    assert (source.commit, source.directory, source.file) == ("aaaa", "one", "Dockerfile")
    assert entry.builder(AMD64) == "dockerfile"
    assert entry.supports(AMD64)
    assert not entry.supports(Platform.parse("riscv64"))


def test_an_older_variant_s_fields_are_taken_when_only_that_is_made() -> None:
    entry = find_entry(ENTRIES, "1", ARMHF)
    assert entry is not None
    assert entry.supports(ARMHF)
    source = entry.source(ARMHF)
    assert (source.commit, source.ref, source.directory) == ("bbbb", "refs/heads/arm", "one")


def test_of_a_shared_tag_the_entry_that_can_be_built_is_taken() -> None:
    for platform in (AMD64, ARM64):
        entry = find_entry(ENTRIES, "1.2-any", platform)
        assert entry is not None
        assert entry.tags == ("1.2-linux",)
        assert entry.source(platform).url == "https://e.x/other.git"
        assert (entry.builder(platform), entry.source(platform).file) == ("oci-import", "index.json")


def test_a_tag_that_is_not_there() -> None:
    assert find_entry(ENTRIES, "3", AMD64) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "library/app: empty"),
        ("# c\n", "library/app: empty"),
        ("Maintainers: a\n\nGitRepo: b\n", "library/app:3: an entry without Tags"),
        ("Maintainers: a\n\nTags: 1\nColour: red\n", "library/app:4: unknown field Colour"),
        ("Maintainers: a\nnonsense\n", "library/app:2: not a field: 'nonsense'"),
        ("Maintainers: a\nMaintainers: b\n", "library/app:2: Maintainers given twice"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_library(text, "library/app")
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("GitCommit: a", "library/app:1: no GitRepo"),
        ("GitRepo: a", "library/app:1: no GitCommit"),
        ("GitRepo: a\nGitCommit: b\nBuilder: magic", "library/app:1: Builder magic: not known"),
    ],
)
def test_an_entry_that_does_not_say_enough(fields: str, message: str) -> None:
    entry = read_library(f"Tags: 1\n{fields}\n", "library/app")[0]
    with pytest.raises(UserError) as caught:
        entry.source(AMD64)
        entry.builder(AMD64)
    assert caught.value.message.startswith(message)
