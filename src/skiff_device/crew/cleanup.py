"""Makes room: images, containers and build cache that no release needs. What serves, or is kept, stays."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from skiff_device.common.errors import DeviceError
from skiff_device.crew import containers, store
from skiff_device.crew import release as releases
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths

# What cleanup:set changes: how many releases of an app are kept, the serving one among them, and how large
# the build cache of all apps may become, in bytes.
KEEP = 5
CACHE = 1 << 30
# The label of images that crew built.
IMAGE_LABEL = "crew.app.image"
# Podman writes a registry in front.
_TAG = re.compile(r"(?:localhost/|docker\.io/)?crew/([a-z0-9-]+):(?:(\d+)|build-(\d+)|empty)")


class Freed(NamedTuple):
    """What went: names of images, containers, and bytes of build cache and of unnamed images."""

    images: int = 0
    containers: int = 0
    cache: int = 0

    def __add__(self, other: object) -> Freed:
        """Both together."""
        assert isinstance(other, Freed)
        return Freed(self.images + other.images, self.containers + other.containers, self.cache + other.cache)


def keep(paths: Paths, app: str) -> int:
    """How many releases of an app are kept."""
    everywhere = store.section(paths, None, "cleanup")
    return max(1, int({**everywhere, **store.section(paths, app, "cleanup")}.get("keep_releases", KEEP)))


def cache_limit(paths: Paths) -> int:
    """How large the build cache may become, in bytes."""
    return int(store.section(paths, None, "cleanup").get("build_cache", CACHE))


def app(paths: Paths, engine: Engine, name: str) -> Freed:
    """What an app does not need any more. No deploy of it goes on meanwhile."""
    with store.alone(paths, f"deploy-{name}"):
        old_releases(paths, engine, name)
        now = releases.current(paths, name)
        wanted = {one.name for one in (now.containers if now is not None else ())}
        gone = 0
        for found in engine.containers(**{containers.LABEL: name}):
            container = str(found["Names"][0]).lstrip("/")
            if found.get("State") in ("exited", "dead") and container not in wanted:
                engine.remove(container)
                gone += 1
        return Freed(_tags(paths, engine, name), gone)


def old_releases(paths: Paths, engine: Engine, name: str) -> None:
    """Forget the oldest releases beyond those that are kept, but never the one that serves."""
    now = releases.current_number(paths, name)
    # One that is being made is newer, and none of its business.
    others = [number for number in releases.numbers(paths, name) if number < now]
    for number in others[: max(0, len(others) + 1 - keep(paths, name))]:
        old = releases.readable(paths, name, number)
        if old is not None:
            engine.untag(old.tag)
        releases.forget(paths, name, number)


def _tags(paths: Paths, engine: Engine, name: str) -> int:
    """Names of images that no release has: of power cuts amid builds, of releases that are forgotten."""
    numbers = set(releases.numbers(paths, name))
    count = 0
    for image in engine.images():
        for tag in image.get("RepoTags") or []:
            match = _TAG.fullmatch(str(tag))
            if match is None or match[1] != name or (match[2] and int(match[2]) in numbers):
                continue
            if _is_under_way(paths, match):
                continue
            count += engine.untag(str(tag))
    return count


def _is_under_way(paths: Paths, match: re.Match[str]) -> bool:
    """Whether a build or an import has this name for its image, until there is a release of it."""
    return bool(match[3]) and Path(paths.root / "proc" / match[3]).exists()


def everything(paths: Paths, engine: Engine) -> Freed:
    """What no app needs, what apps that are gone left, unnamed images, and build cache beyond its limit."""
    freed = Freed()
    for name in store.apps(paths):
        # A damaged app keeps nobody's disk full.
        with suppress(DeviceError):
            freed += app(paths, engine, name)
    for image in engine.images():
        found = [match for tag in image.get("RepoTags") or [] if (match := _TAG.fullmatch(str(tag)))]
        if any(_is_under_way(paths, match) for match in found):
            continue
        for match in found:
            # Looked for now: an import that has just ended was under way until its app was there.
            if not store.exists(paths, match[1]):
                freed += Freed(images=int(engine.untag(match[0])))
    freed += _fetched(engine)
    unnamed = engine.prune_images()
    return freed + Freed(cache=unnamed + engine.prune_build_cache(cache_limit(paths)))


def _fetched(engine: Engine) -> Freed:
    """Images of the cluster's apps of which no container is here; Swarm fetches what it needs anew."""
    from skiff_device.crew import registry

    used = {str(one.get("ImageID")) for one in engine.containers()}
    names = [
        str(name)
        for image in engine.images()
        for name in image.get("RepoDigests") or []
        if str(name).startswith(f"{registry.ADDRESS}/crew/") and image["Id"] not in used
    ]
    return Freed(images=sum(map(engine.untag, names)))


def after_deploy(paths: Paths, engine: Engine, name: str) -> None:
    """The policy: unnamed images of the app go, and build cache beyond its limit."""
    engine.prune_images(f"{IMAGE_LABEL}={name}")
    engine.prune_build_cache(cache_limit(paths))


def room(paths: Paths) -> dict[str, Any]:
    """Sizes of persist, in bytes."""
    usage = shutil.disk_usage(paths.crew)
    return {"total": usage.total, "free": usage.free}
