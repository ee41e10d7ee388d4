"""Dockerfiles of every kind: what is understood, and at which line and column a mistake is."""

from __future__ import annotations

import pytest

from skiff.port.dockerfile import DockerfileError, Instruction, decode, parse, parse_trigger, render
from skiff.port.dockerfile.flags import mount_options


def one(text: str) -> Instruction:
    """The instruction behind a FROM."""
    return parse(f"FROM a\n{text}\n").instructions[1]


def meaning(made: Instruction) -> tuple[object, ...]:
    """An instruction without the places in the text that it came from."""
    flags = tuple((flag.name, flag.value) for flag in made.flags)
    pairs = tuple((pair.key, pair.value) for pair in made.pairs)
    heredocs = tuple((doc.name, doc.expand, doc.chomp, doc.content) for doc in made.heredocs)
    trigger = meaning(made.trigger) if made.trigger else None
    return (made.keyword, flags, made.text, made.words, made.json, pairs, heredocs, trigger)


# Every instruction of the reference, with every flag: text, arguments as words, flags.
INSTRUCTIONS = [
    ("ADD a b /c/", ("a", "b", "/c/"), {}),
    ('ADD ["a b", "/c d/"]', ("a b", "/c d/"), {}),
    ("ADD --checksum=sha256:0aF9 https://e.x/f /f", ("https://e.x/f", "/f"), {"checksum": "sha256:0aF9"}),
    ("ADD --checksum=$SUM u /f", ("u", "/f"), {"checksum": "$SUM"}),
    ("ADD --keep-git-dir=true https://e.x/r.git#v1 /r", None, {"keep-git-dir": "true"}),
    ("ADD --keep-git-dir git@e.x:r.git /r", None, {"keep-git-dir": None}),
    ("ADD --unpack=false a.tar /", ("a.tar", "/"), {"unpack": "false"}),
    ("ADD --chown=1:2 --chmod=0644 --link a /b", ("a", "/b"), {"chown": "1:2", "link": None}),
    ("ADD --exclude=*.md --exclude=b . /b", (".", "/b"), {"exclude": "b"}),
    ("COPY a /b", ("a", "/b"), {}),
    ("copy --from=build /a /b", ("/a", "/b"), {"from": "build"}),
    ("COPY --from=0 /a /b", None, {"from": "0"}),
    ("COPY --from=e.x:5000/i/j:1@sha256:abc /a /b", None, {"from": "e.x:5000/i/j:1@sha256:abc"}),
    ("COPY --link=TRUE --parents --exclude=x ./a/./b /c", None, {"link": "TRUE", "parents": None}),
    ("COPY --chown=app:app --chmod=u=rwX,go=rX a /b", None, {"chmod": "u=rwX,go=rX"}),
    ("RUN make", (), {}),
    ('RUN ["make", "-j"]', ("make", "-j"), {}),
    ("RUN [ -f /x ] && echo yes", (), {}),
    ("RUN", (), {}),
    ("RUN --mount=type=cache,target=/c,id=x,sharing=locked,mode=0700,uid=1,gid=2 make", (), {}),
    ("RUN --mount=type=bind,from=b,source=/x,target=/y,rw make", (), {}),
    ("RUN --mount=type=tmpfs,target=/t,size=64m make", (), {}),
    ("RUN --mount=type=secret,id=s,required=true,env=S make", (), {}),
    ("RUN --mount=type=ssh,mode=0600 make", (), {}),
    ("RUN --mount=target=. --mount=type=$T,target=/x make", (), {}),
    ("RUN --network=none --security=insecure make", (), {"network": "none", "security": "insecure"}),
    ("RUN --network='host' --device=vendor.x/d make", (), {"network": "host", "device": "vendor.x/d"}),
    ("RUN -- --odd", (), {}),
    ("CMD", (), {}),
    ('CMD ["a", "b c"]', ("a", "b c"), {}),
    ("CMD []", (), {}),
    ("CMD ['a']", (), {}),
    ("ENTRYPOINT exec top", (), {}),
    ('ENTRYPOINT ["\\u0041\\\\"]', ("A\\",), {}),
    ("EXPOSE 80 443/udp $PORT", ("80", "443/udp", "$PORT"), {}),
    ("VOLUME /a /b", ("/a", "/b"), {}),
    ('VOLUME ["/a", "/b c"]', ("/a", "/b c"), {}),
    ("USER 1000:1000", (), {}),
    ("WORKDIR /a b", (), {}),
    ("MAINTAINER Anna <a@e.x>", (), {}),
    ("STOPSIGNAL SIGRTMIN+3", (), {}),
    ('SHELL ["/bin/bash", "-o", "pipefail", "-c"]', ("/bin/bash", "-o", "pipefail", "-c"), {}),
    ("HEALTHCHECK NONE", (), {}),
    ("HEALTHCHECK CMD curl -f localhost", (), {}),
    (
        "HEALTHCHECK --interval=1m30s --timeout=.5s --start-period=0 "
        '--start-interval=500ms --retries=3 CMD ["x"]',
        ("x",),
        {"interval": "1m30s", "timeout": ".5s", "start-interval": "500ms", "retries": "3"},
    ),
    ("ONBUILD RUN make", (), {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words", "flags"), INSTRUCTIONS, ids=[case[0] for case in INSTRUCTIONS])
def test_every_instruction_and_flag(text: str, words: tuple[str, ...] | None, flags: dict[str, str]) -> None:
    made = one(text)
    if words is not None:
        assert made.words == words
    assert {flag.name: flag.value for flag in made.flags}.items() >= flags.items()
    again = parse(render(parse(f"FROM a\n{text}\n"))).instructions[1]
    assert meaning(again) == meaning(made)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("ENV A=b", [("A", "b")]),
        ("ENV A='b c' D=\"e $f\" G=h\\ i J=", [("A", "'b c'"), ("D", '"e $f"'), ("G", "h\\ i"), ("J", "")]),
        ("ENV ONE TWO= THREE=world", [("ONE", "TWO= THREE=world")]),
        ("LABEL a.b=c \\\n  # of whom\n  d=e", [("a.b", "c"), ("d", "e")]),
        ("ARG A B= C=d=e", [("A", None), ("B", ""), ("C", "d=e")]),
        ("ARG A='x y'", [("A", "'x y'")]),
    ],
)
def test_pairs(text: str, pairs: list[tuple[str, str | None]]) -> None:
    assert [(pair.key, pair.value) for pair in one(text).pairs] == pairs


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("RUN a \\\n  b", "a   b"),
        ("RUN a \\  \t\n  b", "a   b"),
        ("RUN a && \\\n# why\n\n   # and this\n  b", "a &&   b"),
        ("RUN a \\\r\n  b\r", "a   b"),
        ("RUN a \\\\", "a \\\\"),
        ("RUN a # no comment", "a # no comment"),
        ("RUN a \\\n", "a"),
        ("  \t run a", "a"),
        ("\\\nRUN a", "a"),
        ("R\\\nUN a", "a"),
    ],
)
def test_continued_lines(text: str, joined: str) -> None:
    assert one(text).text == joined


def test_lines_are_counted_in_the_file() -> None:
    file = parse("# c\n\nFROM a\nRUN x \\\n\n  y\nCMD z\n")
    assert [(made.line, made.end_line) for made in file.instructions] == [(3, 3), (4, 6), (7, 7)]
    run = file.instructions[1]
    assert file.place(run.offsets[run.joined.index("y")]) == (6, 3)


def test_another_escape() -> None:
    file = parse("#escape=`\nFROM a\nRUN dir c:\\\nRUN x `\n y\n")
    assert [made.text for made in file.instructions] == ["a", "dir c:\\", "x  y"]
    assert file.escape == "`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# syntax=docker/dockerfile:1\n#check=skip=all;error=true\nFROM a", ["syntax", "check"]),
        ("#\t sYnTaX = a/b:c@sha256:d\nFROM a", ["syntax"]),
        ("# about\n# escape=`\nFROM a", []),
        ("\n# escape=`\nFROM a", []),
        ("# unknown=1\n# escape=`\nFROM a", []),
        ("FROM a\n# escape=`", []),
    ],
)
def test_directives_stand_at_the_top(text: str, expected: list[str]) -> None:
    assert [directive.name for directive in parse(text).directives] == expected


@pytest.mark.parametrize(
    ("text", "docs"),
    [
        ("RUN <<EOF\na\n  EOF\nEOF", [("EOF", True, False, "a\n  EOF\n")]),
        ("RUN <<'EOF' cat\n$a\nEOF", [("EOF", False, False, "$a\n")]),
        ('RUN <<"E F"\nE\nE F', [("E F", False, False, "E\n")]),
        ("RUN <<-EOF\n\ta\n\tEOF", [("EOF", True, True, "\ta\n")]),
        ("RUN <<\\EOF\na\nEOF", [("EOF", True, False, "a\n")]),
        ("RUN x <<A && 3<< b cat\na\nA\nc\nb", [("A", True, False, "a\n"), ("b", True, False, "c\n")]),
        ("COPY <<a <<b /d/\n1\na\n2\nb", [("a", True, False, "1\n"), ("b", True, False, "2\n")]),
        ("ADD --chmod=644 <<EOF /x\n\nEOF", [("EOF", True, False, "\n")]),
        ("ONBUILD RUN <<EOF\nFROM b\nEOF", [("EOF", True, False, "FROM b\n")]),
        ("RUN <<EOF\n# kept \\\nEOF", [("EOF", True, False, "# kept \\\n")]),
        ("RUN <<EOF\r\na\r\nEOF\r", [("EOF", True, False, "a\r\n")]),
        ("RUN a <<< b", []),
        ("RUN echo '<<EOF'", []),
        ("RUN [\"cat\", \"<<EOF\"]", []),
        ("CMD cat <<EOF", []),
        ("RUN echo $((1<<2))", []),
    ],
)  # fmt: skip
def test_here_documents(text: str, docs: list[tuple[str, bool, bool, str]]) -> None:
    made = one(text)
    assert [(doc.name, doc.expand, doc.chomp, doc.content) for doc in made.heredocs] == docs
    assert meaning(parse(render(parse(f"FROM a\n{text}\n"))).instructions[1]) == meaning(made)


@pytest.mark.parametrize(
    "text",
    [
        "FROM a",
        "from a as b",
        "FROM --platform=$BUILDPLATFORM a AS b.c-d_1",
        "FROM a@sha256:0123",
        "FROM ${X:-a}:${V}",
        "FROM scratch",
        "ARG V\nFROM a:$V",
        "\ufeffFROM a",
        "FROM a\r\nRUN b\r\n",
    ],
)
def test_beginnings(text: str) -> None:
    assert parse(text).instructions[-1].keyword in ("FROM", "RUN")


def test_a_trigger_is_an_instruction_too() -> None:
    made = one("ONBUILD COPY --from=b /a /c")
    assert made.trigger is not None
    assert (made.trigger.keyword, made.trigger.words) == ("COPY", ("/a", "/c"))
    assert parse_trigger("COPY . /app", "node").words == (".", "/app")


def test_options_of_a_mount() -> None:
    value = 'type=bind,"source=a,b",Target=/x,rw'
    assert mount_options(value) == {"type": "bind", "source": "a,b", "target": "/x", "rw": ""}


MISTAKES = [
    ("", "1:1: no instructions"),
    ("# only a comment\n", "1:1: no instructions"),
    ("ARG A\n", "1:1: ARG before any FROM"),
    ("RUN a", "1:1: RUN before any FROM"),
    ("# syntax=a\n# syntax=b\nFROM a", "2:1: directive syntax given twice"),
    ("# escape=x\nFROM a", "1:10: escape 'x': not allowed"),
    ("FROM", "1:4: FROM needs an argument"),
    ("FROM a b", "1:8: FROM takes an image and maybe a name"),
    ("FROM a AS 1b", "1:11: '1b': not a name for a stage"),
    ("FROM --plat=x a", "1:6: FROM has no flag --plat"),
    ("FROM a\n  \n  RUM b", "3:3: unknown instruction 'RUM'"),
    ("FROM a\nRUN \\\n  --mount=type=cash,target=/x b", "3:3: --mount=type=cash,target=/x: no mount of type"),
    ("FROM a\nRUN --mount=sharing=locked b", "2:5: --mount=sharing=locked: sharing is no option"),
    ("FROM a\nRUN --mount=trget=/x b", "2:5: --mount=trget=/x: no option trget"),
    ("FROM a\nRUN --mount=target b", "2:5: --mount=target: target without a value"),
    ("FROM a\nRUN --mount=from=$X,target=/x b", "2:5: --mount=from=$X,target=/x: variables are not put in"),
    ("FROM a\nRUN --network=some b", "2:5: --network=some"),
    ("FROM a\nRUN --network b", "2:5: --network without a value"),
    ("FROM a\nRUN --network=none --network=host b", "2:20: --network given twice"),
    ("FROM a\nRUN [\"a\", 1]", "2:5: RUN: the array may hold strings only"),
    ("FROM a\nRUN <<EOF\na", "2:5: here-document EOF has no end"),
    ("FROM a\nCOPY a", "2:6: COPY needs a source and a target"),
    ("FROM a\nCOPY --from=$X a b", "2:6: --from=$X: variables are not put in here"),
    ("FROM a\nCOPY --link=maybe a b", "2:6: --link=maybe"),
    ("FROM a\nCOPY a <<EOF\nEOF", "2:6: COPY: a here-document cannot be the target"),
    ("FROM a\nADD --checksum=abc a b", "2:5: --checksum=abc: not a checksum"),
    ("FROM a\nENV", "2:3: ENV needs an argument"),
    ("FROM a\nENV A", "2:5: ENV A without a value"),
    ("FROM a\nENV A=b c", "2:9: ENV: no '=' in 'c'"),
    ("FROM a\nENV =b", "2:5: ENV: no name before '='"),
    ("FROM a\nSHELL /bin/sh -c", "2:7: SHELL needs a JSON array"),
    ("FROM a\nSHELL []", "2:7: SHELL needs a JSON array"),
    ("FROM a\nVOLUME [\" \"]", "2:8: VOLUME of nothing"),
    ("FROM a\nHEALTHCHECK", "2:11: HEALTHCHECK takes NONE, or CMD and a command"),
    ("FROM a\nHEALTHCHECK NONE x", "2:18: HEALTHCHECK NONE takes nothing more"),
    ("FROM a\nHEALTHCHECK CMD", "2:13: HEALTHCHECK CMD without a command"),
    ("FROM a\nHEALTHCHECK --interval=soon CMD x", "2:13: --interval=soon: not a duration"),
    ("FROM a\nHEALTHCHECK --retries=-1 CMD x", "2:13: --retries=-1: not a whole number"),
    ("FROM a\nONBUILD ONBUILD RUN x", "2:9: ONBUILD cannot stand behind ONBUILD"),
    ("FROM a\nONBUILD FROM b", "2:9: FROM cannot stand behind ONBUILD"),
    ("FROM a\nUSER", "2:4: USER needs an argument"),
    ("FROM a\nCMD --x y", "2:5: CMD has no flag --x"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[case[1] for case in MISTAKES])
def test_a_mistake_is_told_by_line_and_column(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text, "Dockerfile")
    assert caught.value.message.startswith(f"Dockerfile:{message}")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(DockerfileError, match="Dockerfile:2:5: not UTF-8"):
        decode(b"FROM a\nRUN \xff", "Dockerfile")
    assert decode(b"\xef\xbb\xbfFROM a", "x") == "FROM a"
