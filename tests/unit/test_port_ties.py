"""What ties a Dockerfile to a CPU: found by line, rewritten where that is known to be safe, else told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skiff.model.port import Finding, Platform
from skiff.port.cpu_ties import Ties, examine
from skiff.port.dockerfile import parse
from skiff.port.tie_rules import Project, Rules
from skiff.port.trees import LocalTree
from tests.unit.port_world import AMD64, Images, plan_of, root, write

SUM = "0123456789abcdef" * 4
NODE = "https://nodejs.org/dist/v20.1.0/node-v20.1.0-linux-x64.tar.xz"


def ties(
    text: str, platform: str = "arm64", folder: Path = Path("/nowhere"), rules: Rules | None = None
) -> Ties:
    """The ties of a Dockerfile; without a FROM it gets one."""
    text = text if "FROM " in text else f"FROM a\n{text}\n"
    target = Platform.parse(platform)
    return examine(parse(text), LocalTree(folder), {}, "", target, AMD64, rules or Rules())


def only(found: Ties) -> Finding:
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


@pytest.mark.parametrize(
    ("platform", "line", "expected"),
    [
        ("arm64", f"RUN curl -O {NODE}", NODE.replace("x64", "arm64")),
        ("armhf", f"RUN wget {NODE}", NODE.replace("x64", "armv7l")),
        ("s390x", f"ADD {NODE} /x/", NODE.replace("x64", "s390x")),
        (
            "armhf",
            "RUN curl https://go.dev/dl/go1.25.linux-amd64.tar.gz | tar x",
            "go1.25.linux-armv6l.tar.gz",
        ),
        ("386", "RUN curl -L https://dl.google.com/go/go1.25.linux-amd64.tar.gz", "go1.25.linux-386.tar.gz"),
        (
            "armel",
            "ADD https://github.com/krallin/tini/releases/download/v1/tini-amd64 /t",
            "v1/tini-armel /t",
        ),
        (
            "ppc64el",
            "RUN curl https://github.com/tianon/gosu/releases/download/1/gosu-amd64",
            "1/gosu-ppc64el",
        ),
        (
            "armhf",
            "RUN curl https://github.com/prometheus/x/releases/download/v1/x-1.linux-amd64.tar.gz",
            "x-1.linux-armv7.tar.gz",
        ),
        (
            "riscv64",
            "RUN curl https://static.rust-lang.org/rustup/dist/x86_64-unknown-linux-gnu/rustup-init",
            "/riscv64gc-unknown-linux-gnu/",
        ),
        (
            "arm64",
            "RUN curl https://github.com/just-containers/s6-overlay/releases/download/v3.1/s6-overlay-x86_64.tar.xz",
            "s6-overlay-aarch64.tar.xz",
        ),
        (
            "arm64",
            "RUN curl https://github.com/protocolbuffers/protobuf/releases/download/v1/protoc-1-linux-x86_64.zip",
            "protoc-1-linux-aarch_64.zip",
        ),
        (
            "arm64",
            "RUN curl https://github.com/adoptium/temurin21-binaries/releases/download/1/jdk_x64_linux_1.tgz",
            "jdk_aarch64_linux",
        ),
        (
            "riscv64",
            "RUN wget https://dl-cdn.alpinelinux.org/alpine/v3.20/main/x86_64/x.apk",
            "main/riscv64/x.apk",
        ),
        ("amd64", f"RUN curl -O {NODE.replace('x64', 'arm64')}", NODE),
    ],
)
def test_a_download_becomes_that_of_the_target(platform: str, line: str, expected: str) -> None:
    found = ties(line, platform)
    assert expected in found.text
    finding = only(found)
    assert (finding.kind, finding.line, finding.blocks) == ("download", 2, False)
    assert finding.before == line
    assert finding.after in found.text


def test_the_file_has_its_new_name_further_on() -> None:
    found = ties(
        f"WORKDIR /x\nRUN curl -LO {NODE} \\\n && tar xf node-v20.1.0-linux-x64.tar.xz \\\n # of x64\n"
        " && mv node-v20.1.0-linux-x64/bin /opt/node-v20.1.0-linux-x64/ && rm other-linux-x64.tar.xz\n"
        "ENV PATH=/opt/node-v20.1.0-linux-x64/bin:$PATH"
    )
    new = "node-v20.1.0-linux-arm64"
    assert (
        f"tar xf {new}.tar.xz \\\n # of x64\n && mv {new}/bin /opt/{new}/ && rm other-linux-x64" in found.text
    )
    assert f"ENV PATH=/opt/{new}/bin:$PATH" in found.text
    assert found.diff.count("\n-") == 4


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ('ENTRYPOINT ["/usr/bin/tini-amd64", "--"]', 'ENTRYPOINT ["/usr/bin/tini-arm64", "--"]'),
        ("CMD tini-amd64 /app", "CMD tini-arm64 /app"),
        (
            'CMD ["/usr/lib/jvm/java-17-openjdk-amd64/bin/java"]',
            'CMD ["/usr/lib/jvm/java-17-openjdk-arm64/bin/java"]',
        ),
        (
            "HEALTHCHECK --interval=5s CMD test -e /usr/lib/x86_64-linux-gnu/x",
            "HEALTHCHECK --interval=5s CMD test -e /usr/lib/aarch64-linux-gnu/x",
        ),
        ("WORKDIR /usr/lib/x86_64-linux-gnu", "WORKDIR /usr/lib/aarch64-linux-gnu"),
        ("VOLUME /usr/lib/x86_64-linux-gnu", "VOLUME /usr/lib/aarch64-linux-gnu"),
    ],
)
def test_what_a_container_runs_is_looked_at(line: str, new: str) -> None:
    tini = "https://github.com/krallin/tini/releases/download/v1/tini-amd64"
    found = ties(f"ADD {tini} /usr/bin/tini-amd64\n{line}")
    assert found.text.splitlines()[1].endswith("tini-arm64 /usr/bin/tini-arm64")
    assert found.text.splitlines()[2] == new
    assert found.findings[-1].after == new


@pytest.mark.parametrize(
    ("platform", "line", "why"),
    [
        ("riscv64", f"RUN curl -O {NODE}", "Node.js has no file for linux/riscv64"),
        ("arm64", "RUN curl https://e.x/tool-linux64.tgz", "no rule tells how this project names its file"),
        ("arm64", "ADD https://e.x/y_amd64.deb /", "no rule tells how this project names its file"),
        ("arm64", "RUN wget https://github.com/jqlang/jq/releases/download/jq-1.6/jq-linux64", "no rule"),
    ],
)
def test_a_download_without_a_safe_rewrite_is_left(platform: str, line: str, why: str) -> None:
    found = ties(line, platform)
    assert found.diff == ""
    assert only(found).blocks
    assert only(found).why.startswith(why)


@pytest.mark.parametrize(
    "text",
    [
        "RUN curl https://e.x/tool-$(dpkg --print-architecture).tgz",
        "ARG TARGETARCH\nRUN curl https://e.x/tool-${TARGETARCH}.tgz",
        "RUN curl https://e.x/tool-arm64.tgz https://e.x/xamd64y",
        "# https://e.x/tool-amd64.tgz\nRUN true \\\n  # curl https://e.x/tool-amd64.tgz\n  && true",
        "FROM --platform=$BUILDPLATFORM a AS b\nRUN curl https://e.x/t-amd64\nFROM a\nCOPY --from=b /x /",
        "FROM a AS unused\nRUN curl https://e.x/tool-amd64.tgz\nFROM a",
        "RUN curl https://e.x/tool-windows-amd64.zip",
        "RUN curl https://e.x/amd64.tgz -o a && curl https://e.x/arm64.tgz -o b",
        "RUN gcc --host=x86_64-linux-gnu; gcc --host=s390x-linux-gnu",
        'RUN if [ "$TARGETARCH" = amd64 ]; then curl https://e.x/amd64; else curl https://e.x/arm64; fi',
        'RUN if [ "$A" = x86_64 ]; then curl https://e.x/x86_64; gcc -m64 x.c; fi',
        "RUN gcc --host=arm-linux-gnueabihf",
        'RUN if [ "$A" = arm64 ]; then if x; then y; fi; elif [ $A = i386 ]; then curl https://e.x/386; fi',
        'RUN case "$(uname -m)" in x86_64) url=https://e.x/amd64 ;; aarch64) url=https://e.x/arm64 ;; esac',
    ],
)
def test_what_is_no_tie(text: str) -> None:
    assert ties(text).findings == ()


@pytest.mark.parametrize(
    "text",
    [
        f"FROM a\nRUN curl -O {NODE} && echo {SUM}  x | sha256sum -c",
        f"FROM a\nADD --checksum=sha256:{SUM} {NODE} /x",
        f"FROM a\nADD {NODE} /node.tar.xz\nRUN echo {SUM}  /node.tar.xz | sha256sum -c",
        f'FROM a\nENV S={SUM}\nADD {NODE} /x/\nRUN sha256sum -c <<< "$S /x/node-v20.1.0-linux-x64.tar.xz"',
        f"FROM a\nENV NODE_SHA256={SUM}\nRUN curl -O {NODE} && echo $NODE_SHA256  x | sha256sum -c",
        f"FROM a\nARG S={SUM}\nRUN curl -O {NODE} && echo ${{S}}  x | sha256sum -c",
    ],
)
def test_a_checksum_is_never_dropped(text: str) -> None:
    found = ties(text)
    assert SUM in found.text
    checksum = next(one for one in found.findings if one.kind == "checksum")
    assert checksum.blocks
    assert checksum.after == ""
    assert checksum.why.endswith("Node.js publishes it at https://nodejs.org/dist/v20.1.0/SHASUMS256.txt")
    # Given by the user, it takes its place.
    new = "f" * 64
    found = ties(text, rules=Rules(checksums={SUM: {"arm64": new}}))
    assert new in found.text
    assert SUM not in found.text
    assert not any(one.blocks for one in found.findings)


def test_a_checksum_of_something_else_is_left_alone() -> None:
    found = ties(f"ENV OTHER={SUM}\nRUN curl -O {NODE}\nRUN echo {SUM}")
    assert [one.kind for one in found.findings] == ["download"]


def test_the_folder_in_a_packed_tree_has_its_new_name() -> None:
    found = ties(
        "RUN curl https://get.helm.sh/helm-v3-linux-amd64.tar.gz | tar xz && mv linux-amd64/helm /bin\n"
        "RUN ls linux-amd64"
    )
    assert "mv linux-arm64/helm /bin" in found.text
    # Somewhere else it may be that of something else.
    assert "RUN ls linux-amd64" in found.text
    found = ties(
        "ARG A=amd64\nARG F=helm-v3-linux-$A\n"
        "RUN curl https://get.helm.sh/$F.tar.gz -o t && tar xf t linux-amd64/helm"
    )
    assert "tar xf t linux-arm64/helm" in found.text


def test_a_user_s_project() -> None:
    rules = Rules([Project("X", r"e\.x/", "uname", {"arm/v7": ""}, "{url}.sha")])
    assert "https://e.x/t-aarch64" in ties("RUN curl https://e.x/t-x86_64", rules=rules).text
    assert (
        only(ties("RUN curl https://e.x/t-x86_64", "armhf", rules=rules)).why
        == "X has no file for linux/arm/v7"
    )


CASE = 'RUN arch="$(dpkg --print-architecture)"; \\\n case "$arch" in \\\n {} \\\n esac'


@pytest.mark.parametrize(
    ("clauses", "platform", "blocks"),
    [
        ("amd64) a=x64 ;; \\\n 'arm64'|\"armhf\") a=arm ;;", "arm64", None),
        ("amd64) a=x64 ;; arm*) a=arm ;;", "arm64", None),
        ("x86_64) a=1 ;; aarch64) a=2 ;;", "arm64", None),
        ("amd64) a=x64 ;; arm64) a=arm ;;", "riscv64", True),
        ("amd64) a=x64 ;; *) echo unsupported; exit 1 ;;", "arm64", True),
        ("amd64) a=x64 ;; *) a=source ;;", "arm64", False),
        ("*amd64*) a=x64 ;; *arm64* | *aarch64*) a=arm ;;", "arm64", None),
        ("*amd64*) a=x64 ;; *arm64* | *aarch64*) a=arm ;;", "riscv64", True),
        ("start) a=1 ;; stop) a=2 ;;", "arm64", None),
        ("amd64) case x in y) z ;; esac ;; arm64) a=2 ;;", "arm64", None),
    ],
)
def test_decisions_by_cpu(clauses: str, platform: str, blocks: bool | None) -> None:
    found = ties(CASE.format(clauses), platform)
    if blocks is None:
        assert found.findings == ()
    else:
        assert (only(found).kind, only(found).line, only(found).blocks) == ("arch-map", 3, blocks)


@pytest.mark.parametrize(
    ("line", "blocks"),
    [
        ('RUN if [ "$A" = amd64 ]; then x; else exit 1; fi', True),
        ('RUN if [ "$A" = x86_64 ]; then x; else y; fi', False),
        ('RUN if [ "$A" = x86_64 ]; then x; elif [ "$A" = s390x ]; then y; fi', False),
        ('RUN if [ "$A" = x86_64 ]; then x; fi; if [ "$A" = s390x ]; then y; fi', False),
    ],
)
def test_decisions_by_if(line: str, blocks: bool) -> None:
    assert (only(ties(line)).kind, only(ties(line)).blocks) == ("arch-map", blocks)


@pytest.mark.parametrize("by", ["$(uname -m)", "`arch`", "$(apk --print-arch | head -1)", '"$(uname -m)"'])
def test_what_a_decision_is_made_by(by: str) -> None:
    line = f"RUN case {by} in x86_64) A=x64 ;; aarch64) A=arm ;; esac && curl https://e.x/$A"
    assert ties(line).findings == ()
    assert (only(ties(line, "riscv64")).kind, only(ties(line, "riscv64")).blocks) == ("arch-map", True)


def test_words_of_a_message_hide_no_decision() -> None:
    line = 'RUN echo "in case of doubt, look in x; or if so, then" && {}'
    for decision in ("case $A in amd64) a ;; esac", "if [ $A = amd64 ]; then a; else exit 1; fi"):
        assert only(ties(line.format(decision))).kind == "arch-map"


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("FROM --platform=linux/amd64 a AS b", "FROM a AS b"),
        ("FROM --platform=amd64 a", "FROM a"),
        ("FROM amd64/debian:trixie", "FROM debian:trixie"),
        ("FROM i386/debian", "FROM debian"),
        ("FROM docker.io/amd64/debian", "FROM docker.io/debian"),
        ("FROM ${X:-amd64}/debian AS b", "FROM debian AS b"),
    ],
)
def test_a_platform_that_is_written_down(line: str, new: str) -> None:
    found = ties(f"{line}\nRUN true")
    assert found.text.splitlines()[0] == new
    assert only(found).kind == "platform"


@pytest.mark.parametrize(
    "line",
    [
        "FROM --platform=$BUILDPLATFORM a",
        "FROM --platform=$TARGETPLATFORM a",
        "FROM --platform=linux/arm64 a",
        "FROM arm64v8/debian",
        "FROM e.x/amd64/debian",
    ],
)
def test_a_platform_that_is_meant(line: str) -> None:
    assert ties(line).findings == ()


def test_a_stage_without_its_platform_is_looked_into() -> None:
    found = ties(f"FROM --platform=linux/amd64 a AS b\nFROM b\nRUN curl -O {NODE}")
    assert [one.kind for one in found.findings] == ["platform", "download"]


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("RUN gcc -O2 -march=x86-64-v3 -msse4.2 -o x x.c", "RUN gcc -O2 -o x x.c"),
        ('ENV CFLAGS="-O2 -m64"', 'ENV CFLAGS="-O2 "'),
        ("RUN ls /usr/lib/x86_64-linux-gnu/", "RUN ls /usr/lib/aarch64-linux-gnu/"),
        (
            "ENV JAVA_HOME=/usr/lib/jvm/java-17-openjdk-amd64",
            "ENV JAVA_HOME=/usr/lib/jvm/java-17-openjdk-arm64",
        ),
        (
            "RUN rustup target add x86_64-unknown-linux-musl",
            "RUN rustup target add aarch64-unknown-linux-musl",
        ),
        ("RUN apt-get install -y libfoo:amd64 bar", "RUN apt-get install -y libfoo bar"),
        ("RUN GOOS=linux GOARCH=amd64 go build", "RUN GOOS=linux GOARCH=arm64 go build"),
        ("ENV GOARCH amd64", "ENV GOARCH arm64"),
        ("RUN npm ci --os=linux --cpu=x64", "RUN npm ci --os=linux --cpu=arm64"),
        ("RUN npm_config_arch=x64 npm ci", "RUN npm_config_arch=arm64 npm ci"),
        ("RUN dotnet publish -r linux-musl-x64 -o /x", "RUN dotnet publish -r linux-musl-arm64 -o /x"),
        (
            "RUN pip download --platform manylinux2014_x86_64 a",
            "RUN pip download --platform manylinux2014_aarch64 a",
        ),
        ("ARG TARGETARCH=amd64", "ARG TARGETARCH=arm64"),
        ('ARG A=b TARGETPLATFORM="linux/amd64"', "ARG A=b TARGETPLATFORM=linux/arm64"),
        ("ONBUILD RUN gcc -m64 x.c", "ONBUILD RUN gcc x.c"),
        (
            "RUN echo 'deb [arch=amd64 signed-by=/k] https://e.x/ s main' >/l",
            "RUN echo 'deb [arch=arm64 signed-by=/k] https://e.x/ s main' >/l",
        ),
    ],
)
def test_words_that_are_put_right(line: str, new: str) -> None:
    found = ties(line)
    assert found.text.splitlines()[1] == new
    assert not any(one.blocks for one in found.findings)
    assert ties(line, "amd64").findings == ()


def test_an_option_in_an_array_is_told_and_left() -> None:
    """An empty word in its place is a file without a name to the compiler."""
    found = ties('RUN ["gcc", "-m64", "x.c"]')
    assert found.diff == ""
    assert (only(found).what, only(found).blocks) == ("compiler option -m64", True)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("RUN apt-get install gcc-multilib", "package gcc-multilib"),
        ("RUN apt-get install g++-12-multilib", "package g++-12-multilib"),
        ("RUN apt-get install lib32stdc++6", "package lib32stdc++6"),
        ("RUN apt-get install libc6:i386", "package libc6:i386"),
        ("RUN dpkg --add-architecture i386", "--add-architecture i386"),
    ],
)
def test_packages_of_a_second_cpu_are_told(line: str, what: str) -> None:
    found = ties(line)
    assert found.diff == ""
    assert (only(found).what, only(found).kind, only(found).blocks) == (what, "packages", True)


@pytest.mark.parametrize(
    ("line", "platform", "what"),
    [
        ('RUN test "$(arch)" = x86_64', "arm64", "x86_64 is named"),
        ("RUN [ $A = amd64 ] && B=x64 || B=arm64", "riscv64", "amd64 is named"),
        ("ENV L=/usr/local/cuda/targets/x86_64-linux/lib", "arm64", "x86_64 is named"),
        ("RUN <<X python3\nassert machine() == 'x86_64'\nX", "arm64", "x86_64 is named"),
        ("FROM e.x/pause-amd64:3", "arm64", "FROM e.x/pause-amd64:3: named for amd64"),
    ],
)
def test_what_no_rule_knows_is_noted(line: str, platform: str, what: str) -> None:
    found = ties(line, platform)
    assert found.diff == ""
    assert found.findings[0].what == what
    assert not any(one.blocks for one in found.findings)


def test_one_word_of_a_line_hides_no_other() -> None:
    found = ties("RUN ls /usr/lib/jvm/java-17-openjdk-amd64 && apt-get install linux-headers-amd64")
    assert found.text.endswith(
        "RUN ls /usr/lib/jvm/java-17-openjdk-arm64 && apt-get install linux-headers-amd64\n"
    )
    assert [one.what for one in found.findings] == ["amd64 is the name of a CPU", "amd64 is named"]


@pytest.mark.parametrize(
    "line",
    [
        "RUN GOARCH=amd64 go build && GOARCH=arm64 go build",
        "RUN GOARCH=arm64 go build",
        'RUN if [ "$A" = x86_64 ]; then GOARCH=amd64 go build; fi',
        "RUN [ $A = amd64 ] && B=x64 || B=arm64",
        "RUN uname -m | sed s/x86_64/amd64/,s/aarch64/arm64/",
    ],
)
def test_a_setting_that_is_meant(line: str) -> None:
    assert ties(line).findings == ()


def test_a_stage_for_the_builder_that_compiles_for_one_cpu_is_noted() -> None:
    text = "FROM --platform=$BUILDPLATFORM a AS b\n{}RUN GOARCH=amd64 go build\nFROM a\nCOPY --from=b /x /\n"
    found = ties(text.format(""))
    assert found.diff == ""
    assert (only(found).line, only(found).blocks) == (2, False)
    assert "GOARCH=amd64" in only(found).what
    assert ties(text.format("ARG TARGETARCH\n")).findings == ()


@pytest.mark.parametrize(
    ("platform", "word"),
    [("arm/v7", "arm"), ("arm/v6", "arm"), ("386", "ia32"), ("ppc64le", "ppc64"), ("riscv64", "riscv64")],
)
def test_npm_has_names_of_its_own_for_cpus(platform: str, word: str) -> None:
    found = ties("FROM a\nRUN npm ci --cpu=x64\n", platform)
    assert found.text == f"FROM a\nRUN npm ci --cpu={word}\n"


def test_nothing_is_rewritten_when_that_is_refused(tmp_path: Path) -> None:
    text = "FROM --platform=linux/amd64 a\nRUN gcc -m64 x.c\n"
    app = write(tmp_path / "app", Dockerfile=text)
    images = Images({"a": ("amd64", "arm64")})
    node = root(plan_of(app, images, tmp_path, rewrite=False))
    assert (node.text, node.diff) == (text, "")
    assert [(one.after, one.blocks) for one in node.findings] == [("", True), ("", True)]
    assert node.parents[0].node.endswith("linux/amd64")
    node = root(plan_of(app, images, tmp_path))
    assert node.text == "FROM a\nRUN gcc x.c\n"
    assert node.parents[0].node.endswith("linux/arm64")
    assert "-FROM --platform=linux/amd64 a\n" in node.diff
    assert "+FROM a\n" in node.diff


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 20000, "if " * 20000, "case x in " * 5000, "if amd64; then a; fi " * 5000, "[arch=" * 5000),
        *("x86_64-linux-gnu " * 2000, "https://e.x/amd64 " * 1000, "a" * 50000, "-march=" * 5000),
        *("0123456789abcdef" * 4000, f"{SUM} " * 500, "a:amd64 " * 5000, "ARCH=amd64 " * 2000),
        "ARCH=amd64 https://e.x/$ARCH/$A " * 50,
    ],
)
def test_hostile_scripts_come_to_an_end(text: str) -> None:
    ties(f"RUN {text}\nENV A {text}\nRUN curl https://e.x/$ARCH")


def test_rules_of_the_tool_are_whole() -> None:
    rules = Rules()
    for setting in rules.file.setting:
        assert setting.convention in rules.file.conventions, setting.name
        assert "word" in re.compile(setting.match).groupindex, setting.name
    for project in rules.projects:
        assert project.convention in rules.file.conventions, project.name
        assert any(word for word in rules.project_words(project)), project.name
        for name in project.names:
            Platform.parse(name)
