"""Pre-flight checks: whether new containers are fit to take over.

In this order: the image's HEALTHCHECK; `healthchecks` of app.json or a CHECKS file, in Dokku's formats;
else a port that is to be published must be listened on, and other processes must stay up for some seconds.
"""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from skiff_device.common.errors import DeviceError
from skiff_device.crew.release import Running

if TYPE_CHECKING:
    from skiff_device.crew.engine import Engine

Say = Callable[[str], None]
# In seconds. Dokku waits 10 for a process without checks; it is a setting here (checks:set wait).
DEFAULT_UPTIME = 5.0
# How long a web process may take to listen, and an image to call itself healthy from its first look on.
LONGEST = 120.0
_PAUSE = 0.1
_DAY = 86400
# As much of an answer is looked at, and at once; in bytes.
_BODY = 1 << 20
_PIECE = 1 << 16
# How long one that ended and was started again is waited for, to tell its status.
_NEXT_END = 10.0


class Check(NamedTuple):
    """One check of a container. port 0 is the process's own; times in seconds."""

    kind: str
    name: str = ""
    path: str = "/"
    content: str = ""
    command: tuple[str, ...] = ()
    host: str = ""
    port: int = 0
    attempts: int = 3
    timeout: float = 5.0
    wait: float = 5.0
    uptime: float = DEFAULT_UPTIME


def from_app_json(app_json: dict[str, Any], process: str, default: Check | None = None) -> list[Check]:
    """Startup checks of a process, as app.json tells them. Raises DeviceError.

    default has what a check that says nothing else takes.
    """
    default = default or Check("")
    listed = app_json.get("healthchecks", {})
    listed = listed.get(process, []) if isinstance(listed, dict) else None
    if not isinstance(listed, list):
        raise DeviceError(f"app.json: healthchecks.{process}: expected a list")
    checks = []
    for place, one in enumerate(listed):
        where = f"app.json: healthchecks.{process}[{place}]"
        if not isinstance(one, dict):
            raise DeviceError(f"{where}: expected an object")
        if one.get("type", "startup") != "startup":
            continue
        try:
            if "command" in one:
                words = one["command"]
                kind, words = (
                    "command",
                    tuple(words) if isinstance(words, list) else ("/bin/sh", "-c", str(words)),
                )
            else:
                kind = "uptime" if "uptime" in one else "listening" if one.get("listening") else "http"
                words = ()
            headers = {str(h["name"]).lower(): str(h["value"]) for h in one.get("httpHeaders", [])}
            checks.append(
                Check(
                    kind,
                    str(one.get("name", "")),
                    str(one.get("path", "/")),
                    str(one.get("content", "")),
                    words,
                    headers.get("host", ""),
                    int(_bounded(one, "port", 0, 65535)),
                    max(1, int(_bounded(one, "attempts", default.attempts))),
                    _bounded(one, "timeout", default.timeout),
                    _bounded(one, "wait", default.wait),
                    _bounded(one, "uptime", DEFAULT_UPTIME),
                )
            )
        except (ValueError, TypeError, KeyError) as error:
            raise DeviceError(f"{where}: {error}", "see checks in the documentation") from None
    return checks


def _bounded(one: dict[str, Any], key: str, default: float, high: int = _DAY) -> float:
    """A number of a check. Raises ValueError: JSON has numbers that no port is, and no time ends at."""
    number = float(one.get(key, default))
    if not 0 <= number <= high:
        raise ValueError(f"{key}: expected a number from 0 to {high}")
    return number


_SETTING = re.compile(r"(WAIT|TIMEOUT|ATTEMPTS)=(\d{1,4})")


def from_file(text: str, default: dict[str, int] | None = None) -> list[Check]:
    """Checks of a CHECKS file: settings, and lines `PATH [CONTENT]` or `//HOST/PATH [CONTENT]`.

    default has wait, timeout and attempts where the file does not say. Raises DeviceError with the line.
    """
    settings = {"WAIT": 5, "TIMEOUT": 30, "ATTEMPTS": 5}
    settings |= {name.upper(): value for name, value in (default or {}).items()}
    found = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if match := _SETTING.fullmatch(line):
            settings[match[1]] = int(match[2])
            continue
        address, _, content = line.partition(" ")
        host = ""
        address = re.sub(r"^https?://", "//", address)
        if address.startswith("//"):
            host, slash, path = address[2:].partition("/")
            address = slash + path or "/"
        if not address.startswith("/"):
            raise DeviceError(f"CHECKS:{number}: expected a path such as /health", "one check a line")
        found.append((address, content.strip(), host))
    return [
        Check(
            "http",
            path,
            path,
            content,
            host=host,
            attempts=max(1, settings["ATTEMPTS"]),
            timeout=settings["TIMEOUT"],
            wait=settings["WAIT"],
        )
        for path, content, host in found
    ]


class Plan(NamedTuple):
    """What a container must pass. port is what its process should listen on; 0 for none."""

    checks: tuple[Check, ...]
    port: int = 0
    host: str = ""
    uptime: float = DEFAULT_UPTIME


def ready(engine: Engine, container: Running, plan: Plan, say: Say) -> None:
    """Come back when a new container is fit to serve. Raises DeviceError with the reason."""
    state = _state(engine, container)
    if state.get("Health"):
        _healthy(engine, container)
        say(f"{container.process}.{container.index}: healthy")
    for check in plan.checks:
        _pass(engine, container, plan, check)
        say(f"{container.process}.{container.index}: passed {check.name or check.path or check.kind}")
    if plan.checks or state.get("Health"):
        return
    if plan.port:
        _listening(engine, container, plan.port, LONGEST)
        say(f"{container.process}.{container.index}: listens on port {plan.port}")
    else:
        _stays_up(engine, container, plan.uptime)
        say(f"{container.process}.{container.index}: stayed up for {plan.uptime:g} s")


def _state(engine: Engine, container: Running) -> dict[str, Any]:
    """State of a container that must run. Raises DeviceError when it ended."""
    found = engine.inspect(container.name)
    if found is None:
        raise DeviceError(f"{container.process}.{container.index} is gone", "push again")
    state: dict[str, Any] = found["State"]
    if not state.get("Running") or found.get("RestartCount", 0) > 0 or state.get("Restarting"):
        who = f"{container.process}.{container.index}"
        raise DeviceError(f"{who} ended with status {_status(engine, container, state)}")
    return state


def _status(engine: Engine, container: Running, state: dict[str, Any]) -> int:
    """With which status a container ended. One that the engine has started again tells it at its next end."""
    end = time.monotonic() + _NEXT_END
    while state.get("Running") and not state.get("Restarting") and time.monotonic() < end:
        time.sleep(_PAUSE)
        state = (engine.inspect(container.name) or {}).get("State", {})
    return int(state.get("ExitCode", 0))


def _healthy(engine: Engine, container: Running) -> None:
    end = time.monotonic() + LONGEST + _first_look(engine, container)
    while True:
        health = _state(engine, container).get("Health") or {}
        if health.get("Status") == "healthy":
            return
        if health.get("Status") == "unhealthy" or time.monotonic() > end:
            log = health.get("Log") or [{}]
            said = " ".join(str(log[-1].get("Output", "")).split())[:200]
            raise DeviceError(f"{container.process}.{container.index} is not healthy: {said or 'no answer'}")
        time.sleep(_PAUSE)


def _first_look(engine: Engine, container: Running) -> float:
    """When an image that says so has looked for the first time how it is, in seconds."""
    asked = ((engine.inspect(container.name) or {}).get("Config") or {}).get("Healthcheck") or {}
    # The engine has nanoseconds.
    return sum(int(asked.get(name) or 0) for name in ("StartPeriod", "Interval", "Timeout")) / 1e9


def _listening(engine: Engine, container: Running, port: int, longest: float) -> None:
    end = time.monotonic() + longest
    while True:
        _state(engine, container)
        try:
            with socket.create_connection((container.address, port), timeout=5):
                return
        except OSError:
            if time.monotonic() > end:
                who = f"{container.process}.{container.index}"
                raise DeviceError(
                    f"{who} does not listen on port {port} after {longest:g} s",
                    "listen on 0.0.0.0 and the port in $PORT, or name it: ports:set",
                ) from None
        time.sleep(_PAUSE)


def _stays_up(engine: Engine, container: Running, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        _state(engine, container)
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, 0.5))


def _pass(engine: Engine, container: Running, plan: Plan, check: Check) -> None:
    if check.kind == "uptime":
        _stays_up(engine, container, check.uptime)
        return
    if check.kind == "listening":
        _listening(engine, container, check.port or plan.port or 5000, check.timeout * check.attempts)
        return
    # Asked early and often up to the first attempt's end: an app that is quick is not made to wait.
    end = time.monotonic() + check.wait
    attempt = 0
    while True:
        _state(engine, container)
        reason = _once(engine, container, plan, check)
        if not reason:
            return
        if time.monotonic() > end:
            attempt += 1
            end = time.monotonic() + check.wait
            if attempt >= check.attempts:
                what = check.name or (check.path if check.kind == "http" else " ".join(check.command))
                raise DeviceError(f"{container.process}.{container.index} does not pass {what}: {reason}")
        time.sleep(_PAUSE)


def _once(engine: Engine, container: Running, plan: Plan, check: Check) -> str:
    """One try; the reason when it failed."""
    if check.kind == "command":
        status, said = engine.execute(container.name, list(check.command), timeout=check.timeout)
        text = " ".join(said.decode(errors="replace").split())[:200]
        return "" if status == 0 else f"status {status} {text}".rstrip()
    port = check.port or plan.port or 5000
    end = time.monotonic() + check.timeout
    body = b""
    connection = http.client.HTTPConnection(container.address, port, timeout=check.timeout)
    try:
        connection.request("GET", check.path, headers={"Host": check.host or plan.host or "localhost"})
        answer = connection.getresponse()
        while len(body) < _BODY and (data := answer.read1(_PIECE)):
            body += data
            # The limit of the connection is for silence.
            if time.monotonic() > end:
                return f"the answer does not end within {check.timeout:g} s"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    if not 200 <= answer.status < 400:
        return f"status {answer.status}"
    if check.content and check.content not in body.decode(errors="replace"):
        return f"the answer does not hold {check.content!r}"
    return ""
