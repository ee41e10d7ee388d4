"""Several images as one index, and the index as a file."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.model.port import Platform
from skiff.port import index
from skiff.port.reference import parse_reference

ARM, RISCV = Platform.parse("arm64"), Platform.parse("riscv64")


def layout(folder: Path, cpu: str) -> Path:
    """An OCI layout of one image, as skopeo writes it; its configuration is not looked at."""
    layers = [{"digest": f"sha256:{'0' * 64}"}]
    content = json.dumps({"config": {"digest": f"sha256:{cpu}"}, "layers": layers}).encode()
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    name = hashlib.sha256(content).hexdigest()
    (blobs / name).write_bytes(content)
    (blobs / ("0" * 64)).write_bytes(b"a layer that both have")
    piece = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{name}",
        "size": len(content),
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [piece]}))
    return folder


def test_an_index_names_every_platform(tmp_path: Path) -> None:
    one, two = layout(tmp_path / "one", "arm"), layout(tmp_path / "two", "riscv")
    digest = index.join([(ARM, one), (RISCV, two)], tmp_path / "both", "me/app:1")
    top = json.loads((tmp_path / "both" / "index.json").read_text())
    assert [piece["digest"] for piece in top["manifests"]] == [digest]
    assert top["manifests"][0]["annotations"] == {"org.opencontainers.image.ref.name": "me/app:1"}
    blob = tmp_path / "both/blobs/sha256" / digest.removeprefix("sha256:")
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    platforms = [piece["platform"] for piece in json.loads(blob.read_text())["manifests"]]
    assert platforms == [
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
        {"os": "linux", "architecture": "riscv64"},
    ]
    assert len(list(blob.parent.iterdir())) == 4


def test_the_file_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    one = layout(tmp_path / "one", "arm")
    for name in ("a", "b"):
        index.join([(ARM, one)], tmp_path / name, "app")
        index.pack(tmp_path / name, tmp_path / f"{name}.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert {"oci-layout", "index.json", "blobs/sha256"} <= set(tar.getnames())
        assert all(member.isreg() or member.isdir() for member in tar)


def test_docker_loads_the_file_of_one_cpu(tmp_path: Path) -> None:
    one, two = layout(tmp_path / "one", "arm"), layout(tmp_path / "two", "riscv")
    index.join([(ARM, one)], tmp_path / "alone", "me/app:1")
    assert json.loads((tmp_path / "alone" / "manifest.json").read_text()) == [
        {
            "Config": "blobs/sha256/arm",
            "RepoTags": ["me/app:1"],
            "Layers": [f"blobs/sha256/{'0' * 64}"],
        }
    ]
    # One name is one CPU for Docker.
    index.join([(ARM, one), (RISCV, two)], tmp_path / "both", "me/app:1")
    assert not (tmp_path / "both" / "manifest.json").exists()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    index.join([(ARM, layout(tmp_path / "one", "arm"))], tmp_path / "all", "app")
    with pytest.raises(UserError, match="the folder is not there"):
        index.pack(tmp_path / "all", tmp_path / "gone" / "oci.tar")


def test_an_engine_gets_a_name_for_each_cpu() -> None:
    tag = parse_reference("me/app:1")
    assert index.local_names(tag, [ARM]) == ["me/app:1"]
    names = index.local_names(tag, [ARM, Platform.parse("arm/v6")])
    assert names == ["me/app:1-arm64", "me/app:1-armv6"]
