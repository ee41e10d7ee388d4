"""Requests to the container engine's HTTP API, and the forms that its answers have.

Reference: Docker Engine API 1.41, which podman speaks too. Asked over the socket itself, for a start of the
docker command costs more than most answers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlencode

from skiff_device.common.errors import DeviceError, EngineDown
from skiff_device.crew.http_unix import Connection
from skiff_device.crew.paths import Paths

VERSION = "/v1.41"
# In seconds: for answers that need no work of the engine's.
TIMEOUT = 120.0
CHUNK = 1 << 16


class Refused(DeviceError):
    """The engine answered, and said no. status is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(" ".join(message.split())[:400] or f"the engine answered with status {status}")
        self.status = status


class Api:
    """The engine of this device, by plain requests."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = TIMEOUT,
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
                    raise Refused(answer.status, _message(answer.read(CHUNK)))
                yield answer
        finally:
            connection.close()

    def ask(self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None) -> Any:
        """The answer's JSON; None when it is empty."""
        with self.open(method, path, query, body) as answer:
            data = answer.read()
        return json.loads(data) if data.strip() else None

    def found(self, path: str, query: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The answer's JSON; None when there is no such thing."""
        try:
            answer: dict[str, Any] = self.ask("GET", path, query)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return answer


def records(answer: HTTPResponse) -> Iterator[dict[str, Any]]:
    """JSON objects of an answer, as they come: one a line, or one after the other."""
    decoder = json.JSONDecoder()
    text = ""
    while data := answer.read1(CHUNK):
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
    while len(data) < length and (more := answer.read(min(length - len(data), CHUNK))):
        data += more
    return data if len(data) == length else b""


def raw(answer: HTTPResponse) -> Iterator[tuple[int, bytes]]:
    """Pieces of a terminal's stream, which has no heads."""
    while data := answer.read1(CHUNK):
        yield 1, data


def _message(data: bytes) -> str:
    try:
        found = json.loads(data)
        return str(found.get("message") or found.get("cause") or data.decode(errors="replace"))
    except (ValueError, AttributeError):
        return data.decode(errors="replace")
