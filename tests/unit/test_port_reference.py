"""Names of images as people write them."""

from __future__ import annotations

import pytest

from skiff.host.errors import UserError
from skiff.port.reference import parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:trixie-slim", "docker.io/library/debian:trixie-slim"),
        ("a/b", "docker.io/a/b:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/a/b:1", "docker.io/a/b:1"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a/b/c:1", "localhost:5000/a/b/c:1"),
        ("e.x/a_b/c--d.e:V1_2", "e.x/a_b/c--d.e:V1_2"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}"),
        (f"debian:13@{DIGEST}", f"docker.io/library/debian:13@{DIGEST}"),
        (" debian ", "docker.io/library/debian:latest"),
    ],
)
def test_a_name_in_full(text: str, expected: str) -> None:
    assert str(parse_reference(text)) == expected


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", "a:b:c", "A", "a//b", "a b", "-a", "a@b", "a@sha256:1", f"a:{'x' * 129}", "/a", "a/"],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UserError, match="not the name of an image"):
        parse_reference(text)
