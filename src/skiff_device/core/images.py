"""Gets images: pulls and builds them, by policy, with their output in the log as it comes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from skiff_device.common.errors import DeviceError, EngineDown
from skiff_device.common.run import Log
from skiff_device.core import bases, engine, source
from skiff_device.core.desired import LABEL_SOURCE, Source, env_image
from skiff_device.core.model import Build, Image
from skiff_device.core.paths import Paths


def get(origin: Source, ways: tuple[str, ...], paths: Paths, log: Log) -> None:
    """Get an image by the first way that works. Raises the DeviceError of the way that was meant first."""
    first: DeviceError | None = None
    for way in ways:
        try:
            if way == "pull":
                pull(origin.image, log)
            elif origin.image.build is not None:
                build(origin.image, origin.image.build, origin.fingerprint, paths, log)
            return
        except EngineDown:
            raise
        except DeviceError as error:
            first = first or error
            if way != ways[-1]:
                log(f"{error.message}; trying another way")
    if first is not None:
        raise first


def pull(image: Image, log: Log) -> None:
    """Pull an image; from another registry under that one's name, and then it is tagged."""
    remote = f"{image.registry}/{image.name}" if image.registry else image.name
    log(f"pulling {remote}")
    engine.pull(remote, log)
    if remote != image.name:
        engine.ask("tag", remote, image.name, what=f"{remote} cannot be tagged {image.name}")


def build(image: Image, what: Build, fingerprint: str, paths: Paths, log: Log) -> None:
    """Build an image from its source, labelled with the source's fingerprint."""
    if source.kind(what.source) == "url":
        _build_from_address(image, what, fingerprint, log)
        return
    with source.fetched(what, paths, log) as folder:
        # Paths were made relative when they were read; they lead nowhere else than into the source.
        top = folder / what.root if what.root else folder
        file = top / (what.dockerfile or "Dockerfile")
        if what.root and not file.is_file():
            file = folder / (what.dockerfile or "Dockerfile")
        if not file.is_file():
            raise DeviceError(f"{image.name}: {file} is not there", "check build.source and build.dockerfile")
        words = [*_words(image, what, fingerprint), "--file", engine.folder(file)]
        given = {name for name, _ in what.build_args}
        base = bases.prepare(folder, file, log) if "BASE" not in given else None
        if base:
            words += ["--build-arg", f"BASE={base}"]
        log(f"building {image.name} from {what.source}")
        _build(words, what.squash, engine.folder(top), image.name, log)


def _words(image: Image, what: Build, fingerprint: str) -> list[str]:
    words = ["--tag", image.name, "--label", f"{LABEL_SOURCE}={fingerprint}"]
    for name, value in what.build_args:
        words += ["--build-arg", name if value is None else f"{name}={value}"]
    if what.preserve_intermediate:
        words.append("--rm=false")
    return words


def _build_from_address(image: Image, what: Build, fingerprint: str, log: Log) -> None:
    """A tarball behind an address: the engine's own command fetches it (it brings TLS with it)."""
    if what.root:
        hint = "unpack it into a folder on persist, and name that as source"
        raise DeviceError(f"{image.name}: build.root does not work with a tarball behind an address", hint)
    words = [*_words(image, what, fingerprint), "--file", what.dockerfile or "Dockerfile"]
    log(f"building {image.name} from {what.source}")
    _build(words, what.squash, what.source, image.name, log)


def _build(words: list[str], squash: bool, context: str, tag: str, log: Log) -> None:
    if squash:
        try:
            engine.build([*words, "--squash", context], tag, log)
            return
        except DeviceError as error:
            if "experimental" not in error.message and "squash" not in error.message:
                raise
            log("this engine cannot squash: building with its layers as they are")
    engine.build([*words, context], tag, log)


def build_env(container: str, tree: Path, commit: str, log: Log, paths: Paths | None = None) -> str:
    """Build the image of a pushed environment from a folder, and return its name.

    Switching is another step: the folder at env/CONTAINER/trees/COMMIT, `current` pointing there, apply.
    Nothing changes when this raises DeviceError.
    """
    image = env_image(container, commit, tree.absolute())
    assert image.build is not None
    where = paths or Paths()
    # The tree is a path of this process already.
    bare = Paths("/")
    bare.work, bare.persist = where.work, where.persist
    build(image, dataclasses.replace(image.build, source=str(tree.absolute())), commit, bare, log)
    return image.name
