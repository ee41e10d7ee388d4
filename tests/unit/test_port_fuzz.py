"""Hostile Dockerfiles: parsing ends, in a value or in one message with a place that is in the file."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from skiff.model.port import Platform
from skiff.port.cpu_ties import examine
from skiff.port.dockerfile import DockerfileError, parse, render
from skiff.port.dockerfile.expand import ExpandError, expand
from skiff.port.tie_rules import Rules
from skiff.port.trees import LocalTree
from tests.unit.test_port_dockerfile import INSTRUCTIONS, meaning

# Pieces that are put together at random: each is part of what a parser can stumble over.
PIECES = st.sampled_from(
    [
        *(text for text, _, _ in INSTRUCTIONS),
        *("FROM a", "FROM a AS b", "ARG V=1", "ENV A=b", "# escape=`", "# syntax=x", "#", "ONBUILD", "RUN"),
        *("<<EOF", "<<-EOF", "<<'E F'", "EOF", "\tEOF", "E F", "--mount=", "--", "--x", "[", '["a"', "]"),
        *("\\", "`", "\\\n", "\n", "\r\n", "\r", "\t", " ", "\f", "\v", "\x1c", "\x85", "\xa0", "\u2028"),
        *("$", "${", "${a:-", "}", '"', "'", "=", ",", "\0", "\ufeff", "é", "\U0001f600", "{", '["\\ud800"]'),
    ]
)
SOUP = st.lists(PIECES, max_size=25).map("".join)
LINES = st.lists(PIECES, max_size=15).map("\n".join)
TEXTS = st.one_of(
    SOUP,
    LINES.map(lambda text: f"FROM a\n{text}"),
    SOUP.map(lambda text: f"FROM a\nRUN {text}\n"),
    st.text(max_size=200),
)
bounded = settings(max_examples=250, deadline=None, derandomize=True, database=None)


@bounded
@given(TEXTS)
def test_parsing_ends_in_a_value_or_a_message(text: str) -> None:
    try:
        file = parse(text)
    except DockerfileError as error:
        lines = text.removeprefix("\ufeff").split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        assert re.match(rf"Dockerfile:{error.line}:{error.column}: .", error.message, re.DOTALL)
        return
    for made in file.instructions:
        assert 1 <= made.line <= made.end_line <= text.count("\n") + 1
        assert len(made.offsets) == len(made.joined)
        assert all(file.text[offset] == char for offset, char in zip(made.offsets, made.joined, strict=True))
    again = parse(render(file))
    assert [meaning(made) for made in again.instructions] == [meaning(made) for made in file.instructions]
    assert render(again) == render(file)


TIES = st.sampled_from(
    [
        *(
            "FROM --platform=linux/amd64 a AS b",
            "FROM --platform=$BUILDPLATFORM amd64/a",
            "FROM b",
            "FROM a AS b",
        ),
        *("RUN curl https://nodejs.org/dist/v1/node-v1-linux-x64.tar.gz", "tar x node-v1-linux-x64.tar.gz"),
        *("ADD https://e.x/a-amd64 /b", "COPY --from=b /a /b", "COPY . /", "ENV ARCH=x64", "ARG ARCH=amd64"),
        *(
            "RUN curl https://nodejs.org/dist/v1/node-$ARCH",
            "sha256sum",
            "a" * 64,
            "case $a in",
            "amd64)",
            ";;",
        ),
        *(
            "*) exit 1",
            "esac",
            "if [ $A = arm64 ]",
            "then",
            "elif",
            "else",
            "fi",
            "RUN gcc -m64",
            "-msse2 x.c",
        ),
        *("[arch=amd64", "]", "x86_64-linux-gnu", "lib32x", "libx:amd64", "RUN <<EOF", "EOF", " \\", " && "),
    ]
)
SCRIPTS = st.lists(st.tuples(TIES, st.sampled_from(["\n", " ", " \\\n ", "; "])), max_size=20).map(
    lambda parts: "FROM a\n" + "".join(piece + end for piece, end in parts)
)


@bounded
@given(SCRIPTS, st.sampled_from(["arm64", "armhf", "riscv64", "386", "amd64"]), st.booleans())
def test_looking_for_ties_ends_in_a_file_of_as_many_lines(text: str, name: str, native: bool) -> None:
    platform = Platform.parse(name)
    build = platform if native else Platform.parse("amd64")
    try:
        file = parse(text)
        found = examine(file, LocalTree(Path("/nowhere")), {}, "", platform, build, Rules())
    except DockerfileError:
        return
    again = parse(found.text)
    assert [made.keyword for made in again.instructions] == [made.keyword for made in file.instructions]
    assert found.text.count("\n") == text.count("\n")
    assert bool(found.diff) == (found.text != text) == any(one.after for one in found.findings)
    assert all(1 <= one.line <= text.count("\n") + 1 for one in (*found.findings, *found.refused))
    assert not any(one.after for one in found.refused)


@bounded
@given(st.lists(PIECES | st.text(max_size=3), max_size=15).map("".join))
def test_expanding_ends_in_a_word_or_a_message(word: str) -> None:
    try:
        assert len(expand(word, {"a": "x" * 10, "b": "*"})) <= 1 << 16
    except ExpandError as error:
        assert 0 <= error.at <= len(word)
