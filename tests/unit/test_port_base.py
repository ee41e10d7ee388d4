"""Which images are bases of a distribution, what the archive has of them, and how mmdebstrap is asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from skiff.host.errors import UserError
from skiff.host.run import Group, run
from skiff.model.arch import Arch
from skiff.model.port import Platform
from skiff.port.base import Base, Bases, command, sources
from skiff.port.distributions import DATA, Release, archives, distributions, release_of
from skiff.port.reference import parse_reference

TODAY = "Sat, 21 Nov 2026 09:15:44 UTC"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("debian", Release("debian", "trixie")),
        ("debian:13", Release("debian", "trixie")),
        ("debian:13.1-slim", Release("debian", "trixie", slim=True)),
        ("debian:bookworm-20250520-slim", Release("debian", "bookworm", slim=True, date="20250520")),
        ("debian:bookworm-backports", Release("debian", "bookworm", backports=True)),
        ("debian:stable-slim", Release("debian", "stable", slim=True)),
        ("debian:sid", Release("debian", "sid")),
        ("arm64v8/debian:11", Release("debian", "bullseye")),
        ("ubuntu:24.04", Release("ubuntu", "noble")),
        ("ubuntu:jammy", Release("ubuntu", "jammy")),
        ("debian:nosuch", None),
        ("debian:experimental-fast", None),
        ("ubuntu:24.04-slim", None),
        ("alpine:3", None),
        ("me/debian:13", None),
        ("example.org/library/debian:13", None),
        ("debian@sha256:" + "0" * 64, None),
    ],
)
def test_a_name_tells_release_and_variant(name: str, expected: Release | None) -> None:
    assert release_of(parse_reference(name)) == expected


def test_old_and_dated_releases_have_archives_of_their_own() -> None:
    today = archives(Release("debian", "trixie"), Arch.ARM64, "http://near/debian")
    assert today.pairs == (
        ("http://near/debian", "trixie"),
        ("http://near/debian", "trixie-updates"),
        ("http://near/debian-security", "trixie-security"),
    )
    old = archives(Release("debian", "buster"), Arch.ARM64, "http://near/debian")
    assert old.pairs[0] == ("http://archive.debian.org/debian", "buster")
    assert old.pairs[-1] == ("http://archive.debian.org/debian-security", "buster/updates")
    dated = archives(Release("debian", "bookworm", date="20250520"), Arch.ARM64, "http://near/debian")
    assert dated.mirror == "http://snapshot.debian.org/archive/debian/20250520T000000Z"
    assert dated.security == "http://snapshot.debian.org/archive/debian-security/20250520T000000Z"
    assert archives(Release("debian", "sid"), Arch.LOONG64).security_suite == ""
    assert "ports" in archives(Release("ubuntu", "noble"), Arch.RISCV64).mirror


def debian(mirror: str) -> dict[str, str]:
    """That mirror for Debian's bases."""
    return {"debian": mirror}


@pytest.fixture
def mirror(tmp_path: Path) -> Callable[..., str]:
    """Makes an archive that has a release, for some CPUs; its address."""

    def make(cpus: str, *suites: str) -> str:
        for suite in suites:
            area = "debian-security" if suite.endswith("security") else "debian"
            folder = tmp_path / "mirror" / area / "dists" / suite
            folder.mkdir(parents=True)
            (folder / "InRelease").write_text(f"Date: {TODAY}\nArchitectures: all {cpus}\n")
        return f"file://{tmp_path}/mirror/debian"

    return make


SUITES = ("trixie", "trixie-updates", "trixie-security")


def test_a_base_is_there_for_the_cpus_of_the_archive(mirror: Callable[..., str], tmp_path: Path) -> None:
    bases = Bases(tmp_path, pytest.fail, debian(mirror("amd64 riscv64", *SUITES)))
    found = bases.find(parse_reference("debian:13"), Platform.parse("riscv64"))
    assert found is not None
    assert (found.arch, found.epoch) == (Arch.RISCV64, 1795252544)
    assert bases.find(parse_reference("debian:13"), Platform.parse("s390x")) is None
    assert bases.find(parse_reference("nginx"), Platform.parse("riscv64")) is None


def test_its_key_changes_with_variant_cpu_and_archive(mirror: Callable[..., str], tmp_path: Path) -> None:
    address = mirror("arm64 riscv64", *SUITES)

    def key(name: str, cpu: str, cache: str = "one") -> str:
        bases = Bases(tmp_path / cache, pytest.fail, debian(address))
        found = bases.find(parse_reference(name), Platform.parse(cpu))
        assert found is not None
        return found.key

    same = key("debian:13", "arm64")
    assert same == key("debian:trixie", "arm64", "two")
    others = {key("debian:13-slim", "arm64"), key("debian:13", "riscv64")}
    newer = tmp_path / "mirror/debian/dists/trixie-updates/InRelease"
    newer.write_text(newer.read_text() + "Label: newer\n")
    others.add(key("debian:13", "arm64", "three"))
    assert len(others | {same}) == 4


def test_an_archive_without_security_updates_yet_is_good_enough(
    mirror: Callable[..., str], tmp_path: Path
) -> None:
    bases = Bases(tmp_path, lambda _: None, debian(mirror("arm64", "forky")))
    found = bases.find(parse_reference("debian:forky"), Platform.parse("arm64"))
    assert found is not None
    assert [suite for _, suite in found.archives.pairs] == ["forky"]


def test_a_silent_mirror_is_told_once_and_has_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    bases = Bases(tmp_path, told.append, debian("http://127.0.0.1:9/debian"))
    for _ in range(2):
        assert bases.find(parse_reference("debian:13"), Platform.parse("arm64")) is None
    assert [line.split(" does not answer")[0] for line in told] == [
        "http://127.0.0.1:9/debian",
        "http://127.0.0.1:9/debian-security",
    ]


def test_another_page_in_place_of_the_archives_is_not_kept(
    mirror: Callable[..., str], tmp_path: Path
) -> None:
    url = mirror("arm64", "forky")
    (release,) = (tmp_path / "mirror").rglob("InRelease")
    text = release.read_text()
    release.write_text("<html>Log in to this network</html>")
    told: list[str] = []
    asked = parse_reference("debian:forky"), Platform.parse("arm64")
    assert Bases(tmp_path, told.append, debian(url)).find(*asked) is None
    assert any("in place of InRelease is something else" in line for line in told)
    release.write_text(text)
    assert Bases(tmp_path, lambda _: None, debian(url)).find(*asked) is not None


def test_mmdebstrap_is_asked_for_the_official_set(mirror: Callable[..., str], tmp_path: Path) -> None:
    bases = Bases(tmp_path, pytest.fail, debian(mirror("arm64", *SUITES)))
    base = bases.find(parse_reference("debian:13-slim"), Platform.parse("arm64"))
    assert base is not None
    words, env = command(base, tmp_path, ["/keys.gpg"])
    assert {"--variant=minbase", "--architectures=arm64", "--keyring=/keys.gpg", "trixie"} <= set(words)
    assert not any("://deb.debian.org" in word for word in words)
    assert any(word.startswith("--dpkgopt=") and word.endswith("slim.cfg") for word in words)
    assert env["SOURCE_DATE_EPOCH"] == str(base.epoch)
    made = tmp_path / "files"
    assert "Suites: trixie trixie-updates" in (made / "etc/apt/sources.list.d/debian.sources").read_text()
    assert "path-exclude=/usr/share/doc/*" in (made / "etc/dpkg/dpkg.cfg.d/docker").read_text()


@pytest.mark.parametrize(
    ("tag", "linked", "more"),
    [("20.04", True, "bzip2"), ("22.04", True, "usrmerge"), ("24.04", False, "procps")],
)
def test_ubuntu_is_asked_for_as_its_images_are(tmp_path: Path, tag: str, linked: bool, more: str) -> None:
    release = release_of(parse_reference(f"ubuntu:{tag}"))
    assert release is not None
    base = Base(release, Arch.ARM64, archives(release, Arch.ARM64), 0, "key")
    words, _ = command(base, tmp_path, ["/keys.gpg"])
    # Until 22.04 no package brings the links of a merged /usr.
    assert any(word.startswith("--setup-hook=") for word in words) is linked
    (included,) = (word for word in words if word.startswith("--include="))
    assert more in included.partition("=")[2].split(",")
    assert words[-1] == (
        f"deb http://ports.ubuntu.com/ubuntu-ports {release.suite}-security "
        "main universe restricted multiverse"
    )


def test_a_mirror_of_ubuntu_has_its_security_updates_too() -> None:
    release = Release("ubuntu", "noble")
    assert {mirror for mirror, _ in archives(release, Arch.AMD64, "http://near/ubuntu").pairs} == {
        "http://near/ubuntu"
    }
    assert archives(release, Arch.AMD64).security == "http://security.ubuntu.com/ubuntu"


def test_keys_that_this_machine_lacks_are_fetched_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = msgspec.structs.replace(distributions()["ubuntu"], keyrings=("/nowhere/ubuntu.gpg",))
    monkeypatch.setitem(distributions(), "ubuntu", lacking)
    release = Release("ubuntu", "noble")
    asked: list[tuple[str, str]] = []

    def fetch(package: str, path: str) -> Path:
        asked.append((package, path))
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache/ubuntu.gpg").write_text("keys")
        return tmp_path / "cache/ubuntu.gpg"

    (found,) = Bases(tmp_path, pytest.fail, keyring=fetch).keyrings(release, tmp_path)
    assert found == f"{tmp_path}/ubuntu.gpg" and Path(found).read_text() == "keys"
    assert asked == [("ubuntu-keyring", "nowhere/ubuntu.gpg")]

    def fail(package: str, path: str) -> Path:
        raise UserError("http://near/debian does not answer")

    with pytest.raises(UserError, match=r"ubuntu\.gpg is missing: .*: http://near/debian does not") as error:
        Bases(tmp_path, pytest.fail, keyring=fail).keyrings(release, tmp_path)
    assert "install ubuntu-keyring" in error.value.hint


def test_old_releases_list_their_archives_by_lines() -> None:
    name, text = sources(Release("debian", "bullseye"), Arch.ARM64)
    assert name == "etc/apt/sources.list"
    assert text.splitlines()[0] == "deb http://deb.debian.org/debian bullseye main"


@pytest.mark.parametrize(
    ("suite", "said", "fine"),
    [
        ("trixie-security", "Suite: stable-security\nCodename: trixie-security", True),
        ("noble-updates", "Suite: noble-updates\nCodename: noble", True),
        ("buster_updates", "Suite: oldstable\nCodename: buster", True),
        ("noble-security", "Suite: noble\nCodename: noble", False),
        ("trixie", "Codename: bookworm\n-----BEGIN PGP SIGNATURE-----\nCodename: trixie", False),
    ],
)
def test_a_base_is_not_made_of_the_lists_of_another_suite(
    tmp_path: Path, suite: str, said: str, fine: bool
) -> None:
    (tmp_path / "chroot").write_text("#!/bin/sh\n")
    (tmp_path / "chroot").chmod(0o755)
    (tmp_path / "files").mkdir()
    lists = tmp_path / "root/var/lib/apt/lists"
    lists.mkdir(parents=True)
    (tmp_path / "root/var/cache/apt").mkdir(parents=True)
    signed = f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: x\n{said}\n"
    (lists / f"near_debian_dists_{suite}_InRelease").write_text(signed)
    named = {"SKIFF_BASE_FILES": str(tmp_path / "files"), "SKIFF_BASE_PACKAGES": str(tmp_path / "packages")}
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **named}
    done = run([DATA / "base/finish", tmp_path / "root"], env=env, check=False)
    assert (done.returncode == 0) is fine, done.stderr
    assert ("is of another suite" in done.stderr.decode()) is not fine


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("tar: No space left on device", "free some space"),
        ("GPG error: NO_PUBKEY 0123", "not signed with a key of ubuntu"),
        ("E: Release file for http://x/InRelease is expired", "not been updated for long"),
        ("qemu: uncaught target signal 4 (Illegal instruction)", "emulator is too old"),
        ("E: Could not resolve 'x'", "check the network"),
    ],
)
def test_what_mmdebstrap_said_tells_what_to_do(tmp_path: Path, said: str, hint: str) -> None:
    program = tmp_path / "mmdebstrap"
    program.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n')
    program.chmod(0o755)
    release = Release("ubuntu", "noble")
    base = Base(release, Arch.ARM64, archives(release, Arch.ARM64), 0, "key")
    (tmp_path / "ubuntu-archive-keyring.gpg").touch()
    keys = tmp_path / "ubuntu-archive-keyring.gpg"
    bases = Bases(tmp_path / "cache", pytest.fail, keyring=lambda package, path: keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path), prepend=":")
        with pytest.raises(UserError, match="ubuntu:noble for arm64 cannot be made") as error:
            bases.make(base, Group(), lambda _: None)
    assert hint in error.value.hint
    assert not list((tmp_path / "cache").rglob(".base-*"))
