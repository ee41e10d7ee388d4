"""Reads config.yaml: YAML to the model, with every mistake named by file, line and key."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from skiff_device.common.errors import DeviceError
from skiff_device.core.errors import ConfigError
from skiff_device.core.model import Build, Config, Container, Image, User
from skiff_device.core.paths import CONFIG
from skiff_device.core.source import kind
from skiff_device.core.yamltree import Keys, Value, load

T = TypeVar("T")

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# What docker and podman allow.
_CONTAINER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,100}")
_CONTAINER_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
# The engines' grammar of references: a registry with capitals and a port; a path; a tag; a digest.
_HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_HOST}(?:\.{_HOST})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?"
)
_IMAGE_NAME = "the name of an image in small letters, as debian:trixie"
_REGISTRY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._:/-]*")
_SIGNAL = re.compile(r"(SIG)?[A-Z0-9]+([+-][0-9]+)?")
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_POLICIES = {
    "always": "always",
    "ifnotpresent": "ifnotpresent",
    "ifnotexists": "ifnotpresent",
    "ifbuildfails": "ifbuildfails",
    "": "ifnotpresent",
}
_RESTART = re.compile(r"no|never|always|unless-stopped|on-failure(:[0-9]{1,6})?")
_CONTAINER_KEYS = (
    "image", "entrypoint", "cmd", "env", "tty", "workingDirectory", "mounts", "privileged", "capAdd",
    "hostIPC", "hostPID", "hostUTS", "hostNetwork", "securityOpt", "tmpFs", "ports", "dns", "dnsSearch",
    "hosts", "restartPolicy", "startAfterCreate", "stopSignal", "disableInit",
)  # fmt: skip
_USER_KEYS = ("container", "containerUser", "containerShell", "createContainerUser", "auth")
_AUTH_KEYS = ("copyRootKeys", "sshKeys", "password", "allowEmptyPassword", "locked")
_BUILD_KEYS = (
    "source", "dockerfile", "root", "buildArgs", "squash", "preserveIntermediate", "scratchBuild",
)  # fmt: skip


def read(path: Path, reserved: frozenset[str] = frozenset()) -> Config:
    """The configuration in a file; reserved are account names of the system, which no user may take.

    Raises ConfigError for mistakes, DeviceError when the file cannot be read.
    """
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path.name}:{line}: not UTF-8: save the file as UTF-8 text"]) from None
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(text, path.name, reserved)


def parse(text: str, file: str = "config.yaml", reserved: frozenset[str] = frozenset()) -> Config:
    """The configuration in a text; as read."""
    top = load(text, file)
    keys = Keys(top, ("containers", "users", "images"))
    containers: dict[str, Container] = keys.take("containers", _containers, {})
    images: dict[str, Image] = keys.take("images", _images, {})
    users: dict[str, User] = {}
    if "users" in keys.members:
        users = _named(keys.members["users"], lambda name, value: _user(name, value, containers, reserved))
    if top.notes.problems:
        raise ConfigError(top.notes.problems)
    return Config(containers, users, images, tuple(top.notes.warnings))


def _named(value: Value, read_one: Callable[[str, Value], T]) -> dict[str, T]:
    return {name: read_one(name, member) for name, member in value.members().items()}


def _containers(value: Value) -> dict[str, Container]:
    return _named(value, _container)


def _images(value: Value) -> dict[str, Image]:
    return _named(value, _image)


def _matching(pattern: re.Pattern[str], expected: str) -> Callable[[Value], str]:
    """Reads a text that must look like pattern; an empty one is left to the default."""

    def take(value: Value) -> str:
        text = value.text()
        if text and not pattern.fullmatch(text):
            value.problem(f"expected {expected}, found {text!r}")
        return text

    return take


_image_name = _matching(_IMAGE, _IMAGE_NAME)


def _container(name: str, value: Value) -> Container:
    if not _CONTAINER.fullmatch(name) or name.endswith(".skiff-new"):
        value.problem(
            "expected a container name of two or more letters, digits, `_`, `.` and `-`, a letter first"
        )
    keys = Keys(value, _CONTAINER_KEYS)
    image = keys.take("image", _image_name, "")
    if not image and ("image" not in keys.members or keys.members["image"].is_null()):
        value.problem("expected a key `image` with the name of an image, as debian:trixie")
    host_network = keys.take("hostNetwork", Value.flag, False)
    ports: tuple[tuple[int, int], ...] = keys.take("ports", _ports, ())
    if ports and host_network:
        keys.members["ports"].warn("of no use with hostNetwork: the container has the host's ports already")
    return Container(
        name=name,
        image=image,
        entrypoint=keys.take("entrypoint", _words, ()),
        cmd=keys.take("cmd", _words, ()),
        env=keys.take("env", _env, ()),
        tty=keys.take("tty", Value.flag, False),
        working_directory=keys.take("workingDirectory", _absolute, ""),
        mounts=keys.take("mounts", _mounts, ()),
        privileged=keys.take("privileged", Value.flag, False),
        cap_add=keys.take("capAdd", Value.texts, ()),
        host_ipc=keys.take("hostIPC", Value.flag, False),
        host_pid=keys.take("hostPID", Value.flag, False),
        host_uts=keys.take("hostUTS", Value.flag, False),
        host_network=host_network,
        security_opt=keys.take("securityOpt", Value.texts, ()),
        tmpfs=keys.take("tmpFs", _tmpfs, ()),
        ports=ports,
        dns=keys.take("dns", Value.texts, ()),
        dns_search=keys.take("dnsSearch", Value.texts, ()),
        hosts=keys.take("hosts", _hosts, ()),
        restart_policy=keys.take("restartPolicy", _restart, ""),
        start_after_create=keys.take("startAfterCreate", Value.flag, False),
        stop_signal=keys.take("stopSignal", _matching(_SIGNAL, "a signal, as SIGTERM or RTMIN+3"), ""),
        disable_init=keys.take("disableInit", Value.flag, False),
    )


def _words(value: Value) -> tuple[str, ...]:
    return tuple(item.text(lines=True) for item in value.items())


def _env(value: Value) -> tuple[str, ...]:
    found = []
    for item in value.items():
        text = item.text(lines=True)
        if text.startswith("="):
            item.problem(f"expected NAME=value, found {text!r}")
        elif text:
            found.append(text)
    return tuple(found)


def _absolute(value: Value) -> str:
    text = value.text()
    if text and not text.startswith("/"):
        value.problem(f"expected a path that starts with /, found {text!r}")
    return text


def _mounts(value: Value) -> tuple[str, ...]:
    found = []
    for item in value.items():
        text = item.text()
        parts = text.split(":")
        if len(parts) == 1 and text.startswith("/"):
            found.append(text)
            continue
        good = 2 <= len(parts) <= 3 and parts[0] and parts[1].startswith("/")
        if good and "/" in parts[0] and not parts[0].startswith("/"):
            good = False
        if not good:
            item.problem(f"expected /host/path:/container/path or with :ro behind, found {text!r}")
        found.append(text)
    return tuple(found)


def _tmpfs(value: Value) -> tuple[tuple[str, str], ...]:
    found = []
    for path, options in value.members().items():
        if not path.startswith("/") or ":" in path:
            options.problem("expected a path that starts with / and has no `:`")
        found.append((path, options.text()))
    return tuple(sorted(found))


def _ports(value: Value) -> tuple[tuple[int, int], ...]:
    found = []
    for item in value.items():
        keys = Keys(item, ("hostPort", "containerPort"))
        numbers = []
        for key in ("hostPort", "containerPort"):
            if key not in keys.members:
                item.problem(f"expected a key `{key}` with a number from 1 to 65535")
            numbers.append(keys.take(key, lambda v: v.number(1, 65535), 1))
        found.append((numbers[0], numbers[1]))
    return tuple(found)


def _hosts(value: Value) -> tuple[str, ...]:
    found = []
    for item in value.items():
        text = item.text()
        name, colon, address = text.partition(":")
        if not (name and colon and address):
            item.problem(f"expected name:address, as nas:192.168.1.5, found {text!r}")
        found.append(text)
    return tuple(found)


def _restart(value: Value) -> str:
    text = value.text()
    if text and not _RESTART.fullmatch(text):
        value.problem(f"expected always, on-failure, unless-stopped or never, found {text!r}")
    return "no" if text == "never" else text


def _user(name: str, value: Value, containers: dict[str, Container], reserved: frozenset[str]) -> User:
    if not _USER.fullmatch(name):
        value.problem("expected a user name of at most 32 small letters, digits, `_` and `-`, a letter first")
    elif name in reserved:
        value.problem("this account belongs to the system: choose another name")
    keys = Keys(value, _USER_KEYS)
    container = keys.take("container", Value.text, "").removeprefix("/")
    if container not in containers:
        at = keys.members.get("container", value)
        there = f"; there are: {', '.join(containers)}" if containers else "; there are none"
        at.problem(f"expected the name of a container of this file, found {container!r}{there}")
    nothing: tuple[bool, tuple[str, ...], bool] = (False, (), False)
    copy, ssh_keys, locked = keys.take("auth", _auth, nothing)
    return User(
        name=name,
        container=container,
        container_user=keys.take("containerUser", _matching(_CONTAINER_USER, "a user name or number"), ""),
        container_shell=keys.take("containerShell", Value.texts, ()),
        create_container_user=keys.take("createContainerUser", Value.flag, False),
        copy_root_keys=copy,
        ssh_keys=ssh_keys,
        locked=locked,
    )


def _auth(value: Value) -> tuple[bool, tuple[str, ...], bool]:
    keys = Keys(value, _AUTH_KEYS)
    copy = keys.take("copyRootKeys", Value.flag, False)
    ssh_keys: tuple[str, ...] = keys.take("sshKeys", _keys, ())
    locked = keys.take("locked", Value.flag, False)
    if keys.take("password", lambda v: v.text(lines=True), ""):
        keys.members["password"].warn("not used: only keys open this account; put a key into sshKeys")
    if keys.take("allowEmptyPassword", Value.flag, False):
        keys.members["allowEmptyPassword"].warn("not used: an account never opens without a key")
    if not (copy or ssh_keys or locked):
        value.warn("no key opens this account: set copyRootKeys to true or fill sshKeys")
    return copy, ssh_keys, locked


def _keys(value: Value) -> tuple[str, ...]:
    """Keys; one value may hold several lines, as in authorized_keys."""
    found = []
    for item in value.items():
        for line in item.text(lines=True).splitlines():
            text = line.strip()
            if any(ord(c) < 32 or ord(c) == 127 for c in text):
                item.problem("expected a public key, found a control character in it")
            elif text and not text.startswith("#"):
                found.append(text)
    return tuple(found)


def _image(name: str, value: Value) -> Image:
    if not _IMAGE.fullmatch(name):
        value.problem(f"expected {_IMAGE_NAME}, found {name!r}")
    keys = Keys(value, ("pull", "build"))
    pull, registry = keys.take("pull", _pull, ("", ""))
    build = keys.take("build", _build, None)
    return Image(name, pull, registry, build)


def _pull(value: Value) -> tuple[str, str]:
    keys = Keys(value, ("policy", "pullPolicy", "registry"))
    # The documentation of the format says pullPolicy, its examples say policy.
    if "policy" in keys.members and "pullPolicy" in keys.members:
        keys.members["pullPolicy"].warn("ignored, since policy is written too: keep one of them")
    spelled = "policy" if "policy" in keys.members else "pullPolicy"
    policy = keys.take(spelled, Value.text, "").lower()
    if policy not in _POLICIES:
        keys.members[spelled].problem(f"expected always, ifnotpresent or ifbuildfails, found {policy!r}")
    registry = keys.take("registry", _matching(_REGISTRY, "a registry's name, as quay.io"), "")
    return _POLICIES.get(policy, ""), registry.strip("/")


def _build(value: Value) -> Build | None:
    keys = Keys(value, _BUILD_KEYS)
    source = keys.take("source", Value.text, "")
    if not source:
        if not value.is_null():
            value.problem("expected a key `source` with a folder, a git address or a tarball")
        return None
    if source.startswith("-"):
        keys.members["source"].problem("expected a folder, a git address or a tarball, found an option")
    # Some of core's files are written by each apply, after which it would be another source.
    place = posixpath.normpath(posixpath.join(posixpath.dirname(CONFIG), source))
    if kind(source) == "folder" and CONFIG.startswith(place.rstrip("/") + "/"):
        keys.members["source"].problem(f"expected a folder of its own, {source!r} holds config.yaml too")
    if keys.take("scratchBuild", Value.flag, False):
        keys.members["scratchBuild"].warn("ignored: images for several CPUs make it needless")
    return Build(
        source=source,
        dockerfile=keys.take("dockerfile", _inside, ""),
        root=keys.take("root", _inside, ""),
        build_args=keys.take("buildArgs", _build_args, ()),
        squash=keys.take("squash", Value.flag, False),
        preserve_intermediate=keys.take("preserveIntermediate", Value.flag, False),
    )


def _inside(value: Value) -> str:
    """A path within the source; `..` leads no further up than the source, as in skiff-core."""
    return posixpath.normpath("/" + value.text()).lstrip("/")


def _build_args(value: Value) -> tuple[tuple[str, str | None], ...]:
    found: list[tuple[str, str | None]] = []
    for name, member in value.members().items():
        if not _ARGUMENT.fullmatch(name):
            member.problem(f"expected the name of a build argument, found {name!r}")
        found.append((name, None if member.is_null() else member.text(lines=True)))
    return tuple(sorted(found, key=lambda pair: pair[0]))
