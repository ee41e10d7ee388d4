"""The container engine as crew uses it: itself, containers and networks, besides images.

Only containers are created by the docker command: users write options in the command's language.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from skiff_device.common import run
from skiff_device.common.errors import DeviceError, EngineDown
from skiff_device.crew.engine_api import CHUNK, TIMEOUT, Refused, frames, raw
from skiff_device.crew.engine_images import Images


class Engine(Images):
    """The engine of this device."""

    # About itself

    def version(self) -> dict[str, Any]:
        """Version and components."""
        return dict(self.ask("GET", "/version"))

    def wait_until_up(self, timeout: float) -> None:
        """Come back when it answers. Raises EngineDown when it does not within that many seconds."""
        end = time.monotonic() + timeout
        while True:
            try:
                self.version()
                return
            except EngineDown:
                if time.monotonic() > end:
                    raise
            time.sleep(1)

    def info(self) -> dict[str, Any]:
        """What it knows of the machine."""
        return dict(self.ask("GET", "/info"))

    def is_podman(self) -> bool:
        """Whether it is podman that answers."""
        parts = self.version().get("Components") or []
        return any("podman" in str(part.get("Name", "")).lower() for part in parts)

    def disk_usage(self) -> dict[str, Any]:
        """Sizes of images, containers, volumes and build cache, in bytes."""
        return dict(self.ask("GET", "/system/df"))

    # Containers

    def containers(self, **labels: str) -> list[dict[str, Any]]:
        """Containers with those labels, running or not: `containers(**{"crew.app": "x"})`."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        query = {"all": 1, "filters": {"label": wanted} if wanted else None}
        return list(self.ask("GET", "/containers/json", query) or [])

    def inspect(self, name: str) -> dict[str, Any] | None:
        """All about a container, or None."""
        return self.found(f"/containers/{quote(name)}/json")

    def create(self, name: str, words: list[str], env: dict[str, str] | None = None) -> str:
        """Make a container by the words after `docker create`; returns its id. env is what it will see.

        The variables are words too. In the environment of the command itself an app's PATH, LD_PRELOAD or
        DOCKER_HOST would decide what runs on the device.
        """
        variables = [f"--env={key}={value}" for key, value in (env or {}).items()]
        done = run.capture(["docker", "create", "--name", name, *variables, *words], timeout=TIMEOUT)
        if done.status:
            said = done.err.strip() or done.out.decode(errors="replace").strip()
            lines = [line for line in said.splitlines() if "--help" not in line]
            reason = (lines or [""])[-1].removeprefix("Error response from daemon: ").removeprefix("Error: ")
            raise DeviceError(
                f"{name} cannot be made: {reason}", "check docker-options, storage and resource"
            )
        return done.out.decode().strip().splitlines()[-1]

    def start(self, name: str) -> None:
        """Start a container; one that runs stays as it is."""
        try:
            self.ask("POST", f"/containers/{quote(name)}/start")
        except Refused as error:
            raise DeviceError(f"{name} does not start: {error.message}") from None

    def stop(self, name: str, seconds: int) -> None:
        """Ask a container to end; it is killed after that time."""
        query = {"t": max(1, seconds)}
        try:
            with self.open("POST", f"/containers/{quote(name)}/stop", query, timeout=seconds + TIMEOUT):
                pass
        except Refused as error:
            if error.status != 404:
                raise

    def kill(self, name: str, signal: str) -> None:
        """Send a signal to a container's first process."""
        self.ask("POST", f"/containers/{quote(name)}/kill", {"signal": signal})

    def remove(self, name: str) -> None:
        """Remove a container, running or not, with its unnamed volumes; one that is gone is no error."""
        try:
            self.ask("DELETE", f"/containers/{quote(name)}", {"force": 1, "v": 1})
        except Refused as error:
            # 409: it is being removed already.
            if error.status not in (404, 409):
                raise

    def wait(self, name: str, timeout: float | None = None) -> int:
        """Wait until a container ends; its status."""
        with self.open("POST", f"/containers/{quote(name)}/wait", timeout=timeout) as answer:
            return int(json.loads(answer.read()).get("StatusCode", 0))

    def read_tree(self, name: str, path: str) -> Iterator[bytes]:
        """A folder of a container, running or not, as a tar in pieces."""
        url = f"/containers/{quote(name)}/archive"
        with self.open("GET", url, {"path": path}, timeout=None) as answer:
            while data := answer.read(CHUNK):
                yield data

    def write_tree(self, name: str, path: str, data: Iterable[bytes]) -> None:
        """Unpack a tar into a folder of a container; files keep their owners."""
        headers = {"Content-Type": "application/x-tar"}
        url = f"/containers/{quote(name)}/archive"
        with self.open("PUT", url, {"path": path}, data, headers, None):
            pass

    def logs(
        self, name: str, follow: bool = False, tail: str = "all", since: str = "", timestamps: bool = False
    ) -> Iterator[tuple[int, bytes]]:
        """What a container wrote, in pieces: (1 stdout or 2 stderr, bytes). since is in Unix seconds."""
        found = self.inspect(name)
        tty = bool(found and found.get("Config", {}).get("Tty"))
        query = {
            "stdout": 1, "stderr": 1, "follow": 1 if follow else 0, "tail": tail, "since": since,
            "timestamps": 1 if timestamps else 0,
        }  # fmt: skip
        timeout = None if follow else TIMEOUT
        with self.open("GET", f"/containers/{quote(name)}/logs", query, timeout=timeout) as answer:
            yield from raw(answer) if tty else frames(answer)

    def execute(
        self,
        name: str,
        argv: list[str],
        timeout: float,
        user: str = "",
        env: Iterable[str] = (),
    ) -> tuple[int, bytes]:
        """Run a program in a container; status and the end of what it wrote. 124: it took longer."""
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": argv, "User": user, "Env": list(env)}
        made = self.ask("POST", f"/containers/{quote(name)}/exec", body=body)["Id"]
        said = b""
        start = {"Detach": False, "Tty": False}
        end = time.monotonic() + timeout
        try:
            with self.open("POST", f"/exec/{made}/start", body=start, timeout=timeout) as answer:
                for _, data in frames(answer):
                    said = (said + data)[-CHUNK:]
                    # The limit of the connection is for silence.
                    if time.monotonic() > end:
                        return 124, said
        except TimeoutError:
            return 124, said
        status = self.ask("GET", f"/exec/{made}/json").get("ExitCode")
        return (124 if status is None else int(status)), said

    def create_exec(self, name: str, argv: list[str], tty: bool) -> str:
        """Prepare a program in a container, with standard input; returns its id."""
        body = {
            "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": tty, "Cmd": argv,
            "Env": ["TERM=xterm"] if tty else [],
        }  # fmt: skip
        try:
            return str(self.ask("POST", f"/containers/{quote(name)}/exec", body=body)["Id"])
        except Refused as error:
            raise DeviceError(error.message, "ps:report shows what runs") from None

    def inspect_exec(self, made: str) -> dict[str, Any]:
        """What became of a program in a container."""
        return dict(self.ask("GET", f"/exec/{made}/json"))

    def resize(self, what: str, height: int, width: int) -> None:
        """Tell the size of a terminal: of `containers/NAME` or `exec/ID`, in characters."""
        self.ask("POST", f"/{quote(what)}/resize", {"h": height, "w": width})

    # Networks

    def network(self, name: str) -> dict[str, Any] | None:
        """A network, or None."""
        return self.found(f"/networks/{quote(name)}")

    def networks(self) -> list[dict[str, Any]]:
        """All networks."""
        return list(self.ask("GET", "/networks") or [])

    def create_network(
        self, name: str, subnet: str | None = None, labels: dict[str, str] | None = None
    ) -> None:
        """Make a bridge. subnet is IPv4 in CIDR notation."""
        body: dict[str, Any] = {
            "Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": labels or {},
        }  # fmt: skip
        if subnet:
            body["IPAM"] = {"Driver": "default", "Config": [{"Subnet": subnet}]}
        self.ask("POST", "/networks/create", body=body)

    def remove_network(self, name: str) -> None:
        """Remove a network that nobody is on."""
        self.ask("DELETE", f"/networks/{quote(name)}")

    def connect(self, network: str, name: str) -> None:
        """Put a container on one more network."""
        self.ask("POST", f"/networks/{quote(network)}/connect", body={"Container": name})
