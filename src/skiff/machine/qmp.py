"""QEMU's control socket: one command, one answer."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any


class QmpError(Exception):
    """QEMU did not answer, or refused the command."""


def connect(path: Path, timeout: float) -> socket.socket:
    """Connect to a Unix socket, however long its path (the kernel takes 108 bytes at most).

    Raises OSError when nobody listens there. ``timeout`` is in seconds.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(timeout)
        try:
            client.connect(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            client.close()
            raise
        return client
    finally:
        os.close(folder)


def execute(path: Path, command: str, timeout: float = 5.0, **arguments: Any) -> Any:
    """Send one command to the QEMU that listens on ``path`` and return what it answers.

    Raises QmpError when there is no answer within ``timeout`` seconds or it is an error.
    """
    try:
        with connect(path, timeout) as link, link.makefile("rwb") as stream:
            if "QMP" not in json.loads(stream.readline() or b"{}"):
                raise QmpError(f"{path}: not a QEMU control socket")
            for message in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(message).encode() + b"\n")
                stream.flush()
                answer = _answer(stream.readline)
            return answer
    except (OSError, ValueError) as error:
        raise QmpError(f"{path}: {error}") from error


def _answer(readline: Any) -> Any:
    """The next answer; QEMU may send events in between."""
    while line := readline():
        message = json.loads(line)
        if "error" in message:
            raise QmpError(str(message["error"].get("desc", message["error"])))
        if "return" in message:
            return message["return"]
    raise QmpError("QEMU closed the control socket")
