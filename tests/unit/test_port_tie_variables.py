"""Variables that stand in addresses of files for one CPU: found where they are set, and put right there."""

from __future__ import annotations

import pytest

from tests.unit.test_port_ties import SUM, only, ties


def test_a_variable_of_a_command_is_its_own() -> None:
    found = ties("RUN curl https://nodejs.org/dist/v1/node-v1-linux-${A}.tar.xz\nCMD A=x64 /app")
    assert found.diff == ""
    assert (only(found).line, only(found).what) == (3, "x64 is named")


def test_a_variable_in_an_address() -> None:
    url = "https://nodejs.org/dist/v1/node-v1-linux-${ARCH}.tar.xz"
    assert "ARG ARCH=arm64\n" in ties(f"ARG ARCH=x64\nRUN curl {url}").text
    assert "ENV ARCH arm64\n" in ties(f"ENV ARCH x64\nRUN curl {url}").text
    assert "ARCH='arm64'; curl" in ties(f"RUN ARCH='x64'; curl {url}").text
    assert only(ties("ENV ARCH=amd64\nRUN curl https://e.x/$ARCH")).blocks
    assert ties(f"ENV ARCH=all\nRUN curl {url}").findings == ()


S6 = "https://github.com/just-containers/s6-overlay/releases/download"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The address alone does not tell which of a project's rules holds: its variables do.
        (f"ARG V=3.1\nARG A=x86_64\nADD {S6}/v${{V}}/s6-overlay-${{A}}.tar.xz /", "ARG A=aarch64\n"),
        (f'ARG V=v2.2.0.3\nARG A="amd64"\nADD {S6}/${{V}}/s6-overlay-${{A}}.tar.gz /', 'A="aarch64"\n'),
        (f"ARG V\nADD {S6}/v${{V}}/s6-overlay-x86_64.tar.xz /", "/s6-overlay-aarch64.tar.xz /"),
        # A variable within another.
        (f"ENV A=amd64\nENV F=s6-overlay-$A.tar.gz\nADD {S6}/v1.22.1.0/$F /", "ENV A=aarch64\n"),
        # A name with the word in it.
        (
            "ENV N=node-v1-linux-x64\nRUN curl https://nodejs.org/dist/v1/$N.tgz",
            "ENV N=node-v1-linux-arm64\n",
        ),
    ],
)
def test_a_variable_is_followed_to_the_address(text: str, expected: str) -> None:
    found = ties(text)
    assert expected in found.text
    assert not only(found).blocks


TINI = "https://github.com/krallin/tini/releases/download/v1/tini-$A"
GO = "https://go.dev/dl/go1.linux-$A.tar.gz"


def test_a_variable_in_several_addresses_is_rewritten_where_all_take_the_same_word() -> None:
    text = f"ARG A=amd64\nRUN curl {TINI}\nRUN curl {GO} && tar xf go1.linux-amd64.tar.gz"
    found = ties(text)
    assert "ARG A=arm64\n" in found.text
    # Each of the files has its new name further on.
    assert "tar xf go1.linux-arm64.tar.gz" in found.text
    assert not any(one.blocks for one in found.findings)
    found = ties(text, "armhf")
    assert found.diff == ""
    assert [(one.line, one.blocks, one.why) for one in found.findings][:2] == [
        (2, True, "tini has a file for linux/arm/v7, named armhf; another address with A needs another name"),
        (2, True, "Go has a file for linux/arm/v7, named armv6l; another address with A needs another name"),
    ]


@pytest.mark.parametrize("line", ["RUN curl {} && curl {}", "RUN curl {}\nRUN curl {}"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_variable_that_an_unknown_project_uses_too_is_left(line: str, turned: bool) -> None:
    urls = [GO, "https://e.x/t-$A"]
    found = ties("ARG A=amd64\n" + line.format(*(urls[::-1] if turned else urls)))
    assert found.diff == ""
    whys = [one.why for one in found.findings if one.blocks]
    assert len(whys) == 2
    assert any(why.startswith("no rule tells how this project names its file") for why in whys)


def test_a_command_s_own_variable_is_not_that_of_the_file() -> None:
    node = "https://nodejs.org/dist/v1/node-v1-linux-$A.tar.xz"
    found = ties(f"ARG A=amd64\nRUN curl {TINI}\nRUN A=x64 && curl {node}", "armhf")
    assert "ARG A=armhf\n" in found.text
    assert "RUN A=armv7l && " in found.text
    assert not any(one.blocks for one in found.findings)


def test_a_checksum_beside_a_variable_is_told() -> None:
    url = "https://nodejs.org/dist/v1/node-v1-linux-${A}.tar.xz"
    found = ties(f"ARG A=x64\nRUN curl -o n {url} && echo {SUM} n | sha256sum -c")
    assert [(one.kind, one.line, one.blocks) for one in found.findings] == [
        ("download", 2, False),
        ("checksum", 3, True),
    ]
    assert "node-v1-linux-arm64.tar.xz" in found.findings[1].why


def test_a_variable_of_another_instruction_is_not_meant() -> None:
    url = "https://github.com/docker/compose/releases/download/1/docker-compose-linux-$arch"
    found = ties(f"RUN arch=$(uname -m) && curl {url} && echo 'deb [arch=amd64] https://e.x/ s main' >/l")
    assert "[arch=arm64]" in found.text
    assert only(found).kind == "packages"
    found = ties(f"RUN arch=$(uname -m) && curl {url}\nRUN arch=x86_64 && make")
    assert [(one.line, one.what) for one in found.findings] == [(3, "x86_64 is named")]
