"""One container engine as the commands that reach it: it builds, keeps images by name, hands them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from skiff.host.run import Group, run
from skiff.model.arch import Arch
from skiff.model.port import Platform

# Everything kept in an engine between runs is named below this. `localhost` is no registry, so no engine
# asks the network for a name of ours that is gone.
OURS = "localhost/skiff-port"
# What the docker command itself reads from its environment: such a build argument has to be a word.
_DOCKER_READS = ("PATH", "HOME", "LANG", "TMPDIR", "NO_COLOR", "SSH_AUTH_SOCK")
Say = Callable[[str], None]


class Job(msgspec.Struct, frozen=True):
    """One build of a Dockerfile."""

    tag: str
    platform: Platform
    dockerfile: Path
    context: Path
    target: str = ""
    args: dict[str, str] = {}
    # As `docker build --network`: `default`, `none` or `host`.
    network: str = "default"


class Inspected(msgspec.Struct, rename="pascal"):
    """What an engine says of one of its images."""

    id: str
    architecture: str
    os: str = "linux"
    variant: str = ""


class Engine:
    """One engine, Docker's or podman. ``words`` are the command that reaches it."""

    # Whether it runs images too.
    runs_images = True

    def __init__(
        self, name: str, words: Sequence[str], arch: Arch, *, podman: bool = False, remote: str = ""
    ) -> None:
        self.name = name
        self.words = tuple(words)
        self.arch = arch
        # Podman's own command; it keeps what Docker's image format has and OCI's has not only when told.
        self.podman = podman
        # The device that it runs on; empty for this machine.
        self.remote = remote
        # Without BuildKit: podman's socket on a device.
        self.legacy = False

    @property
    def _env(self) -> dict[str, str]:
        # A builder of the user's own has neither our images nor a place where the next build finds them.
        return {
            "DOCKER_BUILDKIT": "0" if self.legacy else "1",
            "BUILDKIT_PROGRESS": "plain",
            "BUILDX_BUILDER": "",
        }

    def call(self, *words: str, check: bool = True, timeout: float | None = None) -> str:
        """Run one command of the engine; what it printed. Raises CommandError."""
        done = run([*self.words, *words], env=self._env, input=b"", check=check, timeout=timeout)
        return done.stdout.decode(errors="replace")

    def runs(self, target: Platform) -> bool:
        """Whether the engine's CPU runs programs for the platform by itself."""
        return target.debian in (self.arch, *((Arch.I386,) if self.arch is Arch.AMD64 else ()))

    def names(self, *filters: str) -> frozenset[str]:
        """The names of its images."""
        return frozenset(self.call("images", "--format", "{{.Repository}}:{{.Tag}}", *filters).split())

    def tags(self) -> frozenset[str]:
        """The names of ours that it has."""
        return self.names("--filter", f"reference={OURS}")

    def inspect(self, name: str) -> Inspected:
        """One of its images."""
        return msgspec.json.decode(self.call("image", "inspect", name), type=list[Inspected])[0]

    def build_words(self, job: Job) -> tuple[list[str], dict[str, str]]:
        """The command of a build, and the values of its arguments as environment: others see no command's."""
        words = [*self.words, "build", "--platform", str(job.platform), "--tag", job.tag]
        words += ["--file", str(job.dockerfile)]
        env = self._env
        if self.podman:
            words += ["--format", "docker", "--pull=never"]
        elif not self.legacy:
            words += ["--progress", "plain"]
        if job.target:
            words += ["--target", job.target]
        if job.network != "default":
            words += ["--network", job.network]
        for name, value in sorted(job.args.items()):
            own = name in _DOCKER_READS or name.startswith(("DOCKER_", "BUILDKIT_", "BUILDX_"))
            words += ["--build-arg", f"{name}={value}" if own else name]
            env |= {} if own else {name: value}
        return [*words, str(job.context)], env

    def build(self, job: Job, group: Group, say: Say) -> int:
        """Build and tag; the engine's lines go to ``say``. Returns the status of its command."""
        words, env = self.build_words(job)
        return group.stream(words, say, env=env)

    def load(self, archive: Path) -> None:
        """Take in images of an archive, with their names."""
        self.call("load", "--input", str(archive))

    def save(self, tag: str, archive: Path) -> None:
        """Write an image as an archive."""
        form = ["--format", "docker-archive"] if self.podman else []
        archive.unlink(missing_ok=True)
        self.call("save", *form, "--output", str(archive), tag)

    def tag(self, tag: str, name: str) -> None:
        """Give an image a further name."""
        self.call("tag", tag, name)


class _Docker(msgspec.Struct):
    architecture: str
    os: str = "linux"
    variant: str = ""


class _Held(msgspec.Struct, rename="pascal"):
    """What buildah says of an image: its id, and the configuration in Docker's form."""

    docker: _Docker
    from_image_id: str = msgspec.field(name="FromImageID")


class Buildah(Engine):
    """Podman's builder by itself: it builds and keeps images as podman does, and runs none."""

    runs_images = False

    def __init__(self, arch: Arch) -> None:
        super().__init__("buildah", ("buildah",), arch, podman=True)

    def names(self, *filters: str) -> frozenset[str]:
        """The names of its images."""
        return frozenset(self.call("images", "--format", "{{.Name}}:{{.Tag}}", *filters).split())

    def inspect(self, name: str) -> Inspected:
        """One of its images."""
        held = msgspec.json.decode(self.call("inspect", "--type", "image", name), type=_Held)
        return Inspected(held.from_image_id, held.docker.architecture, held.docker.os, held.docker.variant)

    def load(self, archive: Path) -> None:
        """Take in the image of an archive, with its name."""
        self.call("pull", f"docker-archive:{archive}")

    def save(self, tag: str, archive: Path) -> None:
        """Write an image as an archive."""
        archive.unlink(missing_ok=True)
        self.call("push", tag, f"docker-archive:{archive}")
