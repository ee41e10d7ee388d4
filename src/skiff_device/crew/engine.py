"""The container engine by its HTTP API, which docker has and podman speaks too.

Reference: Docker Engine API 1.41. Asked over the socket itself, for a start of the docker command costs more
than most answers. Only containers are created by the command: users write options in the command's language.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

from skiff_device.common import run
from skiff_device.common.errors import DeviceError, EngineDown
from skiff_device.crew.http_unix import Connection
from skiff_device.crew.paths import Paths

VERSION = "/v1.41"
# In seconds: for answers that need no work of the engine's.
_TIMEOUT = 120.0
_CHUNK = 1 << 16


class Refused(DeviceError):
    """The engine answered, and said no. status is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(" ".join(message.split())[:400] or f"the engine answered with status {status}")
        self.status = status


class Engine:
    """The engine of this device."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    # Asking

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = _TIMEOUT,
    ) -> Iterator[HTTPResponse]:
        """An answer that is read by the caller. Raises Refused, and EngineDown when there is none.

        body is JSON, or a stream of bytes; leaving ends the connection, and with it a build.
        """
        words = {key: value for key, value in (query or {}).items() if value not in (None, "", False)}
        asked = {
            key: json.dumps(value) if isinstance(value, dict | list) else value
            for key, value in words.items()
        }
        url = f"{VERSION}{path}" + (f"?{urlencode(asked)}" if asked else "")
        sent = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        connection = Connection(self._paths.engine_socket, timeout)
        try:
            try:
                connection.request(method, url, body=body, headers=sent)
                answer = connection.getresponse()
            except (OSError, HTTPException) as error:
                raise EngineDown(
                    f"the container engine does not answer: {error or type(error).__name__}",
                    "skiff-status engine",
                ) from None
            # Closed by itself too: an answer without an end of its own keeps the connection.
            with answer:
                if answer.status >= 400:
                    raise Refused(answer.status, _message(answer.read(_CHUNK)))
                yield answer
        finally:
            connection.close()

    def ask(self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None) -> Any:
        """The answer's JSON; None when it is empty."""
        with self.open(method, path, query, body) as answer:
            data = answer.read()
        return json.loads(data) if data.strip() else None

    def _found(self, path: str, query: dict[str, Any] | None = None) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.ask("GET", path, query)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return found

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

    # Images

    def image(self, reference: str) -> dict[str, Any] | None:
        """An image that is on this device, or None."""
        return self._found(f"/images/{quote(reference, safe='/:@')}/json")

    def images(self, label: str = "") -> list[dict[str, Any]]:
        """Images, of a label (`name` or `name=value`) where one is given."""
        return list(self.ask("GET", "/images/json", {"filters": {"label": [label]} if label else None}) or [])

    def tag(self, reference: str, name: str) -> None:
        """Give an image another name, `repository:tag`."""
        repository, _, tag = name.rpartition(":")
        self.ask("POST", f"/images/{quote(reference, safe='/:@')}/tag", {"repo": repository, "tag": tag})

    def untag(self, name: str) -> bool:
        """Take a name away, and the image with its last one; False when it is not there or in use."""
        try:
            self.ask("DELETE", f"/images/{quote(name, safe='/:@')}")
        except Refused:
            return False
        return True

    def pull(self, reference: str, say: Any) -> None:
        """Fetch an image from its registry."""
        name, colon, tag = reference.rpartition(":")
        if not colon or "/" in tag:
            name, tag = reference, "latest"
        with self.open("POST", "/images/create", {"fromImage": name, "tag": tag}, timeout=None) as answer:
            shown = ""
            for record in records(answer):
                if error := record.get("error"):
                    raise DeviceError(f"{reference} cannot be pulled: {error}", "check name and network")
                text = str(record.get("status", ""))
                if text and text != shown and "progress" not in record:
                    say(text)
                    shown = text

    def load(self, stream: BinaryIO | Iterable[bytes]) -> str:
        """Take images from an archive that `save` wrote; what the engine says of it."""
        headers = {"Content-Type": "application/x-tar"}
        said = ""
        with self.open("POST", "/images/load", {"quiet": 1}, stream, headers, None) as answer:
            for record in records(answer):
                if error := record.get("error"):
                    raise DeviceError(f"the images cannot be taken: {error}")
                said += str(record.get("stream", ""))
        return said.strip()

    def save(self, *references: str) -> Iterator[bytes]:
        """An archive of images, in pieces."""
        with self.open("GET", "/images/get", {"names": ",".join(references)}, timeout=None) as answer:
            while data := answer.read(_CHUNK):
                yield data

    def import_tar(self, stream: BinaryIO, reference: str) -> str:
        """Make an image of a tree of files; returns its id."""
        name, _, tag = reference.partition(":")
        query = {"fromSrc": "-", "repo": name, "tag": tag or "latest"}
        with self.open("POST", "/images/create", query, stream, timeout=None) as answer:
            last = ""
            for record in records(answer):
                if error := record.get("error"):
                    raise DeviceError(f"{reference} cannot be made: {error}")
                last = str(record.get("status", "")) or last
        return last

    def prune_images(self, label: str = "") -> int:
        """Remove images that have no name and no container, of a label if one is given; bytes that went."""
        filters = {"dangling": ["true"], **({"label": [label]} if label else {})}
        found = self.ask("POST", "/images/prune", {"filters": filters})
        if isinstance(found, list):
            return sum(int(one.get("Size", 0)) for one in found)
        return int((found or {}).get("SpaceReclaimed", 0))

    def prune_build_cache(self, keep_bytes: int) -> int:
        """Shrink the build cache to a size; bytes that became free. Podman has none of its own."""
        try:
            found = self.ask("POST", "/build/prune", {"keep-storage": keep_bytes, "all": 1})
        except Refused as error:
            if error.status in (404, 405):
                return 0
            raise
        return int((found or {}).get("SpaceReclaimed", 0))

    # Containers

    def containers(self, **labels: str) -> list[dict[str, Any]]:
        """Containers with those labels, running or not: `containers(**{"crew.app": "x"})`."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        query = {"all": 1, "filters": {"label": wanted} if wanted else None}
        return list(self.ask("GET", "/containers/json", query) or [])

    def inspect(self, name: str) -> dict[str, Any] | None:
        """All about a container, or None."""
        return self._found(f"/containers/{quote(name)}/json")

    def create(self, name: str, words: list[str], env: dict[str, str] | None = None) -> str:
        """Make a container by the words after `docker create`; returns its id. env is what it will see.

        The variables are words too. In the environment of the command itself an app's PATH, LD_PRELOAD or
        DOCKER_HOST would decide what runs on the device.
        """
        variables = [f"--env={key}={value}" for key, value in (env or {}).items()]
        done = run.capture(["docker", "create", "--name", name, *variables, *words], timeout=_TIMEOUT)
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
            with self.open("POST", f"/containers/{quote(name)}/stop", query, timeout=seconds + _TIMEOUT):
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
            while data := answer.read(_CHUNK):
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
        timeout = None if follow else _TIMEOUT
        with self.open("GET", f"/containers/{quote(name)}/logs", query, timeout=timeout) as answer:
            yield from _raw(answer) if tty else frames(answer)

    def execute(
        self,
        name: str,
        argv: list[str],
        timeout: float,
        user: str = "",
        env: Iterable[str] = (),
    ) -> tuple[int, bytes]:
        """Run a program in a container; status and what it wrote. One that takes longer has status 124."""
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": argv, "User": user, "Env": list(env)}
        made = self.ask("POST", f"/containers/{quote(name)}/exec", body=body)["Id"]
        said = b""
        start = {"Detach": False, "Tty": False}
        try:
            with self.open("POST", f"/exec/{made}/start", body=start, timeout=timeout) as answer:
                for _, data in frames(answer):
                    said += data
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
        return self._found(f"/networks/{quote(name)}")

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


def records(answer: HTTPResponse) -> Iterator[dict[str, Any]]:
    """JSON objects of an answer, as they come: one a line, or one after the other."""
    decoder = json.JSONDecoder()
    text = ""
    while data := answer.read1(_CHUNK):
        text += data.decode(errors="replace")
        while text := text.lstrip():
            try:
                record, end = decoder.raw_decode(text)
            except ValueError:
                break
            text = text[end:]
            if isinstance(record, dict):
                yield record


def frames(answer: HTTPResponse) -> Iterator[tuple[int, bytes]]:
    """Pieces of a stream that holds stdout and stderr: 8 bytes of head (stream, length) before each."""
    while head := _exactly(answer, 8):
        stream, length = struct.unpack(">BxxxL", head)
        yield (2 if stream == 2 else 1), _exactly(answer, length)


def _exactly(answer: HTTPResponse, length: int) -> bytes:
    data = b""
    while len(data) < length and (more := answer.read(min(length - len(data), _CHUNK))):
        data += more
    return data if len(data) == length else b""


def _raw(answer: HTTPResponse) -> Iterator[tuple[int, bytes]]:
    while data := answer.read1(_CHUNK):
        yield 1, data


def _message(data: bytes) -> str:
    try:
        found = json.loads(data)
        return str(found.get("message") or found.get("cause") or data.decode(errors="replace"))
    except (ValueError, AttributeError):
        return data.decode(errors="replace")
