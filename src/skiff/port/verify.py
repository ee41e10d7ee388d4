"""Runs a finished image as its users will: until its HEALTHCHECK is content, or the program has settled."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import CommandError
from skiff.model.oci import Healthcheck
from skiff.model.port import Platform
from skiff.port.engine import Engine

# Seconds in which a program that is going to fail at once has done so, under emulation too.
SETTLED = 10.0
# Seconds for a HEALTHCHECK to be content.
PATIENCE = 180.0
# As shells tell it: cannot be executed, is not found, or was killed by SIGILL, TRAP, ABRT, IOT, BUS or SEGV.
_BROKEN = {126, 127, 132, 133, 134, 135, 139}


class _State(msgspec.Struct, rename="pascal"):
    running: bool = False
    exit_code: int = 0
    error: str = ""
    health: _Health | None = None


class _Health(msgspec.Struct, rename="pascal"):
    status: str = ""


class _Settings(msgspec.Struct, rename="pascal"):
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: Healthcheck | None = None


class _Image(msgspec.Struct, rename="pascal"):
    config: _Settings
    # Where podman has it.
    healthcheck: Healthcheck | None = None


def verify(engine: Engine, tag: str, name: str, platform: Platform, tell: Callable[[str], None]) -> str:
    """Run the image ``tag``; what was seen, in a few words. Raises UserError when it cannot run.

    It has no network and no privileges; a program that ends with a status of its own, as one that only prints
    how it is used, did run.
    """
    image = msgspec.json.decode(engine.call("image", "inspect", tag), type=list[_Image])[0]
    settings = image.config
    if not settings.entrypoint and not settings.cmd:
        return "starts nothing by itself"
    health = settings.healthcheck or image.healthcheck
    checked = health is not None and bool(health.test) and health.test != ("NONE",)
    container = f"skiff-port-verify-{uuid.uuid4().hex[:12]}"
    words = ["run", "--detach", "--name", container, "--network", "none", "--platform", str(platform)]
    try:
        tell("runs")
        try:
            engine.call(*words, "--pull", "never", tag)
        except CommandError as error:
            raise _failed(name, platform, error.output) from error
        return (
            _healthy(engine, container, name, platform, tell)
            if checked
            else _settled(engine, container, name, platform)
        )
    finally:
        # Docker kills it at once; podman would ask it to end, and wait.
        at_once = ("--time", "0") if engine.podman else ()
        with suppress(CommandError):
            engine.call("rm", "--force", *at_once, "--volumes", container)


def _settled(engine: Engine, container: str, name: str, platform: Platform) -> str:
    deadline = time.monotonic() + SETTLED
    while (state := _state(engine, container)).running and time.monotonic() < deadline:
        time.sleep(0.2)
    if state.running:
        return "runs"
    if state.exit_code in _BROKEN:
        raise _failed(name, platform, f"{_logs(engine, container)}\nit ended with status {state.exit_code}")
    return f"ran, and ended with status {state.exit_code}"


def _healthy(
    engine: Engine, container: str, name: str, platform: Platform, tell: Callable[[str], None]
) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        state = _state(engine, container)
        if not state.running:
            raise _failed(
                name, platform, f"{_logs(engine, container)}\nit ended with status {state.exit_code}"
            )
        if engine.podman:
            # Podman asks by itself only where systemd keeps its timers.
            with suppress(CommandError):
                engine.call("healthcheck", "run", container)
                return "healthy"
        status = state.health.status if state.health else ""
        if status == "healthy":
            return "healthy"
        if status == "unhealthy":
            break
        tell(status or "waits for its HEALTHCHECK")
        time.sleep(0.5)
    raise _failed(name, platform, f"{_logs(engine, container)}\nits HEALTHCHECK does not become content")


def _state(engine: Engine, container: str) -> _State:
    text = engine.call("container", "inspect", "--format", "{{json .State}}", container)
    return msgspec.json.decode(text, type=_State)


def _logs(engine: Engine, container: str) -> str:
    with suppress(CommandError):
        return engine.call("logs", "--tail", "10", container).strip()
    return ""


def _failed(name: str, platform: Platform, said: str) -> UserError:
    hint = "no name was given to it and nothing pushed; run it by hand to look closer"
    if "exec format error" in said:
        hint = f"no emulator is registered for {platform}: --setup-emulation"
    lines = [line for line in said.strip().splitlines() if line.strip()][-12:]
    return UserError(
        f"{name} for {platform} was built, but does not run:\n  " + "\n  ".join(lines), hint=hint
    )
