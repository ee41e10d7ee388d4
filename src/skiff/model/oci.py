"""An image's configuration, in the words of the OCI image specification: decodes from its JSON as it is."""

from __future__ import annotations

import msgspec


class RunConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """How a container of the image is run; what Dockerfile instructions without files set."""

    user: str = ""
    exposed_ports: dict[str, dict[str, str]] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    # The rest is Docker's.
    on_build: tuple[str, ...] | None = None
    shell: tuple[str, ...] | None = None
    healthcheck: Healthcheck | None = None


class Healthcheck(msgspec.Struct, frozen=True, rename="pascal"):
    """How the engine asks a container whether it is well; times are nanoseconds."""

    test: tuple[str, ...] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class History(msgspec.Struct, frozen=True):
    """One step that made the image. An empty layer changed nothing but the configuration."""

    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class Rootfs(msgspec.Struct, frozen=True):
    """The layers, unpacked."""

    diff_ids: tuple[str, ...] = ()


class ImageConfig(msgspec.Struct, frozen=True):
    """The configuration of an image for one platform."""

    architecture: str = ""
    os: str = "linux"
    variant: str = ""
    config: RunConfig | None = None
    rootfs: Rootfs = Rootfs()
    history: tuple[History, ...] = ()

    @property
    def run(self) -> RunConfig:
        """How containers of it are run, as far as it says."""
        return self.config or RunConfig()

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, as far as it has any."""
        return self.run.labels or {}
