"""Stands in for the container engine: its HTTP API on a real Unix socket, and `docker create`.

Containers are records. What is run in one by `exec`, or in a container that somebody is attached to, is a
program of this machine; so streams, statuses and lost connections are real ones.
"""

from __future__ import annotations

import io
import json
import socket
import socketserver
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

from tests.tool.fake_swarm import FakeSwarm

# Options of `docker create` that take no value.
_FLAGS = {"--init", "--rm", "--interactive", "--tty", "--privileged", "--read-only", "-i", "-t"}
_TIME = "2026-01-02T03:04:05.000000001Z"
_DOCKER = """#!{python} -SE
import socket, sys, json, os
body = json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ)}}).encode()
s = socket.socket(socket.AF_UNIX)
s.connect({path!r})
head = "POST /v1/fake/create HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n"
s.sendall(f"{{head}}Content-Length: {{len(body)}}\\r\\n\\r\\n".encode() + body)
data = b""
while more := s.recv(65536):
    data += more
answer = json.loads(data.partition(b"\\r\\n\\r\\n")[2])
if "message" in answer:
    sys.exit("Error response from daemon: " + answer["message"])
print(answer["Id"])
"""


@dataclass
class Container:
    """One container, as `docker create` asked for it."""

    name: str
    image: str
    argv: list[str]
    options: dict[str, list[str]]
    env: dict[str, str]
    labels: dict[str, str]
    status: str = "created"
    code: int = 0
    # Stream, time as the engine writes it, line without its end.
    log: list[tuple[int, str, bytes]] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    attached: socket.socket | None = None
    # What really runs for it on this machine.
    process: subprocess.Popen[bytes] | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    id: str = field(default_factory=lambda: uuid4().hex * 2)

    @property
    def running(self) -> bool:
        return self.status == "running"

    def inspected(self) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "Id": self.id, "Name": f"/{self.name}", "Image": self.image, "RestartCount": 0,
            "State": {"Status": self.status, "Running": self.running, "ExitCode": self.code},
            "Config": {"Tty": "--tty" in self.options, "Labels": self.labels, "Env": []},
            "HostConfig": {}, "NetworkSettings": {"Networks": {name: {} for name in self.networks}},
        }  # fmt: skip


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """One thread a connection."""

    daemon_threads = True
    block_on_close = False
    engine: FakeEngine

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""


class FakeEngine:
    """The engine. `calls` are the API's in order, `argvs` the words of every `docker create`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        # The device that it is on.
        self.root = path.parent.parent
        self.lock = threading.Condition()
        self.images: dict[str, dict[str, Any]] = {}
        self.containers: dict[str, Container] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.execs: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.argvs: list[list[str]] = []
        self.command_env: dict[str, str] = {}
        self.arch = "amd64"
        self.components: list[dict[str, str]] = []
        self.swarm = FakeSwarm()
        # Images that were fetched from a registry, and handed to one.
        self.pulled: list[str] = []
        self.pushed: list[str] = []
        # A registry that takes them: repository, tag and image in, digest out.
        self.on_push: Callable[[str, str, dict[str, Any]], str] = lambda repository, tag, image: image["Id"]
        # What was pruned: images or build (cache), and how it was asked for.
        self.pruned: list[tuple[str, dict[str, str]]] = []
        # What `docker save` gives beside the name, per image.
        self.saved: dict[str, bytes] = {}
        # The next logs are broken off, as by an engine that is restarted.
        self.breaks_off = False
        # Why `docker create` fails, where it is to.
        self.refuse = ""
        self._server = Server(str(path), Handler)
        self._server.engine = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nobody answers from now on."""
        self._server.shutdown()
        self._server.server_close()
        self.path.unlink(missing_ok=True)
        for container in self.containers.values():
            self.end(container)

    def put_docker(self, folder: Path) -> None:
        """The command, in a folder for PATH."""
        program = folder / "docker"
        program.write_text(_DOCKER.format(python=sys.executable, path=str(self.path)))
        program.chmod(0o755)

    def image(self, reference: str, *exposed: int) -> str:
        """Make an image; returns its id."""
        found = f"sha256:{len(self.images) + 1:064x}"
        config: dict[str, Any] = {"ExposedPorts": {f"{port}/tcp": {} for port in exposed}}
        self.images[reference] = self.images[found] = {
            "Id": found, "Architecture": self.arch, "Config": config, "RepoTags": [reference]
        }  # fmt: skip
        return found

    def write(self, name: str, text: str, time: str = _TIME, stream: int = 1) -> None:
        """A container writes a line."""
        with self.lock:
            self.containers[name].log.append((stream, time, text.encode()))
            self.lock.notify_all()

    def end(self, container: Container, code: int = 0) -> None:
        """A container ends."""
        with self.lock:
            if container.running:
                container.status, container.code = "exited", code
            container.ended.set()
            self.lock.notify_all()
        if container.process is not None:
            container.process.kill()
        if container.attached is not None:
            with suppress(OSError):
                container.attached.shutdown(socket.SHUT_RDWR)

    def create(self, argv: list[str], env: dict[str, str]) -> dict[str, Any]:
        """`docker create` with those words."""
        self.argvs.append(argv)
        self.command_env = env
        if self.refuse:
            return {"message": self.refuse}
        words = argv[1:]
        options: dict[str, list[str]] = {}
        while words and words[0].startswith("-"):
            name, equals, value = words.pop(0).partition("=")
            if not equals and name not in _FLAGS:
                value = words.pop(0)
            options.setdefault(name, []).append(value)
        name = options["--name"][0]
        if name in self.containers:
            return {"message": f'Conflict. The container name "/{name}" is already in use'}
        if words[0] not in self.images:
            return {"message": f"No such image: {words[0]}"}
        given = [one.partition("=") for one in options.get("--env", [])]
        variables = {key: value if equals else env.get(key, "") for key, equals, value in given}
        labels = dict(one.split("=", 1) for one in options.get("--label", []))
        made = Container(name, words[0], words[1:], options, variables, labels)
        made.networks = options.get("--network", [])[:]
        self.containers[name] = made
        return {"Id": made.id}

    def name_of(self, word: str) -> str:
        """The name of a container, which may be asked for by its id."""
        return next((one.name for one in list(self.containers.values()) if one.id == word), word)


def spawn(container: Container, argv: list[str], stream: socket.socket, tty: bool) -> int:
    """Run a program of this machine joined with a connection, as an engine does; its status."""
    try:
        process = subprocess.Popen(
            argv, env={"PATH": "/usr/bin:/bin", **container.env}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError:
        return 127
    container.process = process
    lock = threading.Lock()

    def out(number: int, file: Any) -> None:
        while data := file.read1(1 << 15):
            with lock, suppress(OSError):
                stream.sendall(data if tty else struct.pack(">BxxxL", number, len(data)) + data)

    def into() -> None:
        with suppress(OSError, ValueError):
            while data := stream.recv(1 << 15):
                process.stdin.write(data)  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
        with suppress(OSError, ValueError):
            process.stdin.close()  # type: ignore[union-attr]

    threads = [
        threading.Thread(target=out, args=(1, process.stdout)),
        threading.Thread(target=out, args=(2, process.stderr)),
    ]
    threading.Thread(target=into, daemon=True).start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with process:
        return process.wait()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""

    def address_string(self) -> str:
        """A Unix socket has none."""
        return "unix"

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_DELETE = do_PUT = do_GET

    def _json(self, value: Any, status: int = 200) -> None:
        data = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _bytes(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        engine = self.server.engine
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        size = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(size)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        while chunked and (length := int(self.rfile.readline(), 16)) >= 0:
            data += self.rfile.read(length + 2)[:-2]
            if not length:
                break
        words = unquote(url.path).strip("/").split("/")[1:]
        if words[0] == "containers":
            words[1] = engine.name_of(words[1])
        engine.calls.append(f"{self.command} /{'/'.join(words)}")
        body = json.loads(data) if data and self.headers.get("Content-Type") == "application/json" else data
        if words == ["fake", "create"]:
            asked = json.loads(data)
            self._json(engine.create(asked["argv"], asked["env"]))
            return
        answer = getattr(self, f"_{words[0]}", None)
        if answer is None:
            self._json({"message": "page not found"}, 404)
        else:
            answer(words[1:], query, body)

    def _version(self, words: list[str], query: dict[str, str], body: Any) -> None:
        engine = self.server.engine
        self._json({"Version": "0", "Components": engine.components, "Arch": engine.arch})

    def _info(self, words: list[str], query: dict[str, str], body: Any) -> None:
        self._json(self.server.engine.swarm.info())

    def _swarm(self, words: list[str], query: dict[str, str], body: Any) -> None:
        self._json(*self.server.engine.swarm.swarm(words, query, body))

    def _services(self, words: list[str], query: dict[str, str], body: Any) -> None:
        if words[1:] == ["logs"]:
            said = self.server.engine.swarm.said.get(words[0], "at work")
            data = "".join(f"{_TIME} {line}\n" for line in said.splitlines()).encode()
            self._bytes(struct.pack(">BxxxL", 1, len(data)) + data)
            return
        self._json(*self.server.engine.swarm.service(words, self.command, query, body))

    def _events(self, words: list[str], query: dict[str, str], body: Any) -> None:
        """One, after which this device is asked for its role."""
        self.server.engine.swarm.on_event()
        self._json({"Type": "config", "Action": "create"})

    def _secrets(self, words: list[str], query: dict[str, str], body: Any) -> None:
        self._json(*self.server.engine.swarm.object("secrets", words, self.command, query, body))

    def _configs(self, words: list[str], query: dict[str, str], body: Any) -> None:
        self._json(*self.server.engine.swarm.object("configs", words, self.command, query, body))

    def _tasks(self, words: list[str], query: dict[str, str], body: Any) -> None:
        self._json(*self.server.engine.swarm.task(query))

    def _nodes(self, words: list[str], query: dict[str, str], body: Any) -> None:
        self._json(*self.server.engine.swarm.node(words, self.command, query, body))

    def _images(self, words: list[str], query: dict[str, str], body: Any) -> None:
        images = self.server.engine.images
        if words == ["json"]:
            found = {one["Id"]: {**one, "RepoTags": []} for one in images.values()}
            for name, one in images.items():
                found[one["Id"]]["RepoTags"] += [name] if name != one["Id"] else []
            self._json(list(found.values()))
            return
        if words == ["prune"]:
            self._prune("images", 1000, query)
            return
        if words == ["create"] and "fromImage" in query:
            if "@" in query["fromImage"]:
                self._json({"message": "invalid reference format"}, 400)
                return
            separator = "@" if ":" in query["tag"] else ":"
            self.server.engine.pulled.append(f"{query['fromImage']}{separator}{query['tag']}")
            self._json({"status": "Downloaded"})
            return
        if words == ["create"]:
            made = self.server.engine.image(f"{query['repo']}:{query['tag']}")
            if platform := query.get("platform"):
                images[made]["Architecture"] = platform.partition("/")[2]
            self._json({"status": made})
            return
        if words == ["get"]:
            self._bytes(f"{query['names']}\n".encode() + self.server.engine.saved.get(query["names"], b""))
            return
        if words == ["load"]:
            name, _, rest = body.partition(b"\n")
            self.server.engine.image(name.decode())
            self.server.engine.saved[name.decode()] = rest
            self._json({"stream": f"Loaded image: {name.decode()}\n"})
            return
        reference, verb = ("/".join(words[:-1]), words[-1]) if words[-1] in ("json", "tag", "push") else (
            "/".join(words), "remove"
        )  # fmt: skip
        if reference not in images and verb != "push":
            self._json({"message": f"No such image: {reference}"}, 404)
        elif verb == "json":
            self._json(images[reference])
        elif verb == "push":
            name = f"{reference}:{query['tag']}"
            self.server.engine.pushed.append(name)
            repository = reference.partition("/")[2]
            digest = self.server.engine.on_push(repository, query["tag"], images[name])
            self._json({"aux": {"Digest": digest}})
        elif verb == "tag":
            images[f"{query['repo']}:{query['tag']}"] = images[reference]
            self._json(None, 201)
        else:
            gone = images.pop(reference)["Id"]
            used = any(one.image in (gone, reference) for one in self.server.engine.containers.values())
            if not used and [name for name, one in images.items() if one["Id"] == gone] == [gone]:
                del images[gone]
            self._json([])

    def _build(self, words: list[str], query: dict[str, str], body: Any) -> None:
        if words:
            self._prune("build", 2000, query)
            return
        self.server.engine.image(query["t"])
        self._json({"stream": "built"})

    def _prune(self, kind: str, size: int, query: dict[str, str]) -> None:
        self.server.engine.pruned.append((kind, query))
        self._json({"SpaceReclaimed": size})

    def _networks(self, words: list[str], query: dict[str, str], body: Any) -> None:
        networks = self.server.engine.networks
        if not words:
            self._json(list(networks.values()))
        elif words == ["create"]:
            if body["Name"] in networks:
                self._json({"message": f"network with name {body['Name']} already exists"}, 409)
                return
            config = body.get("IPAM", {}).get("Config") or [{"Subnet": "172.31.0.0/16"}]
            networks[body["Name"]] = {
                "Name": body["Name"], "Driver": "bridge", "IPAM": {"Config": config},
                "Labels": body.get("Labels") or {}, "Containers": {},
            }  # fmt: skip
            self._json({"Id": body["Name"]}, 201)
        elif words[0] not in networks:
            self._json({"message": f"network {words[0]} not found"}, 404)
        elif words[1:] == ["connect"]:
            self.server.engine.containers[body["Container"]].networks.append(words[0])
            self._json(None)
        elif self.command == "DELETE":
            del networks[words[0]]
            self._json(None, 204)
        else:
            self._json(networks[words[0]])

    def _containers(self, words: list[str], query: dict[str, str], body: Any) -> None:
        engine = self.server.engine
        if words == ["json"]:
            wanted = json.loads(query.get("filters", "{}")).get("label", [])
            self._json(
                [
                    {"Id": one.id, "Names": [f"/{one.name}"], "State": one.status, "Labels": one.labels,
                     "Command": " ".join(one.argv), "Created": 1767323045, "Image": one.image,
                     "ImageID": engine.images.get(one.image, {}).get("Id", "")}
                    for one in list(engine.containers.values())
                    if all(self._labelled(one, label) for label in wanted)
                ]
            )  # fmt: skip
            return
        container = engine.containers.get(words[0])
        if container is None:
            self._json({"message": f"No such container: {words[0]}"}, 404)
            return
        verb = words[1] if len(words) > 1 else "remove"
        getattr(self, f"_do_{verb}")(container, query, body)

    def _labelled(self, container: Container, label: str) -> bool:
        name, equals, value = label.partition("=")
        return container.labels.get(name) == value if equals else name in container.labels

    def _do_json(self, container: Container, query: dict[str, str], body: Any) -> None:
        self._json(container.inspected())

    def _do_start(self, container: Container, query: dict[str, str], body: Any) -> None:
        container.status = "running"
        container.ended.clear()
        if container.attached is not None:
            threading.Thread(target=self._attached, args=(container,), daemon=True).start()
        self._json(None, 204)

    def _attached(self, container: Container) -> None:
        assert container.attached is not None
        tty = "--tty" in container.options
        code = spawn(container, container.argv, container.attached, tty)
        self.server.engine.end(container, code)

    def _do_stop(self, container: Container, query: dict[str, str], body: Any) -> None:
        self.server.engine.end(container, 143)
        self._json(None, 204)

    def _do_kill(self, container: Container, query: dict[str, str], body: Any) -> None:
        self.server.engine.end(container, 137)
        self._json(None, 204)

    def _do_remove(self, container: Container, query: dict[str, str], body: Any) -> None:
        self.server.engine.end(container, 137)
        self.server.engine.containers.pop(container.name, None)
        self._json(None, 204)

    def _do_archive(self, container: Container, query: dict[str, str], body: Any) -> None:
        # Of the one volume that the container has; the folder is one of the device's.
        host, _, inside = container.options["--volume"][0].partition(":")
        folder = self.server.engine.root / host.lstrip("/")
        assert query["path"].rstrip("/.") == inside
        if self.command == "PUT":
            with tarfile.open(fileobj=io.BytesIO(body)) as file:
                # As dockerd, which leaves the folder itself as it is.
                members = [member for member in file.getmembers() if member.name != "."]
                file.extractall(folder, members=members, filter="tar")
            self._json(None)
            return
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as file:
            file.add(folder, ".")
        self._bytes(data.getvalue())

    def _do_wait(self, container: Container, query: dict[str, str], body: Any) -> None:
        if container.running:
            container.ended.wait(30)
        self._json({"StatusCode": container.code})

    def _do_resize(self, container: Container, query: dict[str, str], body: Any) -> None:
        self._json(None)

    def _do_attach(self, container: Container, query: dict[str, str], body: Any) -> None:
        # Before the answer: with it the client goes on, and starts the container.
        container.attached = self.connection
        container.ended.clear()
        self._upgrade()
        container.ended.wait(60)

    def _upgrade(self) -> None:
        self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        self.wfile.flush()
        self.close_connection = True

    def _do_logs(self, container: Container, query: dict[str, str], body: Any) -> None:
        engine = self.server.engine
        self.send_response(200)
        self.close_connection = True
        if engine.breaks_off:
            engine.breaks_off = False
            # A chunk that never comes.
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            return
        self.end_headers()
        with engine.lock:
            since = float(query.get("since") or 0)
            lines = [one for one in container.log if not since or _seconds(one[1]) >= since]
            lines = lines if query.get("tail", "all") == "all" else lines[-int(query["tail"]) :]
            shown = len(container.log)
        self._frames(lines, query)
        while query.get("follow") == "1":
            with engine.lock:
                while len(container.log) == shown and container.running:
                    engine.lock.wait(60)
                lines, shown = container.log[shown:], len(container.log)
                if not lines:
                    return
            self._frames(lines, query)

    def _frames(self, lines: list[tuple[int, str, bytes]], query: dict[str, str]) -> None:
        for stream, time, text in lines:
            data = (f"{time} ".encode() if query.get("timestamps") == "1" else b"") + text + b"\n"
            self.wfile.write(struct.pack(">BxxxL", stream, len(data)) + data)
        self.wfile.flush()

    def _do_exec(self, container: Container, query: dict[str, str], body: Any) -> None:
        if not container.running:
            self._json({"message": f"Container {container.name} is not running"}, 409)
            return
        name = f"exec{len(self.server.engine.execs)}"
        self.server.engine.execs[name] = {**body, "container": container.name, "ExitCode": None}
        self._json({"Id": name}, 201)

    def _exec(self, words: list[str], query: dict[str, str], body: Any) -> None:
        asked = self.server.engine.execs[words[0]]
        if words[1] == "json":
            self._json({"ExitCode": asked["ExitCode"], "Pid": 0})
        elif words[1] == "resize":
            self._json(None)
        else:
            if self.headers.get("Upgrade"):
                self._upgrade()
            else:
                self.send_response(200)
                self.end_headers()
                self.close_connection = True
                self.wfile.flush()
            container = self.server.engine.containers[asked["container"]]
            asked["ExitCode"] = spawn(container, asked["Cmd"], self.connection, bool(asked.get("Tty")))


def _seconds(time: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(time[:26] + "+00:00").timestamp()
