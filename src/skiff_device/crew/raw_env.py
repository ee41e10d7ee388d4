"""Variables with bytes that are no UTF-8: they come to a container by a file, for no engine carries them.

Engines keep variables as JSON, where such bytes silently become others. So a container that has one starts
with the device's own busybox, a static program: its shell sets them, and becomes the container's command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import store
from skiff_device.crew.paths import Paths

if TYPE_CHECKING:
    from skiff_device.crew.engine import Engine

# Where a container finds them.
_BUSYBOX, _VARIABLES = "/.crew/busybox", "/.crew/variables"
# A program that another one must load names it among its first bytes (PT_INTERP): /lib/ld-musl-x86_64.so.1.
_LOADER, _HEAD = b"/ld-", 4096


def names(env: dict[str, str]) -> list[str]:
    """Names of the variables that are no UTF-8: the bytes are surrogates then, as Python has them."""
    return [name for name, value in env.items() if any("\ud800" <= char <= "\udfff" for char in value)]


def may_be(value: str) -> bool:
    """Whether a text is what a variable can hold: any byte but NUL."""
    try:
        return b"\0" not in value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        # Half of a pair of UTF-16, which JSON can name.
        return False


def create(
    engine: Engine,
    paths: Paths,
    app: str,
    name: str,
    options: list[str],
    image: str,
    argv: list[str],
    env: dict[str, str],
) -> None:
    """Make a container that sees all of its variables, not started yet. Raises DeviceError."""
    raw = names(env)
    if not raw:
        engine.create(name, [*options, image, *argv], env)
        return
    _needs(paths, raw[0], options)
    plain = {key: value for key, value in env.items() if key not in raw}
    # Alone, so that nobody tidies between the file and its container.
    with store.alone(paths, f"variables-{app}"):
        folder = paths.app(app) / "variables"
        folder.mkdir(mode=0o700, exist_ok=True)
        _tidy(engine, app, folder)
        lines = [f"export {key}={_quoted(env[key])}\n" for key in raw]
        # Whoever the program in the container is must read it; on the device the folder keeps others out.
        write_atomically(folder / name, "".join(lines) + 'exec "$@"\n', 0o444)
        config = (engine.image(image) or {}).get("Config") or {}
        command = [*(config.get("Entrypoint") or []), *(argv or config.get("Cmd") or [])]
        words = [f"--volume={folder / name}:{_VARIABLES}:ro"]
        words += [f"--volume={_busybox(paths)}:{_BUSYBOX}:ro", f"--entrypoint={_BUSYBOX}"]
        engine.create(name, [*options, *words, image, "sh", _VARIABLES, *command], plain)


def before(paths: Paths, app: str, name: str) -> list[str]:
    """Words before those of a program that is started in a running container, so that it sees them too."""
    return [_BUSYBOX, "sh", _VARIABLES] if (paths.app(app) / "variables" / name).exists() else []


def tidy(engine: Engine, paths: Paths, app: str) -> None:
    """Remove what containers that are gone have left."""
    folder = paths.app(app) / "variables"
    if folder.is_dir():
        with store.alone(paths, f"variables-{app}"):
            _tidy(engine, app, folder)


def _needs(paths: Paths, variable: str, options: list[str]) -> None:
    """Raise DeviceError where there is no way for them."""
    if any(word.partition("=")[0] == "--entrypoint" for word in options):
        raise DeviceError(
            f"{variable}: bytes that are not UTF-8 do not go with the option --entrypoint",
            "docker-options:remove it, or keep the value encoded and decode it in the app",
        )
    if not _is_static(_busybox(paths)):
        raise DeviceError(
            f"{variable}: bytes that are not UTF-8 need a static busybox, which this image has not",
            "keep the value encoded, and decode it in the app",
        )


def _is_static(program: Path) -> bool:
    try:
        with program.open("rb") as file:
            return _LOADER not in file.read(_HEAD)
    except OSError:
        return False


def _busybox(paths: Paths) -> Path:
    return paths.root / "usr/bin/busybox"


def _tidy(engine: Engine, app: str, folder: Path) -> None:
    there = {str(one["Names"][0]).lstrip("/") for one in engine.containers(**{"crew.app": app})}
    for path in folder.iterdir():
        if path.name not in there:
            path.unlink()


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
