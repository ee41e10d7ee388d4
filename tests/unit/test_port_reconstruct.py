"""Dockerfiles from the history of an image: what comes back, and what is told to be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.model.oci import Healthcheck, History, ImageConfig, Rootfs, RunConfig
from skiff.model.port import Action, ReconstructedSource
from skiff.port.dockerfile import parse
from skiff.port.reconstruct import Reconstructed, reconstruct
from skiff.port.reference import parse_reference
from tests.unit.port_world import AMD64, Images, plan_of, root

DEBIAN = "# debian.sh --arch 'amd64' out/ 'trixie' '@1700000000'"


def made(*history: str, run: RunConfig | None = None) -> Reconstructed:
    config = ImageConfig(config=run, history=tuple(History(created_by=text) for text in history))
    return reconstruct(parse_reference("e.x/app:1"), AMD64, config)


def lines(found: Reconstructed) -> list[str]:
    """Instructions behind the second FROM, without comments."""
    parse(found.text)
    plain = [line for line in found.text.splitlines() if not line.startswith("#")]
    return plain[2:]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("RUN /bin/sh -c apt-get update && make # buildkit", "RUN apt-get update && make"),
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("RUN /bin/bash -o pipefail -c a | b # buildkit", "RUN a | b"),
        ("RUN /usr/bin/bash -eo pipefail -c a | b # buildkit", "RUN a | b"),
        ("RUN /bin/bash -o errexit -o pipefail --login -euxc a # buildkit", "RUN a"),
        ("|0 /bin/sh -c make", "RUN make"),
        ("ARG TARGETARCH=amd64", "ARG TARGETARCH"),
        ("ARG A=1 TARGETVARIANT= BUILDPLATFORM=linux/amd64", "ARG A=1 TARGETVARIANT BUILDPLATFORM"),
        ('/bin/sh -c #(nop)  CMD ["bash"]', 'CMD ["bash"]'),
        ("/bin/sh -c #(nop)  ENV A=b c", 'ENV A="b c"'),
        ("ENV PATH=/usr/bin:/bin", "ENV PATH=/usr/bin:/bin"),
        ("ENV PRICE=3$", 'ENV PRICE="3\\$"'),
        ("WORKDIR /app", "WORKDIR /app"),
        ("/bin/sh -c #(nop) WORKDIR /app", "WORKDIR /app"),
        ("EXPOSE map[443/tcp:{} 80/tcp:{}]", "EXPOSE 443/tcp 80/tcp"),
        ("VOLUME [/a /b]", 'VOLUME ["/a", "/b"]'),
        ("SHELL [/bin/bash -c]", 'SHELL ["/bin/bash", "-c"]'),
        ("USER app", "USER app"),
        ("COPY entry.sh /usr/bin/ # buildkit", "COPY --from=original /usr/bin/entry.sh /usr/bin/entry.sh"),
        ("COPY --chown=1:1 . /app # buildkit", "COPY --from=original --chown=1:1 /app /app"),
        ("/bin/sh -c #(nop) COPY file:0ab1 in /etc/x.conf ", "COPY --from=original /etc/x.conf /etc/x.conf"),
        # What is in a folder is copied, not the folder.
        ("COPY dist/ /srv/html/ # buildkit", "COPY --from=original /srv/html/ /srv/html/"),
        ("COPY . /app/ # buildkit", "COPY --from=original /app/ /app/"),
        ("COPY a etc/b # buildkit", "COPY --from=original /etc/b /etc/b"),
        ("ADD https://e.x/tini-amd64 /tini # buildkit", "ADD https://e.x/tini-amd64 /tini"),
        ("ADD --chown=1:1 git@e.x:a/b.git#v1 src/ # buildkit", "ADD --chown=1:1 git@e.x:a/b.git#v1 src/"),
    ],
)
def test_a_step_comes_back(step: str, expected: str) -> None:
    assert lines(made(DEBIAN, 'CMD ["bash"]', step)) == [expected]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("RUN |2 A=1 B=2 /bin/sh -c make # buildkit", ["ARG A=1", "ARG B=2", "RUN make"]),
        ("|1 A=1 /bin/sh -c make", ["ARG A=1", "RUN make"]),
        (
            "RUN |3 OPTS=-a -b EMPTY= V=$2 /bin/sh -c make",
            ['ARG OPTS="-a -b"', "ARG EMPTY=", 'ARG V="\\$2"', "RUN make"],
        ),
        ("RUN |1 OPTS=A=1 B=2 /bin/sh -c make", ['ARG OPTS="A=1 B=2"', "RUN make"]),
        # What the builder sets is another for another CPU.
        ("RUN |2 TARGETARCH=amd64 BUILDOS=linux /bin/sh -c set -eux; make", ["RUN set -eux; make"]),
        # Without a shell.
        ("RUN |2 A=1 TARGETARCH=amd64 make all # buildkit", ["ARG A=1", "RUN make all"]),
    ],
)
def test_build_arguments_come_back(step: str, expected: list[str]) -> None:
    assert lines(made(DEBIAN, 'CMD ["bash"]', step)) == expected


@pytest.mark.parametrize(
    "shell", ["/bin/ash -eo pipefail -c", "conda run -n x /bin/bash -c", "/shell.sh", "/bin/bash -c -e"]
)
@pytest.mark.parametrize("step", ["RUN {} make", "RUN |1 A=1 2 {} make # buildkit"])
def test_the_shell_of_a_command_is_that_of_the_history(shell: str, step: str) -> None:
    found = made(DEBIAN, 'CMD ["bash"]', f"SHELL [{shell}]", step.format(shell), "RUN /bin/sh -c x")
    assert lines(found)[-2:] == ["RUN make", "RUN x"]
    # That of a base, which the history need not tell.
    found = made(DEBIAN, step.format(shell), run=RunConfig(shell=tuple(shell.split())))
    assert "\nRUN make\n" in found.text


@pytest.mark.parametrize("step", [f"/bin/sh {'--x ' * 200}", f"|{'9' * 5000} A=1 make"])
def test_hostile_histories_come_to_an_end(step: str) -> None:
    assert lines(made(DEBIAN, 'CMD ["bash"]', step)) == [f"RUN {step.strip()}"]


def test_a_script_of_several_lines() -> None:
    found = made(DEBIAN, 'CMD ["bash"]', "RUN |1 A=1 /bin/sh -c set -e\nmake\n # buildkit")
    assert "\nARG A=1\nRUN <<" in found.text
    assert parse(found.text).instructions[-1].heredocs[0].content == "set -e\nmake\n"


@pytest.mark.parametrize(
    ("history", "labels", "base"),
    [
        ([DEBIAN, 'CMD ["bash"]'], {}, "debian:trixie"),
        (["ADD alpine-minirootfs-3.22.1-x86_64.tar.gz / # buildkit", 'CMD ["/bin/sh"]'], {}, "alpine:3.22"),
        (
            ["ADD file:0 in /", 'CMD ["/bin/bash"]'],
            {"org.opencontainers.image.ref.name": "ubuntu", "org.opencontainers.image.version": "24.04"},
            "ubuntu:24.04",
        ),
        (["RUN x"], {"org.opencontainers.image.base.name": "e.x/base:2"}, "e.x/base:2"),
    ],
)
def test_the_base_is_known(history: list[str], labels: dict[str, str], base: str) -> None:
    found = made(*history, run=RunConfig(labels=labels))
    assert f"\nFROM {base}\n" in found.text
    assert found.based


def test_a_base_that_is_not_known_is_no_base() -> None:
    found = made("ADD file:0ab in / ", 'CMD ["bash"]', "RUN make")
    assert not found.based
    assert [one.why for one in found.lost if one.blocks] == [
        "the base is not known: its files cannot be brought back",
        "which files these were cannot be told: they are left out",
    ]
    assert all(found.text.splitlines()[one.line - 1].startswith(one.what) for one in found.lost)


@pytest.mark.parametrize(
    ("target", "path"), [("./", "/srv/app/x.json"), (".", "/srv/app/x.json"), ("a/../b", "/srv/app/b")]
)
def test_a_target_is_below_the_folder_of_its_step(target: str, path: str) -> None:
    for history in (("WORKDIR /srv", 'CMD ["bash"]', "WORKDIR app"), ('CMD ["bash"]', "WORKDIR /srv/app/")):
        found = made(DEBIAN, *history, f"COPY x.json {target} # buildkit", "WORKDIR /y")
        assert f"\nCOPY --from=original {path} {path}\n" in found.text


@pytest.mark.parametrize("step", ["COPY . / # buildkit", "COPY rootfs/ ./", "COPY . //"])
def test_the_whole_image_is_not_copied(step: str) -> None:
    assert [one.blocks for one in made(DEBIAN, 'CMD ["bash"]', step).lost] == [True]


def test_an_address_is_fetched_for_the_new_cpu(tmp_path: Path) -> None:
    tini = "https://github.com/krallin/tini/releases/download/v1/tini-amd64"
    history = (DEBIAN, 'CMD ["bash"]', f"ADD {tini} /tini # buildkit")
    config = ImageConfig(history=tuple(History(created_by=text) for text in history))
    images = Images({"e.x/app:1": ("amd64",)}, {"e.x/app:1": config}, ("debian:trixie",))
    node = root(plan_of("e.x/app:1", images, tmp_path))
    assert f"\nADD {tini.replace('amd64', 'arm64')} /tini\n" in node.text
    assert {one.kind for one in node.findings} == {"download"}


def test_files_that_are_copied_are_told() -> None:
    found = made(DEBIAN, 'CMD ["bash"]', "COPY a b /x/")
    assert [one.kind for one in found.lost] == ["lost", "lost"]
    assert "right unless it is a program" in found.lost[0].why


def test_the_configuration_holds() -> None:
    run = RunConfig(
        user="app",
        exposed_ports={"80/tcp": {}},
        env=("A=b c", "D="),
        entrypoint=("/e", "x y"),
        cmd=("z",),
        volumes={"/v": {}},
        working_dir="/w",
        labels={"l": 'say "hi"'},
        stop_signal="SIGQUIT",
        on_build=("RUN x",),
        shell=("/bin/bash", "-c"),
        healthcheck=Healthcheck(test=("CMD-SHELL", "curl -f x"), interval=5_000_000_000, retries=3),
    )
    # The history tells it as well.
    assert lines(made(DEBIAN, 'CMD ["bash"]', "ONBUILD RUN x", run=run)) == [
        'ENV A="b c"',
        "ENV D=",
        'LABEL l="say \\"hi\\""',
        "EXPOSE 80/tcp",
        'VOLUME ["/v"]',
        "WORKDIR /w",
        "USER app",
        "STOPSIGNAL SIGQUIT",
        'SHELL ["/bin/bash", "-c"]',
        'ENTRYPOINT ["/e", "x y"]',
        'CMD ["z"]',
        "ONBUILD RUN x",
        "HEALTHCHECK --interval=5000000000ns --retries=3 CMD curl -f x",
    ]


def test_a_plan_with_a_reconstructed_image(tmp_path: Path) -> None:
    history = (DEBIAN, 'CMD ["bash"]', "RUN gcc -m64 x.c", "COPY x /y")
    config = ImageConfig(history=tuple(History(created_by=text) for text in history))
    images = Images({"e.x/app:1": ("amd64",)}, {"e.x/app:1": config}, ("debian:trixie",))
    plan = plan_of("e.x/app:1", images, tmp_path)
    node = root(plan)
    assert node.action is Action.REBUILD
    assert isinstance(node.source, ReconstructedSource)
    assert "RUN gcc x.c" in node.text
    # The image that is there is read as it is, for the CPU that it is for.
    assert "FROM --platform=linux/amd64 e.x/app:1 AS original" in node.text
    assert sorted(parent.node for parent in node.parents) == [
        "docker.io/library/debian:trixie linux/arm64",
        "e.x/app:1 linux/amd64",
    ]
    assert {one.kind for one in node.findings} == {"lost", "flags"}


@pytest.mark.parametrize("same", [True, False])
def test_a_base_that_is_there_takes_its_steps(tmp_path: Path, same: bool) -> None:
    steps = [History(created_by=text) for text in (DEBIAN, 'CMD ["bash"]', "RUN node", "RUN app")]
    labels = {"org.opencontainers.image.base.name": "node:20"}
    layers = ("sha256:1", "sha256:2", "sha256:3")
    config = ImageConfig(
        config=RunConfig(labels=labels), history=tuple(steps), rootfs=Rootfs(diff_ids=layers)
    )
    base = ImageConfig(
        history=tuple(steps[:3]), rootfs=Rootfs(diff_ids=layers[:2] if same else ("sha256:0",))
    )
    there = {"e.x/app:1": ("amd64",), "node:20": ("amd64", "arm64"), "debian:trixie": ("arm64",)}
    plan = plan_of("e.x/app:1", Images(there, {"e.x/app:1": config, "node:20": base}), tmp_path)
    runs = [line for line in root(plan).text.splitlines() if line.startswith(("FROM ", "RUN "))]
    if same:
        assert runs[1:] == ["FROM node:20", "RUN app"]
    else:
        # The label is the base's own, or of another day: all is done again on what the history begins with.
        assert runs[1:] == ["FROM debian:trixie", "RUN node", "RUN app"]


def test_a_plan_never_pretends(tmp_path: Path) -> None:
    config = ImageConfig(history=(History(created_by="ADD file:0 in /"), History(created_by="RUN make")))
    plan = plan_of("e.x/app:1", Images({"e.x/app:1": ("amd64",)}, {"e.x/app:1": config}), tmp_path)
    assert root(plan).action is Action.MISSING
    assert "nor the image that it is based on" in root(plan).why
    assert root(plan).findings
