"""The archive stage against stand-ins for apt: what is asked of it, and what its failures become."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from skiff.builders.debian import archive
from skiff.builders.debian.archive import Archive, Resolver
from skiff.host.errors import UserError
from skiff.host.run import CommandError
from skiff.model.arch import Arch
from skiff.model.packages import Package

MIRROR = "http://mirror.example/debian"
DEB = b"not really a package"
SHA = hashlib.sha256(DEB).hexdigest()
APT_GET = """\
#!/bin/sh
echo "$*" >> "$FAKE/calls"
state=$(sed -n 's/^Dir::State "\\(.*\\)";/\\1/p' "$APT_CONFIG")
case $1 in
update)
    [ ! -e "$FAKE/update.fails" ] || { cat "$FAKE/update.fails" >&2; exit 100; }
    for suite in trixie trixie-updates trixie-security; do
        file=$state/lists/mirror.example_debian_dists_${suite}_InRelease
        said=$(cat "$FAKE/$suite" 2>/dev/null) || said="Suite: $suite"
        printf '%s\\n' "-----BEGIN PGP SIGNED MESSAGE-----" "Hash: SHA512" "" "Origin: Debian" "$said" \\
            "Date: Sat, 14 Nov 2026 10:00:00 UTC" "-----BEGIN PGP SIGNATURE-----" "" > "$file"
    done ;;
install)
    [ ! -e "$FAKE/install.fails" ] || { cat "$FAKE/install.fails" >&2; exit 100; }
    cp "$(sed -n 's/^Dir::State::status "\\(.*\\)";/\\1/p' "$APT_CONFIG")" "$FAKE/status"
    cat "$FAKE/uris" ;;
esac
"""


class Apt:
    """The folder of a pretended apt: its answers go in, what it was asked comes out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        name = "rsync_3.4.1%2bds1-5_amd64.deb"
        self.uris(
            f"'{MIRROR}/pool/main/r/rsync/{name}' rsync_3.4.1%2bds1-5_amd64.deb {len(DEB)} SHA256:{SHA}\n"
        )

    def uris(self, text: str) -> None:
        (self.folder / "uris").write_text(text)

    def fails(self, verb: str, text: str) -> None:
        (self.folder / f"{verb}.fails").write_text(text)

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    fake = tmp_path / "fake"
    fake.mkdir()
    program = fake / "apt-get"
    program.write_text(APT_GET)
    program.chmod(0o755)
    keyring = tmp_path / "keyring.gpg"
    keyring.write_bytes(b"")
    monkeypatch.setenv("FAKE", str(fake))
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    monkeypatch.setattr(archive, "KEYRING", keyring)
    return Apt(fake)


@pytest.fixture
def debian(apt: Apt, tmp_path: Path) -> Archive:
    return Archive(Arch.AMD64, tmp_path / "cache", MIRROR)


def test_a_request_is_answered_with_version_checksum_and_path(
    apt: Apt, debian: Archive, tmp_path: Path
) -> None:
    found = Resolver(debian, tmp_path).packages(["rsync"], ["adduser"], update=False, warn=pytest.fail)
    package = found.packages[0]
    assert (package.name, package.version, package.sha256) == ("rsync", "3.4.1+ds1-5", SHA)
    assert (package.base, package.path) == ("main", "pool/main/r/rsync/rsync_3.4.1+ds1-5_amd64.deb")
    assert found.epoch == 1794650400
    assert "Package: adduser\nStatus: install ok installed" in (apt.folder / "status").read_text()


def test_signatures_are_always_asked_for(debian: Archive, apt: Apt) -> None:
    debian.update(force=True, warn=pytest.fail)
    conf = (debian.state / "apt.conf").read_text()
    assert 'APT::Get::AllowUnauthenticated "false"' in conf
    assert 'Acquire::AllowInsecureRepositories "false"' in conf
    assert "Signed-By:" in (debian.state / "debian.sources").read_text()


def test_the_answer_of_today_is_not_asked_for_twice(debian: Archive, apt: Apt, tmp_path: Path) -> None:
    resolver = Resolver(debian, tmp_path)
    for _ in range(2):
        resolver.packages(["rsync"], [], update=False, warn=pytest.fail)
    assert [call.split()[0] for call in apt.calls] == ["update", "install"]
    resolver.packages(["rsync"], [], update=True, warn=pytest.fail)
    assert len(apt.calls) == 4


def test_an_answer_that_another_version_wrote_is_asked_for_anew(
    debian: Archive, apt: Apt, tmp_path: Path
) -> None:
    resolver = Resolver(debian, tmp_path)
    found = resolver.packages(["rsync"], [], update=False, warn=pytest.fail)
    (kept,) = (tmp_path / "resolved").iterdir()
    for text in ("", '{"packages": []}'):
        kept.write_text(text)
        assert resolver.packages(["rsync"], [], update=False, warn=pytest.fail) == found


def test_two_builds_at_a_time_show_apt_each_what_it_has(debian: Archive) -> None:
    for conf, name in [(debian._configure([name]), name) for name in ("adduser", "perl")]:
        (status,) = re.findall(r'^Dir::State::status "(.*)";$', conf.read_text(), re.MULTILINE)
        assert Path(status).read_text().startswith(f"Package: {name}\n")


def test_lists_that_another_build_just_fetched_are_new_enough(
    debian: Archive, apt: Apt, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def waiting(path: Path) -> Iterator[None]:
        """Another build has fetched them while this one waits for the lock."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tomorrow = time.time() + 86400
        (debian.state / "updated").touch()
        os.utime(debian.state / "updated", (tomorrow, tomorrow))
        yield

    monkeypatch.setattr(archive, "waiting", waiting)
    debian.update(force=True, warn=pytest.fail)
    assert apt.calls == []


@pytest.mark.parametrize("mirror", ["nonsense", "http://mirror.example/de bian", "http://x/\nTrusted: yes"])
def test_a_mirror_is_an_address(apt: Apt, tmp_path: Path, mirror: str) -> None:
    with pytest.raises(UserError, match="is no address of a mirror"):
        Archive(Arch.AMD64, tmp_path / "cache", mirror)


def test_without_network_and_lists_it_ends_with_the_remedy(debian: Archive, apt: Apt) -> None:
    apt.fails("update", "Err:1 http://mirror.example\n  Temporary failure resolving\nE: Failed to fetch")
    with pytest.raises(UserError, match="could not be fetched") as raised:
        debian.update(force=False, warn=pytest.fail)
    assert "--mirror" in raised.value.hint


def test_lists_in_the_middle_of_a_mirrors_update_are_told_as_such(debian: Archive, apt: Apt) -> None:
    apt.fails("update", "E: File has unexpected size (253712 != 271812). Mirror sync in progress?")
    with pytest.raises(UserError, match="could not be fetched") as raised:
        debian.update(force=False, warn=pytest.fail)
    assert "when its update has ended" in raised.value.hint


def test_a_full_disk_is_no_fault_of_the_mirror(debian: Archive, apt: Apt) -> None:
    debian.update(force=False, warn=pytest.fail)
    for verb in ("update", "install"):
        apt.fails(verb, "E: Write error - write (28: No space left on device)\nE: IO Error saving")
    for ask in (lambda: debian.update(force=True, warn=pytest.fail), lambda: debian.resolve(["rsync"], [])):
        with pytest.raises(UserError, match="no space left on disk: for apt-get") as raised:
            ask()
        assert "free some space" in raised.value.hint


def test_lists_are_not_fetched_onto_a_disk_that_they_would_fill(
    debian: Archive, apt: Apt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**7))
    with pytest.raises(UserError, match="no space left on disk: package lists need 150 MB in ") as raised:
        debian.update(force=False, warn=pytest.fail)
    assert apt.calls == [] and str(debian.state) in raised.value.message


@pytest.mark.parametrize("valid", [True, False])
def test_only_a_dated_mirror_may_have_old_lists(valid: bool, apt: Apt, tmp_path: Path) -> None:
    where = (
        "http://mirror.example/debian" if valid else "http://mirror.example/archive/debian/20261101T000000Z"
    )
    dated = Archive(Arch.ARMHF, tmp_path / "cache", where)
    dated.update(force=False, warn=pytest.fail)
    assert f'Check-Valid-Until "{str(valid).lower()}"' in (dated.state / "apt.conf").read_text()
    security = where.replace("/debian", "/debian-security", 1)
    assert f"URIs: {security}\nSuites: trixie-security" in (dated.state / "debian.sources").read_text()


def test_without_network_earlier_lists_do(debian: Archive, apt: Apt) -> None:
    debian.update(force=False, warn=pytest.fail)
    yesterday = time.time() - 2 * archive.LISTS_MAX_AGE
    os.utime(debian.state / "updated", (yesterday, yesterday))
    apt.fails("update", "E: Failed to fetch\n  Temporary failure resolving")
    warnings: list[str] = []
    debian.update(force=False, warn=warnings.append)
    assert "going on with the package lists fetched earlier" in warnings[0]


@pytest.mark.parametrize("word", ["NO_PUBKEY 1234", "is not signed.", "BADSIG 99"])
def test_a_wrong_signature_is_never_passed_over(debian: Archive, apt: Apt, word: str) -> None:
    debian.update(force=False, warn=pytest.fail)
    apt.fails("update", f"E: The repository {word}")
    with pytest.raises(UserError, match="carry no valid signature"):
        debian.update(force=True, warn=pytest.fail)


@pytest.mark.parametrize(
    "said",
    [
        "Suite: stable-security\nCodename: bookworm-security",
        "Codename: trixie",
        # Not signed: it stands beside the signed text.
        "Codename: trixie\n-----BEGIN PGP SIGNATURE-----\nSuite: trixie-security",
    ],
)
def test_the_lists_of_another_suite_are_not_taken(debian: Archive, apt: Apt, said: str) -> None:
    debian.update(force=False, warn=pytest.fail)
    (apt.folder / "trixie-security").write_text(said)
    with pytest.raises(UserError, match="answers for trixie-security with the lists of another suite"):
        debian.update(force=True, warn=pytest.fail)
    # They are there now, and are not for builds without a network.
    apt.fails("update", "E: Failed to fetch\n  Temporary failure resolving")
    with pytest.raises(UserError, match="could not be fetched"):
        debian.update(force=False, warn=pytest.fail)


def test_a_suite_goes_by_its_codename_too(debian: Archive, apt: Apt) -> None:
    (apt.folder / "trixie").write_text("Suite: stable\nCodename: trixie")
    debian.update(force=False, warn=pytest.fail)


def test_a_package_that_is_not_there_is_named_with_the_cpu(debian: Archive, apt: Apt) -> None:
    apt.fails("install", "E: Unable to locate package no-such-thing")
    with pytest.raises(UserError, match="has no package no-such-thing for amd64") as raised:
        debian.resolve(["no-such-thing"], [])
    assert "`debian.packages`" in raised.value.hint


def _package(sha: str) -> Package:
    return Package("rsync", "1", "amd64", sha, len(DEB), "main", "pool/rsync.deb")


def _helper(debian: Archive, monkeypatch: pytest.MonkeyPatch, data: bytes, error: str = "") -> None:
    """Put a stand-in in the place of apt's download helper."""
    asked = debian._apt

    def fake(argv: list[str], provided: tuple[str, ...] = ()) -> str:
        if not argv[0].endswith("apt-helper"):
            return asked(argv, provided)
        Path(argv[4]).write_bytes(data)
        if error:
            raise CommandError(argv, 100, error)
        return ""

    monkeypatch.setattr(debian, "_apt", fake)


def test_a_download_is_kept_under_its_checksum(debian: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    _helper(debian, monkeypatch, DEB)
    path = debian.fetch([_package(SHA)], lambda text: None)[SHA]
    assert path.read_bytes() == DEB


def test_two_builds_fetch_a_package_beside_each_other(
    debian: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for process in (7, 8):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        monkeypatch.setattr(debian, "_apt", lambda argv: names.add(argv[4]))
        debian._download([_package(SHA)], {SHA: debian.debs / f"{SHA}.deb"})
    assert len(names) == 2


def test_a_download_with_a_wrong_checksum_is_thrown_away(
    debian: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(debian, monkeypatch, b"evil", "E: Hash Sum mismatch")
    with pytest.raises(UserError, match="wrong checksum and was thrown away"):
        debian.fetch([_package(SHA)], lambda text: None)
    assert not (debian.debs / f"{SHA}.deb").exists()


def test_a_wrong_file_that_the_helper_lets_through_is_not_taken(
    debian: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(debian, monkeypatch, b"evil")
    with pytest.raises(UserError, match="could not be fetched"):
        debian.fetch([_package(SHA)], lambda text: None)
    assert list(debian.debs.glob("*.deb")) == []
