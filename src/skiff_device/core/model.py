"""What a configuration means, as frozen values: containers, users and images of skiff-core's format."""

from __future__ import annotations

from dataclasses import dataclass, field

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Container:
    """One container; field names follow the keys of the file."""

    name: str
    image: str
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    tty: bool = False
    working_directory: str = ""
    mounts: tuple[str, ...] = ()
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    host_ipc: bool = False
    host_pid: bool = False
    host_uts: bool = False
    host_network: bool = False
    security_opt: tuple[str, ...] = ()
    tmpfs: Pairs = ()
    ports: tuple[tuple[int, int], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    # Empty: none was written; else no, always, on-failure[:N] or unless-stopped.
    restart_policy: str = ""
    start_after_create: bool = False
    stop_signal: str = ""
    disable_init: bool = False


@dataclass(frozen=True)
class User:
    """Somebody who logs in to a container."""

    name: str
    container: str
    container_user: str = ""
    container_shell: tuple[str, ...] = ()
    create_container_user: bool = False
    copy_root_keys: bool = False
    ssh_keys: tuple[str, ...] = ()
    locked: bool = False


@dataclass(frozen=True)
class Build:
    """How an image is built. source is a folder, a git address or a tarball; paths are relative to it."""

    source: str
    dockerfile: str = ""
    root: str = ""
    # None stands for an argument without a value: the engine takes it from its own environment.
    build_args: tuple[tuple[str, str | None], ...] = ()
    squash: bool = False
    preserve_intermediate: bool = False


@dataclass(frozen=True)
class Image:
    """Where an image comes from. pull is empty, or always, ifnotpresent or ifbuildfails."""

    name: str
    pull: str = ""
    registry: str = ""
    build: Build | None = None


@dataclass(frozen=True)
class Config:
    """A whole configuration, with what its reader was warned about."""

    containers: dict[str, Container] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
