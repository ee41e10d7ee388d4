"""Configurations in skiff-core's format: what is understood, and how mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff_device.core import config
from skiff_device.core.errors import ConfigError
from skiff_device.core.model import Build, Container, Image, User

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIaIHcrMFZX7327yE4hX702XkONGPVsfGbaLbJwnQQph me@there"
LAYERS = Path(__file__).parents[2] / "layers" / "core"

EVERYTHING = f"""\
containers:
  box:
    image: &name here/box:1
    entrypoint: ["/lib/systemd/systemd"]
    cmd: [--log-level=info]
    env: ["container=docker", "EMPTY=", TAKEN]
    tty: true
    workingDirectory: /srv
    mounts:
    - /dev:/dev
    - /mnt/persist/data:/data:ro
    - cache:/var/cache
    privileged: yes
    capAdd: [ALL]
    hostIPC: true
    hostPID: true
    hostUTS: true
    hostNetwork: false
    securityOpt: ["seccomp=unconfined"]
    tmpFs:
      /run: rw,size=64m
      /run/lock: ""
    ports:
    - hostPort: 8080
      containerPort: 80
    dns: [9.9.9.9]
    dnsSearch: [lan]
    hosts: ["nas:10.0.0.2"]
    restartPolicy: never
    startAfterCreate: true
    stopSignal: RTMIN+3
    disableInit: true
users:
  anna:
    container: box
    containerUser: "1000"
    containerShell: [/bin/bash, -l]
    createContainerUser: true
    auth:
      copyRootKeys: true
      sshKeys:
      - {KEY}
      password: secret
      allowEmptyPassword: true
      locked: false
images:
  *name :
    pull:
      pullPolicy: ifbuildfails
      registry: quay.io
    build:
      source: /mnt/persist/box
      dockerfile: ../../Dockerfile.arm
      root: sub/./dir
      buildArgs:
        PLAIN: one
        TAKEN: null
        NUMBER: 3
      preserveIntermediate: true
      scratchBuild: true
      squash: true
"""


def problems(text: str, reserved: frozenset[str] = frozenset()) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, reserved=reserved)
    return caught.value.problems


def test_every_documented_key_is_understood() -> None:
    found = config.parse(EVERYTHING)
    assert found.containers == {
        "box": Container(
            name="box",
            image="here/box:1",
            entrypoint=("/lib/systemd/systemd",),
            cmd=("--log-level=info",),
            env=("container=docker", "EMPTY=", "TAKEN"),
            tty=True,
            working_directory="/srv",
            mounts=("/dev:/dev", "/mnt/persist/data:/data:ro", "cache:/var/cache"),
            privileged=True,
            cap_add=("ALL",),
            host_ipc=True,
            host_pid=True,
            host_uts=True,
            security_opt=("seccomp=unconfined",),
            tmpfs=(("/run", "rw,size=64m"), ("/run/lock", "")),
            ports=((8080, 80),),
            dns=("9.9.9.9",),
            dns_search=("lan",),
            hosts=("nas:10.0.0.2",),
            restart_policy="no",
            start_after_create=True,
            stop_signal="RTMIN+3",
            disable_init=True,
        )
    }
    assert found.users == {
        "anna": User("anna", "box", "1000", ("/bin/bash", "-l"), True, True, (KEY,), False)
    }
    arguments = (("NUMBER", "3"), ("PLAIN", "one"), ("TAKEN", None))
    build = Build("/mnt/persist/box", "Dockerfile.arm", "sub/dir", arguments, True, True)
    assert found.images == {"here/box:1": Image("here/box:1", "ifbuildfails", "quay.io", build)}
    assert [warning.split(": ")[1] for warning in found.warnings] == [
        "images.here/box:1.build.scratchBuild",
        "users.anna.auth.password",
        "users.anna.auth.allowEmptyPassword",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("image: [x]", "3: containers.cc.image: expected a text, found a list"),
        ("image: -x", "3: containers.cc.image: expected the name of an image"),
        ("x|tty: 'true'", "4: containers.cc.tty: expected true or false, found the text 'true'"),
        ("x|mounts: /a:/b", "4: containers.cc.mounts: expected a list"),
        ("x|mounts: [./a:/b]", "4: containers.cc.mounts[0]: expected /host/path:/container/path"),
        ("x|restartPolicy: often", "4: containers.cc.restartPolicy: expected always, on-failure"),
        ("x|stopSignal: --x", "4: containers.cc.stopSignal: expected a signal"),
        ("x|workingDirectory: srv", "4: containers.cc.workingDirectory: expected a path"),
        ("x|hosts: [nas]", "4: containers.cc.hosts[0]: expected name:address"),
        ("x|tmpFs: [/run]", "4: containers.cc.tmpFs: expected a mapping"),
        ("tty: true", "3: containers.cc: expected a key `image`"),
        ("x|image: y", "4: containers.cc.image: this key is already on line 3, with another value"),
        ('x|env: ["a\\0b"]', "4: containers.cc.env[0]: expected a text of one line"),
        (
            "x|ports: [{hostPort: '80', containerPort: 80}]",
            "4: containers.cc.ports[0].hostPort: expected a number from 1 to 65535, found the text '80'",
        ),
        (
            "x|ports: [{hostPort: 80}]",
            "4: containers.cc.ports[0]: expected a key `containerPort`",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_line_and_key(line: str, expected: str) -> None:
    line = line.replace("x|", "image: x\n    ")
    assert problems(f"containers:\n  cc:\n    {line}\n")[0].startswith(f"config.yaml:{expected}")


@pytest.mark.parametrize(
    "name",
    [
        "debian",
        "debian:trixie-slim",
        "library/debian",
        "localhost/a__b/c-d.e:T_1",
        "Registry.Example.com:5000/team/os:1",
        "HOST/a",
        f"quay.io/a/b:1@sha256:{'a' * 64}",
        f"sha256:{'a' * 64}",
    ],
)
def test_names_of_images(name: str) -> None:
    found = config.parse(f"containers:\n  cc: {{image: '{name}'}}\nimages:\n  '{name}': {{}}\n")
    assert found.containers["cc"].image == name and name in found.images


@pytest.mark.parametrize(
    "name",
    [
        "ghcr.io/MyOrg/env:1",
        "Debian",
        "debian:",
        "a:b:c",
        "a//b",
        "/a",
        "a/",
        "a.-b",
        "a:-b",
        "a@b",
        "a_/b",
        "a b",
    ],
)
def test_a_name_that_no_engine_takes_is_a_mistake(name: str) -> None:
    text = f"containers:\n  cc:\n    image: '{name}'\nimages:\n  '{name}': {{}}\n"
    assert [one.split(": ")[0] for one in problems(text)] == ["config.yaml:3", "config.yaml:5"]


@pytest.mark.parametrize(
    "source", [".", "./", "..", "/mnt/persist", "/mnt/persist/skiff/core/", "src/..", "/"]
)
def test_a_source_that_holds_cores_own_files_is_a_mistake(source: str) -> None:
    """Each apply writes some of them: it would build anew each time."""
    text = f"images:\n  x:\n    build:\n      source: {source}\n"
    assert problems(text)[0].startswith("config.yaml:4: images.x.build.source: expected a folder of its own")


@pytest.mark.parametrize(
    "source", ["src", "../other", "/mnt/persist/skiff/core/src", "git://a/b", "x.tar", "..a"]
)
def test_other_sources_are_fine(source: str) -> None:
    build = config.parse(f"images:\n  x:\n    build: {{source: '{source}'}}\n").images["x"].build
    assert build is not None and build.source == source


def test_all_mistakes_are_told_at_once() -> None:
    found = problems("containers:\n  aa: {tty: 7}\nusers:\n  b: {container: z}\nimages: []\n")
    assert [problem.split(":")[1] for problem in found] == ["2", "2", "5", "4"]


@pytest.mark.parametrize(
    "name",
    ["root", "Anna", "-x", "a b", "a:b", "a\\nb", "../x", "a" * 33, "$(id)", "docker", "1a", "'", "ä", "~"],
)
def test_hostile_user_names_are_refused(name: str) -> None:
    text = f'containers:\n  cc: {{image: x}}\nusers:\n  "{name}": {{container: cc}}\n'
    found = problems(text, frozenset({"root", "docker"}))
    assert found[0].startswith("config.yaml:4: users")


@pytest.mark.parametrize("name", ["-rm", "a", "a b", "../x", "a/b", "a;b", "x.skiff-new", "", "$x"])
def test_hostile_container_names_are_refused(name: str) -> None:
    assert problems(f'containers:\n  "{name}": {{image: x}}\n')


@pytest.mark.parametrize("word", ["--privileged", "-x", "a b", "a\\tb", "root;id", ":0"])
def test_hostile_container_users_are_refused(word: str) -> None:
    text = f'containers:\n  cc: {{image: x}}\nusers:\n  a: {{container: cc, containerUser: "{word}"}}\n'
    assert problems(text)[0].startswith("config.yaml:4: users.a.containerUser")


def test_shell_words_stay_on_their_lines() -> None:
    text = 'containers:\n  cc: {image: x}\nusers:\n  a: {container: cc, containerShell: ["sh\\nuser=root"]}\n'
    assert "character '\\n'" in problems(text)[0]


def test_no_yaml_at_all_names_the_line() -> None:
    assert problems("containers:\n  a: [1,\n  b: }\n")[0].startswith("config.yaml:3: not YAML")
    assert problems("- a\n") == ("config.yaml:1: expected a mapping (lines `key: value`), found a list",)


def test_an_open_quote_is_named_where_it_stands() -> None:
    found = problems('containers:\n  a:\n    image: "x\n\nusers:\n')
    assert "a quoted scalar that begins in line 3" in found[0]


def test_unknown_keys_warn_with_the_nearest_known_one() -> None:
    found = config.parse("containers:\n  cc:\n    image: x\n    restart_policy: always\n")
    assert found.warnings == (
        "config.yaml:4: containers.cc.restart_policy: unknown key, ignored; did you mean restartPolicy?",
    )


def test_the_same_key_twice_with_the_same_value_only_warns() -> None:
    found = config.parse("containers:\n  cc:\n    image: x\n    cmd: [a]\n    tty: true\n    cmd: ['a']\n")
    assert found.warnings == (
        "config.yaml:6: containers.cc.cmd: this key is already on line 4, with the same value",
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("policy: always", "always"),
        ("policy: ifnotexists", "ifnotpresent"),
        ("pullPolicy: ifnotpresent", "ifnotpresent"),
        ("registry: quay.io", "ifnotpresent"),
        ("policy: IfBuildFails", "ifbuildfails"),
    ],
)
def test_spellings_of_the_pull_policy(policy: str, expected: str) -> None:
    assert config.parse(f"images:\n  x:\n    pull:\n      {policy}\n").images["x"].pull == expected


def test_anchors_and_merges_work() -> None:
    text = "base: &b\n  image: x\n  tty: true\ncontainers:\n  aa:\n    <<: *b\n    tty: false\n"
    found = config.parse(text)
    assert found.containers["aa"] == Container("aa", "x")


def test_an_empty_file_is_a_configuration() -> None:
    assert config.parse("") == config.parse("# nothing\n")


@pytest.mark.parametrize("path", sorted(LAYERS.glob("*/rootfs/usr/share/skiff/core/config.yaml")), ids=str)
def test_configurations_of_the_layers_are_good(path: Path) -> None:
    assert config.read(path).warnings == ()
