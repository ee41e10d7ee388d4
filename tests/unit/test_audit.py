"""`skiff audit`: versions in Debian's order, and which holes of a lock's packages are told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from skiff.__main__ import main
from skiff.host import json as typed
from skiff.host import tracker
from skiff.host.download import download
from skiff.host.errors import UserError
from skiff.host.workspace import open_workspace
from skiff.model.arch import Arch
from skiff.model.image import Image, Manifest, PackageFact
from skiff.model.packages import Package, PackageSet
from skiff.model.version import key, without_rebuild

# In rising order, as `dpkg --compare-versions` has them.
RISING = (
    "0",
    "1~rc1",
    "1~rc1-1",
    "1",
    "1.0-1~bpo",
    "1.0-1",
    "1.0-1+b1",
    "1.0a",
    "1.0+dfsg",
    "9",
    "10",
    "1:0.1",
)

TRACKER = {
    "openssl": {
        "CVE-1": {"releases": {"trixie": {"status": "resolved", "fixed_version": "3.5.1-1+deb13u2"}}},
        "CVE-2": {"releases": {"trixie": {"status": "resolved", "fixed_version": "3.5.1-1"}}},
        "CVE-3": {"releases": {"trixie": {"status": "resolved", "fixed_version": "0"}}},
        "CVE-4": {"releases": {"bookworm": {"status": "open"}}},
    },
    "linux": {
        "CVE-5": {"releases": {"trixie": {"status": "open", "urgency": "not yet assigned"}}},
        "CVE-6": {"releases": {"trixie": {"status": "open", "urgency": "unimportant"}}},
        "CVE-7": {"releases": {"trixie": {"status": "undetermined"}}},
    },
    "emacs": {"CVE-8": {"releases": {"trixie": {"status": "open"}}}},
}


def package(name: str, version: str, path: str) -> Package:
    return Package(name, version, "amd64", "", 1, "", path)


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a lock, and the tracker's data in a file whose path this is."""
    monkeypatch.setenv("SKIFF_WORKSPACES", str(tmp_path))
    monkeypatch.setenv("SKIFF_CACHE", str(tmp_path / "cache"))
    packages = (
        package("libssl3t64", "3.5.1-1+deb13u1+b2", "pool/updates/main/o/openssl/libssl3t64_3.5.1.deb"),
        package("linux-image-6", "6.12.57-1", "pool/main/l/linux-signed-amd64/linux-image-6_6.12.57.deb"),
    )
    lock = PackageSet(Arch.AMD64, "trixie", (), (), 0, packages)
    workspace = open_workspace("default")
    workspace.lock.parent.mkdir(parents=True, exist_ok=True)
    workspace.lock.write_bytes(typed.encode(lock))
    data = tmp_path / "tracker.json"
    data.write_text(json.dumps(TRACKER))
    return data


def test_versions_in_debians_order() -> None:
    assert sorted(reversed(RISING), key=key) == list(RISING)
    assert key("1.00") == key("1.0") and without_rebuild("1-2+b10") == "1-2"


def test_only_what_holds_for_this_version_and_release_is_told(
    audited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--lock", "--data", str(audited), "--json"]) == 1
    told = {one["hole"]: (one["source"], one["fixed"]) for one in json.loads(capsys.readouterr().out)}
    assert told == {"CVE-1": ("openssl", "3.5.1-1+deb13u2"), "CVE-5": ("linux", "")}


def test_a_kernel_that_is_compiled_has_the_holes_of_its_source(
    audited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = package(
        "linux-source-6.12", "6.12.57-1", "pool/main/l/linux/linux-source-6.12_6.12.57-1_all.deb"
    )
    lock = PackageSet(Arch.AMD64, "trixie", (), (), 0, (), linux=source)
    open_workspace("default").lock.write_bytes(typed.encode(lock))
    assert main(["audit", "--lock", "--data", str(audited), "--json"]) == 0
    assert [one["hole"] for one in json.loads(capsys.readouterr().out)] == ["CVE-5"]


def test_a_hole_that_nobody_has_mended_is_no_failure(
    audited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audited.write_text(json.dumps({"linux": TRACKER["linux"]}))
    assert main(["audit", "--lock", "--data", str(audited)]) == 0
    assert "not mended yet" in capsys.readouterr().out


@pytest.mark.parametrize("data", ["[1, 2]", "{}", "<html>"])
def test_other_data_is_refused(audited: Path, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    audited.write_text(data)
    assert main(["audit", "--lock", "--data", str(audited)]) == 2
    assert "not the data of Debian's security tracker" in capsys.readouterr().err


def test_a_tracker_that_is_not_reached_is_said_to_be(
    audited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--lock", "--data", "http://127.0.0.1:1/data.json"]) == 2
    assert "nothing was looked up" in capsys.readouterr().err


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server whose answer is what a test puts there; with more bytes promised than it has."""
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Server(HTTPServer):
    answer = b""
    promised = 0
    asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/json"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.promised or len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: object) -> None:
        pass


def test_an_answer_that_breaks_off_is_no_answer(
    audited: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer, server.promised = b"{}", 60_000_000
    assert main(["audit", "--lock", "--data", server.url]) == 2
    assert "nothing was looked up" in capsys.readouterr().err


def test_only_the_trackers_own_answer_is_kept(
    audited: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracker, "TRACKER", server.url)
    words = ["audit", "--lock", "--data", server.url]
    server.answer = b"<html>Log in to this network</html>"
    assert main(words) == 2
    server.answer = b'{"emacs": {}}'
    assert main(words) == 0
    assert main(words) == 0
    assert server.asked == 2


def test_a_download_that_breaks_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def read(self, _: int) -> bytes:
            raise ConnectionResetError(104, "Connection reset by peer")

        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Broken())
    with pytest.raises(UserError, match=r"cannot be fetched: .*Connection reset"):
        download("http://e.x/blob", "0" * 64, tmp_path)
    assert list((tmp_path / "downloads").iterdir()) == []


@pytest.mark.parametrize(("text", "why"), [(None, "there is no lock"), ("{", "not a lock")])
def test_without_a_lock_it_says_how_to_write_one(
    audited: Path, text: str | None, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = open_workspace("default").lock
    lock.unlink()
    if text is not None:
        lock.write_text(text)
    assert main(["audit", "--lock", "--data", str(audited)]) == 2
    said = capsys.readouterr().err
    assert f"{lock}: {why}" in said and "`skiff lock`" in said


@pytest.mark.parametrize("text", [None, '{"parts": [], "files": [["usr/bin/x"]], "packages": []}'])
def test_an_image_of_another_version_is_to_be_built_again(
    audited: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = open_workspace("default").image
    folder.mkdir()
    image = Image(Arch.AMD64, ("base",), "", (), (), "skiff", "", "", 512, 2, 0)
    (folder / "image.json").write_bytes(typed.encode(image))
    if text is not None:
        (folder / "manifest.json").write_text(text)
    assert main(["audit", "--data", str(audited)]) == 2
    said = capsys.readouterr().err
    assert "manifest.json: cannot be read" in said and "`skiff build`" in said


def test_a_bill_of_materials_calls_debians_what_is_debians(
    audited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else Debian's holes are looked up by the version of another source."""
    folder = open_workspace("default").image
    folder.mkdir()
    image = Image(Arch.AMD64, ("base",), "", (), (), "skiff", "", "", 512, 2, 0)
    (folder / "image.json").write_bytes(typed.encode(image))
    packages = (
        PackageFact("busybox", "1.37.0", "amd64", "", ("GPL-2.0",)),
        PackageFact("systemd-boot-efi", "257.9-1~deb13u1", "amd64", "", (), "systemd"),
    )
    (folder / "manifest.json").write_bytes(typed.encode(Manifest((), (), packages)))
    assert main(["sbom", "--cyclonedx"]) == 0
    assert [one["purl"] for one in json.loads(capsys.readouterr().out)["components"]] == [
        "pkg:generic/busybox@1.37.0?arch=amd64",
        "pkg:deb/debian/systemd-boot-efi@257.9-1~deb13u1?arch=amd64",
    ]
    # And no hole found is not to look as if all had been looked up.
    assert main(["audit", "--data", str(audited)]) == 0
    said = capsys.readouterr().err
    assert "1 source packages" in said and "not looked up, as they are not Debian's: 1 packages" in said


def test_without_an_image_it_says_so(audited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--data", str(audited)]) == 2
    assert "no image there" in capsys.readouterr().err
