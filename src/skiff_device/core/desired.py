"""What the configuration asks of the engine: definitions with a hash, and the words of `docker create`."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from skiff_device.core import source
from skiff_device.core.model import Build, Config, Container, Image
from skiff_device.core.paths import PERSIST, SESSIONS, Paths

LABEL = "skiff.core"
LABEL_DEFINITION = "skiff.core.definition"
# On images that were built here: the fingerprint of the source.
LABEL_SOURCE = "skiff.core.source"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_INITS = ("init", "systemd", "openrc-init", "runit-init")
# Folders that hosts of other makes have, which files written for them mount: made empty in RAM when missing.
HOST_FOLDERS = ("/run/udev",)


@dataclass(frozen=True)
class Source:
    """Where an image comes from: the section of the file (or a pushed tree), and the source's fingerprint."""

    image: Image
    # Empty: nothing to build from, or it is not there.
    fingerprint: str = ""


@dataclass(frozen=True)
class Wanted:
    """A container as it should be. folders are to be made, missing are host folders nobody may make."""

    container: Container
    source: Source
    folders: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def definition(self, built_from: str) -> str:
        """sha256 over all that makes the container, its image built from that fingerprint ("": pulled)."""
        keys = asdict(self.container)
        # Says when to start it, not what it is.
        del keys["start_after_create"]
        text = json.dumps([1, keys, self.source.image.name, built_from], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def wanted(config: Config, paths: Paths) -> dict[str, Wanted]:
    """Every container of the file; looks at build sources and at host folders of mounts."""
    fingerprints: dict[Image, Source] = {}
    result = {}
    for name, container in config.containers.items():
        image = pushed(name, paths)
        if image is None:
            image = config.images.get(container.image, Image(container.image))
            if image not in fingerprints:
                print_of = source.fingerprint(image.build, paths) if image.build else ""
                fingerprints[image] = Source(image, print_of)
            origin = fingerprints[image]
        else:
            origin = Source(image, image.build.source.rpartition("/")[2] if image.build else "")
        folders, missing = _mount_folders(container, paths)
        result[name] = Wanted(container, origin, folders, missing)
    return result


def env_image(container: str, commit: str, tree: Path | str) -> Image:
    """The image of a pushed environment; commit are 40 hex digits."""
    return Image(f"skiff-env/{container.lower()}:{commit[:12]}", build=Build(str(tree)))


def pushed(container: str, paths: Paths) -> Image | None:
    """The environment that was pushed for a container, if any: it counts instead of the file's image."""
    link = paths.env / container / "current"
    try:
        target = link.readlink()
    except OSError:
        return None
    commit = target.name
    if target.parts != ("trees", commit) or not _COMMIT.fullmatch(commit):
        return None
    return env_image(container, commit, f"env/{container}/trees/{commit}")


def _mount_folders(container: Container, paths: Paths) -> tuple[tuple[str, ...], tuple[str, ...]]:
    folders: list[str] = []
    missing: list[str] = []
    for mount in container.mounts:
        host, colon, _ = mount.partition(":")
        if not colon or not host.startswith("/"):
            continue
        path = str(PurePosixPath(host))
        if paths.at(path).exists():
            continue
        makeable = ".." not in path.split("/") and path.startswith(PERSIST + "/")
        (folders if makeable or path in HOST_FOLDERS else missing).append(path)
    return tuple(folders), tuple(missing)


def init_of(container: Container, image_command: tuple[str, ...] = ()) -> str:
    """Name of the init system that is PID 1 of a container (systemd, init …), or nothing."""
    words = (*container.entrypoint, *container.cmd) or image_command
    name = words[0].rpartition("/")[2] if words else ""
    return name if name in _INITS else ""


def create_words(
    wanted: Wanted, name: str, definition: str, image_command: tuple[str, ...] = ()
) -> list[str]:
    """The words after `docker create` for a container under a name.

    image_command is what the image starts by itself; it tells whether that is an init system.
    """
    container = wanted.container
    words = ["--name", name, "--label", f"{LABEL}={container.name}"]
    words += ["--label", f"{LABEL_DEFINITION}={definition}"]
    init = init_of(container, image_command)
    if init:
        # An init system has to be PID 1 itself, and needs its own part of the cgroup tree.
        words += ["--cgroupns=private"]
    elif not container.disable_init:
        words += ["--init"]
    words += _flags(container)
    signal = container.stop_signal or ("RTMIN+3" if init == "systemd" else "")
    if signal:
        words += ["--stop-signal", signal if signal.startswith("SIG") or signal.isdigit() else f"SIG{signal}"]
    for mount in container.mounts:
        if init and mount.split(":")[:2] == ["/sys/fs/cgroup"] * 2:
            continue
        words += ["--volume", mount]
    words += ["--volume", f"{SESSIONS}/{container.name}:/.skiff"]
    # The command knows an entrypoint of one word; further words go before those of cmd.
    command = [*container.entrypoint[1:], *container.cmd]
    if container.entrypoint:
        words += ["--entrypoint", container.entrypoint[0]]
    return [*words, wanted.source.image.name, *command]


def _flags(container: Container) -> list[str]:
    switches = (
        (container.tty, "--tty"),
        (container.privileged, "--privileged"),
        (container.host_ipc, "--ipc=host"),
        (container.host_pid, "--pid=host"),
        (container.host_uts, "--uts=host"),
        (container.host_network, "--network=host"),
    )
    words = [switch for on, switch in switches if on]
    if container.working_directory:
        words += ["--workdir", container.working_directory]
    if container.restart_policy:
        words += ["--restart", container.restart_policy]
    ports = [] if container.host_network else [f"{host}:{inside}" for host, inside in container.ports]
    lists: tuple[tuple[str, list[str] | tuple[str, ...]], ...] = (
        ("--env", container.env),
        ("--cap-add", container.cap_add),
        ("--security-opt", container.security_opt),
        ("--tmpfs", [f"{path}:{options}" if options else path for path, options in container.tmpfs]),
        ("--publish", ports),
        ("--dns", container.dns),
        ("--dns-search", container.dns_search),
        ("--add-host", container.hosts),
    )
    for option, values in lists:
        for value in values:
            words += [option, value]
    return words
