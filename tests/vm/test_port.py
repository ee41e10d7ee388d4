"""`skiff port` with a real engine: images rebuilt for CPUs that this machine has not, and run there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skiff.host.run import PIPE, STDOUT, run, spawn, which
from skiff.model.arch import Arch
from skiff.port import emulate
from tests.vm.port_world import EMULATED, World, busybox, engine, podman_of, world

# Names of the packages that the official image of that release consists of, as of November 2024.
BOOKWORM = Path(__file__).with_name("debian-bookworm.txt")


@pytest.fixture(scope="module")
def net() -> Iterator[World]:
    """One world for all tests of this file: what one has built, others find built."""
    with world() as made:
        made.add_tiny()
        yield made


def test_a_library_of_images_is_ported_and_runs(net: World) -> None:
    """Three deep, several stages, fields for each CPU, an argument in FROM: for two CPUs at once."""
    url, commit = net.repository(
        "lang",
        {
            "1/Dockerfile": (
                "ARG VERSION=1\nFROM tiny:${VERSION} AS build\nARG TARGETARCH\nCOPY hello.sh /out/hello\n"
                'RUN chmod +x /out/hello && echo "$TARGETARCH" >/out/arch\n'
                "FROM tiny:$VERSION\nCOPY --from=build /out /opt/lang\nENV PATH=/opt/lang:/bin\n"
            ),
            "1/hello.sh": '#!/bin/sh\necho "hello from $(uname -m), built for $(cat /opt/lang/arch)"\n',
        },
    )
    net.official("lang", f"GitRepo: {url}\nDirectory: 1\n\nTags: 1\nGitCommit: {commit}\n")
    url, commit = net.repository(
        "app",
        {
            "Dockerfile": (
                "FROM --platform=$BUILDPLATFORM tiny:1 AS cross\nRUN uname -m >/built-on\n"
                "FROM lang:1\nCOPY --from=cross /built-on /\nCOPY --from=tiny:1 /bin/busybox /bin/again\n"
                'CMD ["hello"]\n'
            )
        },
    )
    net.official("app", f"Tags: 2\nArchitectures: amd64\nGitRepo: {url}\nGitCommit: {commit}\n")
    archive, report = net.folder / "app.tar", net.folder / "app.md"
    words = ["app:2", "--arch", "arm64", "--arch", "riscv64", EMULATED, "--verify"]
    outputs = ["--output", str(archive), "--push", f"{net.registry}/ported/app:2", "--report", str(report)]
    answer = net.ported(*words, *outputs, "--load")
    assert {result["verified"] for result in answer["results"]} == {"ran, and ended with status 0"}
    assert all(result["elf_files"] > 0 for result in answer["results"])
    outcomes = net.outcomes(answer)
    assert set(outcomes.values()) == {"built"}
    assert set(outcomes) == {f"tiny:1 {cpu}" for cpu in ("amd64", "arm64", "riscv64")} | {
        f"{name} {cpu}" for name in ("lang:1", "app:2") for cpu in ("arm64", "riscv64")
    }
    for cpu, machine in (("arm64", "aarch64"), ("riscv64", "riscv64")):
        shown = net.docker("run", "--rm", "--network", "none", f"app:2-{cpu}")
        assert shown.strip() == f"hello from {machine}, built for {cpu}"
        # What is compiled for another CPU on purpose was not emulated.
        assert (
            net.docker("run", "--rm", "--network", "none", f"app:2-{cpu}", "cat", "/built-on").strip()
            == os.uname().machine
        )
    pushed = net.in_registry("ported/app:2")
    assert pushed is not None
    assert [one["platform"]["architecture"] for one in pushed["manifests"]] == ["arm64", "riscv64"]
    packed = run(["skopeo", "inspect", "--raw", f"oci-archive:{archive}"]).stdout
    assert json.loads(packed) == pushed
    assert "| app:2 | linux/riscv64 |" in report.read_text()
    # Nothing changed: nothing is built, and the very same bytes come out.
    again = net.ported(*words[:5], "--output", str(net.folder / "again.tar"))
    assert set(net.outcomes(again).values()) <= {"kept", "not needed"}
    assert (net.folder / "again.tar").read_bytes() == archive.read_bytes()


def test_a_debian_base_is_made_of_packages(net: World) -> None:
    folder = net.folder_of(
        "ondebian",
        {"Dockerfile": "FROM debian:bookworm-slim\nRUN dpkg-query -W -f '${binary:Package}\\n' >/packages\n"},
    )
    answer = net.ported(f"{folder}/", "--arch", "arm64", "--tag", "ondebian:1", "--load", EMULATED)
    assert "made of packages" in net.outcomes(answer)["debian:bookworm-slim arm64"]

    def inside(*words: str) -> str:
        return net.docker("run", "--rm", "--network", "none", "ondebian:1", *words)

    names = {line.partition(":")[0] for line in inside("cat", "/packages").split()}
    # The compiler's base package carries the release's number and is in the list too.
    assert names == set(BOOKWORM.read_text().split())
    assert inside("uname", "-m").strip() == "aarch64"
    assert "Suites: bookworm bookworm-updates" in inside("cat", "/etc/apt/sources.list.d/debian.sources")
    assert inside("find", "/usr/share/doc", "/usr/share/man", "-type", "f", "!", "-name", "copyright") == ""
    assert inside(
        "sh",
        "-c",
        "cat /etc/machine-id /etc/apt/sources.list 2>/dev/null; ls /var/lib/apt/lists /var/cache/apt",
    ).split() == ["/var/cache/apt:", "archives", "/var/lib/apt/lists:", "partial"]


def test_buildx_builds_it_too(net: World) -> None:
    """Debian 13's docker command builds by its plug-in alone, whatever builder that one is told to use."""
    env = {**net.newer_docker(), "BUILDX_BUILDER": "elsewhere"}
    folder = net.folder_of(
        "crossed",
        {
            "Dockerfile": (
                "FROM --platform=$BUILDPLATFORM tiny:1 AS cross\n"
                'ARG TARGETARCH\nRUN echo "$TARGETARCH" >/for\n'
                "FROM tiny:1\nCOPY --from=cross /for /\n"
                'RUN --mount=type=cache,target=/c uname -m >>/for\nCMD ["cat", "/for"]\n'
            )
        },
    )
    archive = net.folder / "crossed.tar"
    words = [f"{folder}/", "--arch", "arm64,riscv64", "--tag", "crossed:1", EMULATED, "--verify"]
    net.port(*words, "--load", "--output", str(archive), env=env)
    for cpu, machine in (("arm64", "aarch64"), ("riscv64", "riscv64")):
        assert net.docker("run", "--rm", "--network", "none", f"crossed:1-{cpu}").split() == [cpu, machine]
    index = json.loads(run(["skopeo", "inspect", "--raw", f"oci-archive:{archive}"]).stdout)
    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["arm64", "riscv64"]


def test_a_download_for_one_cpu_is_rewritten(net: World) -> None:
    for arch in ("amd64", "arm64"):
        script = f"#!/bin/sh\necho tool for {arch}\n"
        net.folder_of("web", {f"tool-1.0-linux-{arch}": script})
    folder = net.folder_of(
        "downloads",
        {
            "Dockerfile": (
                f"FROM tiny:1\nRUN wget -qO /bin/tool {net.web}/tool-1.0-linux-amd64 && chmod +x /bin/tool\n"
                'CMD ["tool"]\n'
            )
        },
    )
    # Of a project that the tool does not know.
    rule = "[[project]]\nname = 'Tool'\nmatch = '/tool-'\nconvention = 'go'\n"
    told = net.folder_of("told", {"port.toml": rule}) / "port.toml"
    words = ["--arch", "arm64", "--tag", "downloads:1", "--load", "--port-file", str(told), EMULATED]
    answer = net.ported(f"{folder}/", *words)
    assert [node["rewritten"] for node in answer["nodes"] if "downloads" in node["image"]] == [1]
    assert net.docker("run", "--rm", "--network", "none", "downloads:1").strip() == "tool for arm64"


def test_a_dockerfile_for_amd64_in_many_words_is_rewritten(net: World) -> None:
    """By variables within variables, a packed folder's name, a setting, and the builder's own argument."""
    sums = []
    for arch in ("amd64", "arm64"):
        net.folder_of("packed", {f"{arch}/linux-{arch}/tool": f"#!/bin/sh\necho tool for {arch}\n"})
        archive = net.folder_of("web", {}) / f"kit-2-linux-{arch}.tar"
        run(["tar", "-C", net.folder / "packed" / arch, "-cf", archive, f"linux-{arch}"])
        sums.append(hashlib.sha256(archive.read_bytes()).hexdigest())
    text = (
        "# syntax=docker/dockerfile:1\n# escape=`\nARG TARGETARCH=amd64\n"
        "FROM --platform=$BUILDPLATFORM tiny:1 AS cross\nARG TARGETARCH\nRUN echo $TARGETARCH >/for\n"
        f"FROM tiny:1\nARG A=linux-amd64\nARG FILE=kit-2-$A.tar\nRUN wget -qO t {net.web}/$FILE `\n"
        f" && echo '{sums[0]}  t' | sha256sum -c `\n"
        " && tar xf t && chmod +x linux-amd64/tool && mv linux-amd64/tool /bin/tool\n"
        "ENV GOARCH=amd64\nCOPY --from=cross /for /for\n"
        "RUN case $(uname -m) in x86_64) echo x ;; aarch64) echo a ;; esac >/cpu\n"
        'CMD ["sh", "-c", "tool; cat /for /cpu; echo $GOARCH"]\n'
    )
    folder = net.folder_of("words", {"Dockerfile": text})
    rule = "[[project]]\nname = 'Kit'\nmatch = '/kit-'\nconvention = 'go'\n"
    rule += f"[checksums]\n{sums[0]} = {{ arm64 = '{sums[1]}' }}\n"
    told = net.folder_of("told-kit", {"port.toml": rule}) / "port.toml"
    words = ["--arch", "arm64", "--tag", "words:1", "--load", "--port-file", str(told), EMULATED]
    net.port(f"{folder}/", *words)
    shown = net.docker("run", "--rm", "--network", "none", "words:1")
    assert shown.split("\n") == ["tool for arm64", "arm64", "a", "arm64", ""]


def _small_root(arch: Arch) -> bytes:
    """A tar of busybox with the names that it is called by."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        program = busybox(arch).read_bytes()
        file = tarfile.TarInfo("bin/busybox")
        file.size, file.mode = len(program), 0o755
        tar.addfile(file, io.BytesIO(program))
        for name in ("sh", "uname", "cat"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return packed.getvalue()


def _add_alpine(net: World) -> None:
    """An image that tells in its history what it is, and has that name in the library."""
    files: dict[str, str | bytes] = {}
    for arch in (Arch.AMD64, Arch.ARM64):
        root = f"alpine-minirootfs-3.20.0-{arch.machine}.tar"
        files[f"{arch.library}/{root}"] = _small_root(arch)
        files[f"{arch.library}/Dockerfile"] = f'FROM scratch\nADD {root} /\nCMD ["/bin/sh"]\n'
    url, commit = net.repository("alpine", files)
    net.official(
        "alpine",
        f"Tags: 3.20\nArchitectures: amd64, arm64v8\nGitRepo: {url}\nGitCommit: {commit}\n"
        "amd64-Directory: amd64\narm64v8-Directory: arm64v8\n",
    )


def test_an_image_without_source_is_made_of_its_history(net: World) -> None:
    _add_alpine(net)
    net.build(net.folder / "alpine/amd64", "alpine:3.20")
    text = 'FROM alpine:3.20\nRUN uname -m >/arch\nCOPY note /note\nENV A=b\nCMD ["cat", "/arch", "/note"]\n'
    name = f"{net.registry}/lost:1"
    net.build(net.folder_of("lost", {"Dockerfile": text, "note": "kept\n"}), name)
    net.docker("push", "--quiet", name)
    plan = net.ported(name, "--arch", "arm64", "--plan", "--quiet")
    root = next(node for node in plan["nodes"] if node["id"] == plan["roots"][0])
    assert root["source"]["kind"] == "reconstructed"
    # What came from a folder that nobody has is told.
    assert any(finding["kind"] == "lost" and "/note" in finding["what"] for finding in root["findings"])
    net.port(name, "--arch", "arm64", "--tag", "found:1", "--load", EMULATED)
    assert net.docker("run", "--rm", "--network", "none", "found:1").split() == ["aarch64", "kept"]


@pytest.fixture
def wrong(net: World) -> Path:
    """A folder whose image has a program for another CPU."""
    files: dict[str, str | bytes] = {"Dockerfile": "FROM tiny:1\nADD tools.tar /opt/\n"}
    folder = net.folder_of("wrong", files)
    net.folder_of("wrong-tools", {"tool": busybox(Arch.AMD64).read_bytes()})
    run(["tar", "-C", net.folder / "wrong-tools", "-cf", folder / "tools.tar", "tool"])
    return folder


def test_a_program_for_another_cpu_stops_it_before_any_name_moves(net: World, wrong: Path) -> None:
    before = net.names()
    target = f"{net.registry}/wrong:1"
    words = [f"{wrong}/", "--arch", "arm64", "--tag", "wrong:1", "--load", "--push", target, EMULATED]
    said = net.refused(*words)
    assert "/opt/tool (amd64)" in said and "--allow-foreign" in said
    assert net.names() == before and net.in_registry("wrong:1") is None
    net.port(*words, "--allow-foreign", "/opt/*")
    assert net.in_registry("wrong:1") is not None


def test_a_source_that_cannot_be_fetched_is_told(net: World) -> None:
    gone = f"file://{net.folder}/gone"
    said = net.refused("some/image:1", "--arch", "arm64", "--source", f"some/image:1={gone}#main")
    assert gone in said


def test_what_is_no_longer_what_its_digest_says_is_refused(net: World) -> None:
    name = f"{net.registry}/changed"
    net.build(net.folder / "tiny/arm64v8", f"{name}:1", "--platform", "linux/arm64")
    net.docker("push", "--quiet", f"{name}:1")
    manifest = net.in_registry("changed:1")
    assert manifest is not None
    layer = manifest["layers"][0]["digest"].removeprefix("sha256:")
    blob = net.folder / "registry/data/docker/registry/v2/blobs/sha256" / layer[:2] / layer / "data"
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    folder = net.folder_of("onchanged", {"Dockerfile": f"FROM {name}:1\nENV A=b\n"})
    said = net.refused(f"{folder}/", "--arch", "arm64", "--tag", "onchanged:1", "--load", EMULATED)
    assert f"{net.registry}/changed:1" in said
    assert "onchanged:1" not in net.names()


def test_without_an_emulator_nothing_is_built(net: World) -> None:
    foreign = (Arch.PPC64EL, Arch.S390X, Arch.LOONG64, Arch.MIPS64EL)
    arch = next((one for one in foreign if not emulate.runs(Arch.host(), one)), None)
    if arch is None:
        pytest.skip("this machine runs programs for every CPU")
    folder = net.folder_of("foreign", {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    said = net.refused(
        f"{folder}/", "--arch", arch.debian, "--tag", "foreign:1", "--load", "--no-setup-emulation"
    )
    assert "no emulator is registered" in said and "--setup-emulation" in said
    assert "foreign:1" not in net.names()


def test_its_healthcheck_decides(net: World) -> None:
    text = "FROM tiny:1\nHEALTHCHECK --interval=1s --retries=2 CMD test -e /ready\n"
    good = net.folder_of("well", {"Dockerfile": text + "CMD touch /ready && sleep 900\n"})
    words = ["--arch", "arm64", "--verify", EMULATED]
    assert net.ported(f"{good}/", *words)["results"][0]["verified"] == "healthy"
    # Pushed and fetched, it is still there: for who builds on it as well.
    net.port(f"{good}/", *words[:2], "--push", f"{net.registry}/well:1", EMULATED)
    upon = net.folder_of("upon", {"Dockerfile": f"FROM {net.registry}/well:1\nENV A=b\n"})
    net.port(f"{upon}/", *words[:2], "--tag", "upon:1", "--load", EMULATED)
    assert "/ready" in net.docker("image", "inspect", "--format", "{{json .Config.Healthcheck}}", "upon:1")
    bad = net.folder_of("unwell", {"Dockerfile": text + "CMD echo cannot start && sleep 900\n"})
    said = net.refused(f"{bad}/", *words, "--tag", "unwell:1", "--load")
    assert "does not run" in said and "cannot start" in said
    assert "unwell:1" not in net.names()
    assert "skiff-port-verify" not in net.docker("ps", "--all", "--format", "{{.Names}}")


def test_podman_runs_what_it_built(net: World) -> None:
    """Its HEALTHCHECK decides there too, or what it starts."""
    if which("podman") is None:
        pytest.skip("this machine has no podman")
    env = podman_of(net.folder / "podman", net.registry)
    words = ["--arch", "arm64", "--engine", "podman", "--verify", EMULATED]
    text = "FROM tiny:1\nHEALTHCHECK --interval=1s --retries=2 CMD test -e /ready\n"
    good = net.folder_of("pod-well", {"Dockerfile": text + "CMD touch /ready && sleep 900\n"})
    assert "healthy" in net.port(f"{good}/", *words, env=env)
    once = net.folder_of("pod-once", {"Dockerfile": 'FROM tiny:1\nCMD ["uname", "-m"]\n'})
    assert "ran, and ended with status 0" in net.port(
        f"{once}/", *words, "--tag", "once:1", "--load", env=env
    )
    shown = run(["podman", "run", "--rm", "--network", "none", "localhost/once:1"], env=env).stdout
    assert shown == b"aarch64\n"
    for dockerfile, why in (
        (f"{text}CMD sleep 900\n", "HEALTHCHECK does not become content"),
        ("FROM tiny:1\nCMD exit 139\n", "ended with status 139"),
    ):
        bad = net.folder_of("pod-unwell", {"Dockerfile": dockerfile})
        said = net.refused(f"{bad}/", *words, "--tag", "pod-unwell:1", "--load", env=env)
        assert "does not run" in said and why in said
    assert b"unwell" not in run(["podman", "images", "--format", "{{.Repository}}"], env=env).stdout
    assert run(["podman", "ps", "--all", "--quiet"], env=env).stdout == b""


def test_buildah_alone_builds_upon_what_it_has(net: World) -> None:
    """And says that it runs nothing, before it builds."""
    if which("buildah") is None:
        pytest.skip("this machine has no buildah")
    env = podman_of(net.folder / "buildah", net.registry) | {"BUILDAH_ISOLATION": "chroot"}
    words = ["--arch", "arm64", "--engine", "buildah", EMULATED]
    own = net.folder_of("bud-own", {"Dockerfile": "FROM tiny:1\nRUN uname -m >/cpu\n"})
    net.port(f"{own}/", *words, "--tag", "own:1", "--load", env=env)
    upon = net.folder_of("bud-upon", {"Dockerfile": "FROM localhost/own:1\nRUN test $(cat /cpu) = aarch64\n"})
    net.port(f"{upon}/", *words, "--tag", "upon:1", "--push", f"{net.registry}/upon:1", env=env)
    assert net.in_registry("upon:1") is not None
    assert "runs none for --verify" in net.refused(f"{upon}/", *words, "--verify", env=env)


def test_a_full_disk_is_told_and_nothing_is_named(net: World) -> None:
    folder = net.folder_of(
        "large", {"Dockerfile": "FROM tiny:1\nRUN dd if=/dev/urandom of=/large bs=1M count=70\n"}
    )
    words = [f"{folder}/", "--arch", "arm64", "--tag", "large:1", EMULATED]
    with _small_disk(net.folder / "small") as small, engine(small / "engine") as socket:
        said = net.refused(*words, "--load", env={"DOCKER_HOST": f"unix://{socket}"})
        assert "the engine's disk is full" in said
    with _small_disk(net.folder / "small", "8m") as small:
        said = net.refused(*words, "--output", str(small / "large.tar"))
        assert "no space left on disk" in said
        assert list(small.iterdir()) == []
    # There is room again: it goes on.
    net.port(*words, "--load")
    assert "large:1" in net.names()


@contextmanager
def _small_disk(folder: Path, size: str = "64m") -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder])
    try:
        yield folder
    finally:
        run(["umount", folder])


def test_an_interrupted_port_goes_on_where_it_was(net: World) -> None:
    # Seconds that no other sleep of this machine has.
    pause = f"sleep 6{os.getpid()}"
    early = net.folder_of("early", {"Dockerfile": "FROM tiny:1\nRUN echo early >/early\n"})
    text = f"FROM early:1\nRUN wget -q -O /go {net.web}/go || {pause}\n"
    folder = net.folder_of("slow", {"Dockerfile": text})
    asked = [f"{folder}/", "--arch", "arm64", "--tag", "slow:1", "--load", EMULATED]
    asked += ["--source", f"early:1={early}"]
    words = net.argv(*asked)
    process = spawn(words, env=net.env, cwd=net.folder, stdout=PIPE, stderr=STDOUT)
    within(120, lambda: process.poll() is not None or _runs(pause))
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    with process.stdout as output:
        said = output.read().decode()
    assert process.wait(60) == 130, said
    assert "skiff: interrupted" in said and "Traceback" not in said
    assert "slow:1" not in net.names()
    # What it had started ends.
    within(30, lambda: not _runs(pause))
    # Nothing holds it up any more: what was done stays done.
    net.folder_of("web", {"go": "go\n"})
    assert net.outcomes(net.ported(*asked)) == {
        "tiny:1 arm64": "kept",
        "early:1 arm64": "kept",
        "slow:1 arm64": "built",
    }
    assert "slow:1" in net.names()


def _runs(command: str) -> bool:
    lines = run(["ps", "-eo", "args"]).stdout.decode().splitlines()
    return any(line.endswith(command) and "skiff" not in line for line in lines)


def within(seconds: float, good: Callable[[], bool]) -> None:
    """Wait until something is so; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.2)
