"""Base images of Debian packages: the list that a build writes, packages as read, and hostile ones."""

from __future__ import annotations

import datetime
import hashlib
import io
import random
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from skiff.builders.debian.archive import Resolver
from skiff.builders.debian.base_lock import lock_bases, lock_text
from skiff.layers import Search, resolve
from skiff.model.arch import Arch
from skiff.model.layer import DebianBase
from skiff.model.packages import Package, PackageSet
from skiff_device.common.errors import DeviceError
from skiff_device.core import baselock, basetree, bootstrap, debfile

LAYERS = Path(__file__).resolve().parents[2] / "layers"
HEAD = """\
suite trixie
cpu arm64
main http://mirror.example/debian
security http://mirror.example/debian-security
date 20261122T020905Z
"""
SHA = "0" * 64


def package(name: str, base: str = "main") -> Package:
    return Package(name, "1:2-3", "arm64", SHA, 7, base, f"pool/{base}/{name[0]}/{name}/{name}_2-3_arm64.deb")


class Answers(Resolver):
    """Stands in for the archive: knows which packages each request brings."""

    def __init__(self, answers: dict[tuple[str, ...], list[str]]) -> None:
        self.answers = answers

    def packages(self, request: object, provided: object, *, update: bool, warn: object) -> PackageSet:
        assert isinstance(request, tuple) and provided == ()
        found = tuple(package(name) for name in self.answers[request])
        return PackageSet(Arch.ARM64, "trixie", request, (), 1795313345, found)


def locked(answers: dict[tuple[str, ...], list[str]], mirror: str | None, folder: Path) -> baselock.BaseLock:
    base = DebianBase("usr/share/x/base.lock", ("nano",))
    (lock,) = lock_bases([base], Answers(answers), mirror, update=False, warn=pytest.fail)
    file = folder / "base.lock"
    file.write_text(lock_text(Arch.ARM64, "trixie", lock))
    return baselock.read(file)


ASKED = ("?essential", "apt", "nano")


def test_what_a_build_writes_the_device_reads(tmp_path: Path) -> None:
    lock = locked({ASKED: ["apt", "dpkg", "nano"]}, None, tmp_path)
    assert (lock.suite, lock.cpu, lock.size) == ("trixie", "arm64", 21)
    assert lock.mirrors["main"] == "http://deb.debian.org/debian"
    assert [deb.name for deb in lock.debs] == ["apt", "dpkg", "nano"]
    assert lock.debs[2].version == "1:2-3" and lock.debs[2].file == "nano_2-3_arm64.deb"


def test_the_mirror_that_the_user_named_is_the_devices_too(tmp_path: Path) -> None:
    dated = "http://old.example/archive/debian/20260101T000000Z"
    lock = locked({ASKED: ["apt", "nano"]}, dated, tmp_path)
    security = "http://old.example/archive/debian-security/20260101T000000Z"
    assert lock.mirrors == {"main": dated, "security": security}


def test_core_debian_locks_what_its_dockerfile_installs() -> None:
    recipe = resolve(["virt/qemu", "engine/docker", "core/debian"], Arch.AMD64, Search(builtin=LAYERS))
    (base,) = recipe.bases
    folder = LAYERS / "core/debian/rootfs" / Path(base.path).parent
    assert (folder / "Dockerfile").is_file()
    assert list(base.packages) == (folder / "packages").read_text().split()


def test_a_base_counts_for_the_lock_of_a_build() -> None:
    recipe = resolve(["virt/qemu", "engine/docker", "core/debian"], Arch.AMD64, Search(builtin=LAYERS))
    plain = msgspec.json.encode(msgspec.structs.replace(recipe, layers=()), enc_hook=str)
    assert b"base.lock" in plain


@pytest.mark.parametrize(
    "line",
    [
        f"na/me 1 {SHA} 7 pool/a.deb main",
        f"name 1 {SHA[1:]} 7 pool/a.deb main",
        f"name 1 {SHA} -7 pool/a.deb main",
        f"name 1 {SHA} 7 ../a.deb main",
        f"name 1 {SHA} 7 pool/../a.deb main",
        f"name 1 {SHA} 7 /etc/a.deb main",
        f"name 1 {SHA} 7 pool/a.deb other",
        f"name 1 {SHA} 7 pool/a.deb main last",
        f"name 1 {SHA} 7 pool/a.deb",
        "suites trixie",
    ],
)
def test_a_line_that_no_build_wrote_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "base.lock"
    file.write_text(f"{HEAD}\n{line}\n")
    with pytest.raises(DeviceError, match=r"base\.lock:7: not a line"):
        baselock.read(file)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("suite trixie\n", "", "suite is missing"),
        ("20261122T020905Z", "yesterday", "date: expected"),
        ("http://mirror.example/debian\n", "file:///etc\n", "file:///etc is not expected"),
        ("trixie", "../x", "is not expected"),
    ],
)
def test_a_head_that_no_build_wrote_is_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "base.lock"
    file.write_text(HEAD.replace(old, new, 1) + f"\nname 1 {SHA} 7 pool/a.deb main\n")
    with pytest.raises(DeviceError, match=said):
        baselock.read(file)


def test_an_empty_list_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "base.lock").write_text(HEAD)
    with pytest.raises(DeviceError, match="names no packages"):
        baselock.read(tmp_path / "base.lock")


def a_lock(*debs: baselock.Deb) -> baselock.BaseLock:
    date = datetime.datetime(2026, 11, 22, 2, 9, 5)
    mirrors = {"main": "http://m.example/debian", "security": "http://m.example/debian-security"}
    return baselock.BaseLock("trixie", "arm64", mirrors, date, debs)


def test_a_package_is_looked_for_at_the_users_mirror_first_and_at_last_among_old_ones() -> None:
    deb = baselock.Deb("g++", "1", SHA, 7, "pool/main/g/g++_1~2.deb", "security")
    urls = baselock.addresses(a_lock(deb), deb, "http://here.example/debian")
    assert urls == [
        "http://here.example/debian-security/pool/main/g/g%2B%2B_1%7E2.deb",
        "http://m.example/debian-security/pool/main/g/g%2B%2B_1%7E2.deb",
        "http://snapshot.debian.org/archive/debian-security/20261122T140905Z/pool/main/g/g%2B%2B_1%7E2.deb",
        "http://snapshot.debian.org/archive/debian-security/20261122T020905Z/pool/main/g/g%2B%2B_1%7E2.deb",
    ]


def test_the_users_mirror_is_one_line_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "debian-mirror"
    assert baselock.own_mirror((file,)) == ""
    file.write_text("# ours\n\nhttp://here.example/debian/\n")
    assert baselock.own_mirror((tmp_path / "none", file)) == "http://here.example/debian"
    file.write_text("ftp://here.example/debian")
    with pytest.raises(DeviceError, match="is not the http:// address"):
        baselock.own_mirror((file,))


# Packages


def tar(*members: tuple[tarfile.TarInfo, bytes], packed: str = "xz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{packed}") as archive:  # type: ignore[call-overload]
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.uname = kind, link, mode, "somebody"
    return info


CONTROL = {"control": b"Package: a\nVersion: 1\nArchitecture: arm64\n"}


def write_deb(path: Path, data: bytes, packed: str = ".xz", control: dict[str, bytes] = CONTROL) -> Path:
    said = tar(*((member(f"./{name}"), text) for name, text in control.items()))
    parts = (("debian-binary", b"2.0\n"), ("control.tar.xz", said), (f"data.tar{packed}", data))
    text = b"!<arch>\n"
    for name, part in parts:
        text += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(part):<10}`\n".encode() + part
        text += b"\n" * (len(part) % 2)
    path.write_bytes(text)
    return path


@pytest.mark.parametrize("packed", ["xz", "gz", ""])
def test_a_package_is_read_entry_by_entry(tmp_path: Path, packed: str) -> None:
    data = tar(
        (member("./", tarfile.DIRTYPE), b""),
        (member("./usr/bin/a", mode=0o4755), b"program"),
        (member("./usr/bin/b", tarfile.LNKTYPE, "./usr/bin/a"), b""),
        (member("./usr/bin/c", tarfile.SYMTYPE, "../../etc/c"), b""),
        packed=packed,
    )
    deb = write_deb(tmp_path / "a.deb", data, f".{packed}" if packed else "")
    found = [
        (info.name, info.linkname, info.mode, file and file.read()) for info, file in debfile.entries(deb)
    ]
    assert found == [
        ("usr/bin/a", "", 0o4755, b"program"),
        ("usr/bin/b", "usr/bin/a", 0o644, None),
        ("usr/bin/c", "../../etc/c", 0o644, None),
    ]


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (member("../etc/passwd"), "leaves the package"),
        (member("usr/../../etc/passwd"), "leaves the package"),
        (member("/etc/passwd"), "leaves the package"),
        (member("a", tarfile.LNKTYPE, "../../etc/shadow"), "leaves the package"),
        (member("dev/sda", tarfile.BLKTYPE), "neither file, folder nor link"),
        (member("dev/mem", tarfile.CHRTYPE), "neither file, folder nor link"),
        (member("run/pipe", tarfile.FIFOTYPE), "neither file, folder nor link"),
    ],
)
def test_what_no_package_may_hold_is_refused(tmp_path: Path, info: tarfile.TarInfo, said: str) -> None:
    deb = write_deb(tmp_path / "a.deb", tar((info, b"")))
    with pytest.raises(DeviceError, match=said):
        list(debfile.entries(deb))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: b"", "not a Debian package"),
        (lambda text: text[:40], "without data.tar, or cut short"),
        (lambda text: text[:-2000], "not a package that can be read"),
        (lambda text: text.replace(b"data.tar.xz", b"data.tar.zz"), "only gzip and xz"),
        (lambda text: text.replace(b"\xfd7zXZ", b"\xfd7zXX"), "not a package that can be read"),
        (
            lambda text: text[:8] + text[8:].replace(b"4         `", b"x         `", 1),
            "not a package that can",
        ),
    ],
)
def test_a_broken_file_is_told_as_such(tmp_path: Path, spoil: object, said: str) -> None:
    deb = write_deb(tmp_path / "a.deb", tar((member("usr/a"), random.Random(1).randbytes(5000))))
    assert callable(spoil)
    deb.write_bytes(spoil(deb.read_bytes()))
    with pytest.raises(DeviceError, match=said):
        list(debfile.entries(deb))


def base_of(folder: Path, *debs: tuple[tarfile.TarInfo, bytes]) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """The base's tar as a whole, each member in a package of its own."""
    return base_from([write_deb(folder / f"{number}.deb", tar(one)) for number, one in enumerate(debs)])


def base_from(files: list[Path]) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """The base's tar as a whole."""
    out = io.BytesIO()
    done: list[int] = []
    basetree.write(files, "Types: deb\n", out, done.append)
    assert done == list(range(1, len(files) + 1))
    out.seek(0)
    found: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    with tarfile.open(fileobj=out) as archive:
        for info in archive:
            assert info.name not in found, "twice"
            content = archive.extractfile(info) if info.isreg() else None
            found[info.name] = (info, content.read() if content else b"")
    return found


def test_the_base_has_a_merged_usr_whatever_packages_say(tmp_path: Path) -> None:
    found = base_of(
        tmp_path,
        (member("bin", tarfile.SYMTYPE, "usr/bin"), b""),
        (member("./bin/", tarfile.DIRTYPE), b""),
        (member("./bin/sh", mode=0o755), b"shell"),
        (member("./lib/a", tarfile.LNKTYPE, "./bin/sh"), b""),
        (member("./lib64", tarfile.SYMTYPE, "usr/lib64"), b""),
    )
    assert [found[name][0].linkname for name in ("bin", "sbin", "lib", "lib64")] == [
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
    ]
    assert found["usr/bin/sh"][1] == b"shell" and "bin/sh" not in found
    assert found["usr/lib/a"][0].linkname == "usr/bin/sh"
    assert found["usr/bin/sh"][0].uname == ""


def test_dpkg_finds_each_package_unpacked_and_not_set_up(tmp_path: Path) -> None:
    """So that it runs postinst, keeps settings that somebody changed, and hears of what triggers."""
    files = tar((member("./etc/", tarfile.DIRTYPE), b""), (member("./etc/a.conf"), b"colour\n"))
    said = {
        "control": b"Package: a\nVersion: 1\nArchitecture: arm64\nDescription: short\n long\n",
        "conffiles": b"/etc/a.conf\nremove-on-upgrade /etc/old\n",
        "triggers": b"# heard\ninterest /usr/share/x\ninterest-noawait cache\ninterest-await links\n"
        b"activate-noawait ldconfig\n",
        "postinst": b"#!/bin/sh\n",
        "md5sums": b"0 etc/a.conf\n",
    }
    lib = {"control": b"Package: lib\nArchitecture: arm64\nMulti-Arch: same\n", "preinst": b"#!/bin/sh\n"}
    found = base_from(
        [write_deb(tmp_path / "a", files, control=said), write_deb(tmp_path / "b", tar(), control=lib)]
    )
    database = {
        name.removeprefix("var/lib/dpkg/"): (info.mode, text.decode())
        for name, (info, text) in found.items()
        if name.startswith("var/lib/dpkg/") and info.isreg()
    }
    digest = hashlib.md5(b"colour\n").hexdigest()
    control = said["control"].decode()
    assert database == {
        "available": (0o644, ""),
        "status": (
            0o644,
            f"{control}Status: install ok unpacked\nConffiles:\n /etc/a.conf {digest}\n"
            "\nPackage: lib\nArchitecture: arm64\nMulti-Arch: same\nStatus: install ok unpacked\n",
        ),
        "info/format": (0o644, "1\n"),
        "info/a.list": (0o644, "/.\n/etc\n/etc/a.conf\n"),
        "info/a.conffiles": (0o644, said["conffiles"].decode()),
        "info/a.postinst": (0o755, "#!/bin/sh\n"),
        "info/a.md5sums": (0o644, "0 etc/a.conf\n"),
        "info/a.triggers": (0o644, said["triggers"].decode()),
        "info/lib:arm64.list": (0o644, "/.\n"),
        "info/lib:arm64.preinst": (0o755, "#!/bin/sh\n"),
        "triggers/File": (0o644, "/usr/share/x a\n"),
        "triggers/cache": (0o644, "a/noawait\n"),
        "triggers/links": (0o644, "a\n"),
    }
    assert found["etc/a.conf"][1] == b"colour\n"


def test_the_base_has_no_documentation_and_starts_no_services(tmp_path: Path) -> None:
    found = base_of(
        tmp_path,
        (member("usr/share/doc/a/README"), b"long"),
        (member("usr/share/doc/a/copyright"), b"MIT"),
        (member("usr/share/man/man1/a.1.gz"), b"page"),
        (member("usr/share/doc/", tarfile.DIRTYPE), b""),
    )
    assert found["usr/sbin/policy-rc.d"][0].mode == 0o755 and b"exit 101" in found["usr/sbin/policy-rc.d"][1]
    assert found["etc/apt/sources.list.d/debian.sources"][1] == b"Types: deb\n"
    assert "usr/share/doc/a/copyright" in found
    assert not {"usr/share/doc/a/README", "usr/share/man/man1/a.1.gz"} & set(found)


def test_sources_name_the_mirror_with_updates_and_security() -> None:
    text = basetree.sources_list("trixie", "http://m.example/debian", "http://m.example/debian-security")
    assert "URIs: http://m.example/debian\nSuites: trixie trixie-updates\n" in text
    assert "URIs: http://m.example/debian-security\nSuites: trixie-security\n" in text
    assert "Check-Valid-Until" not in text
    dated = "http://m.example/archive/debian/20260101T000000Z"
    assert "Check-Valid-Until: no\n" in basetree.sources_list("trixie", dated, dated)


# Fetching


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    served = tmp_path / "served"
    (served / "debian/pool").mkdir(parents=True)
    (served / "debian/pool/a.deb").write_bytes(b"package")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=served)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/debian"
        server.shutdown()
        thread.join()


DEB = baselock.Deb("a", "1", hashlib.sha256(b"package").hexdigest(), 7, "pool/a.deb", "main")


def only_here(monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    monkeypatch.setattr(baselock, "addresses", lambda lock, deb, own: [f"{mirror}/{deb.pool}"])


def test_a_package_is_fetched_once(tmp_path: Path, mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only_here(monkeypatch, mirror)
    said: list[str] = []
    (file,) = bootstrap.fetch(a_lock(DEB), "", tmp_path / "debs", said.append).values()
    assert file == tmp_path / "debs/fetched/a.deb" and file.read_bytes() == b"package"
    assert said == ["packages: 1 of 1, 0 of 0 MB"]
    only_here(monkeypatch, "http://127.0.0.1:1")
    assert bootstrap.fetch(a_lock(DEB), "", tmp_path / "debs", said.append) == {"a": file}


def test_a_package_that_the_user_brought_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_here(monkeypatch, "http://127.0.0.1:1")
    (tmp_path / "a.deb").write_bytes(b"package")
    assert bootstrap.fetch(a_lock(DEB), "", tmp_path, print) == {"a": tmp_path / "a.deb"}


@pytest.mark.parametrize("content", [b"pack", b"another", b"package and more"])
def test_another_file_than_the_lock_names_is_never_taken(
    tmp_path: Path, mirror: str, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    only_here(monkeypatch, mirror)
    (tmp_path / "served/debian/pool/a.deb").write_bytes(content)
    (tmp_path / "debs").mkdir()
    (tmp_path / "debs/a.deb").write_bytes(content)
    with pytest.raises(DeviceError, match=r"package a 1 cannot be fetched .*(size or checksum)"):
        bootstrap.fetch(a_lock(DEB), "", tmp_path / "debs", print)
    assert list((tmp_path / "debs/fetched").iterdir()) == []


def test_a_package_that_is_gone_comes_from_the_next_address(
    tmp_path: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        baselock, "addresses", lambda lock, deb, own: [f"{mirror}/gone.deb", f"{mirror}/{deb.pool}"]
    )
    assert bootstrap.fetch(a_lock(DEB), "", tmp_path / "debs", print)["a"].read_bytes() == b"package"


def test_without_a_network_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_here(monkeypatch, "http://127.0.0.1:1")
    with pytest.raises(DeviceError, match="cannot be fetched") as raised:
        bootstrap.fetch(a_lock(DEB), "", tmp_path / "debs", print)
    assert "skiff/core/debs/" in raised.value.hint
