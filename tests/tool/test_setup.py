"""`tools/setup` with stand-ins for dpkg, apt and Python that write down how they were called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from skiff.host.run import run

ROOT = Path(__file__).resolve().parents[2]

_RECORD = '#!/bin/sh\necho "$(basename "$0") $*" >>"$LOG"\n'

_FAKES = {
    # Installed is what the file INSTALLED lists.
    "dpkg-query": '#!/bin/sh\ngrep -qx "$4" "$INSTALLED" && printf installed\n',
    "id": "#!/bin/sh\necho ${FAKE_UID:-0}\n",
    "sudo": _RECORD + 'exec "$@"\n',
    # Installing fails until package lists were fetched, when NEEDS_UPDATE is set.
    "apt-get": _RECORD
    + 'if [ "$1" = update ]; then touch "$LOG.updated"; exit 0; fi\n'
    + 'if [ -n "${NEEDS_UPDATE:-}" ] && [ ! -e "$LOG.updated" ]; then exit 100; fi\n',
    "python3": _RECORD
    + 'if [ "$2" = venv ]; then mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$0" .venv/bin/skiff; fi\n',
}


class SetUp:
    """A copy of the checkout's set-up, and the stand-ins it meets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tools").mkdir()
        shutil.copy(ROOT / "tools/setup", root / "tools/setup")
        shutil.copy(ROOT / "pyproject.toml", root)
        self.bin = root / "bin"
        self.bin.mkdir()
        for name, text in _FAKES.items():
            self.fake(name, text)
        self.log = root / "log"
        self.installed = root / "installed"
        self.installed.write_text("\n".join(self.packages()) + "\n")

    def fake(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def packages(self) -> list[str]:
        text = (self.root / "tools/setup").read_text()
        return text.partition('packages="')[2].partition('"')[0].split()

    def forget(self, *names: str) -> None:
        self.installed.write_text("\n".join(name for name in self.packages() if name not in names) + "\n")

    def run(self, *words: str, **env: str) -> tuple[int, str, list[str]]:
        """Exit status, messages, and the calls of apt-get, sudo and Python."""
        self.log.write_text("")
        done = run(
            ["/bin/sh", self.root / "tools/setup", *words],
            env={
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "LOG": str(self.log),
                "INSTALLED": str(self.installed),
                **env,
            },
            check=False,
        )
        calls = self.log.read_text().splitlines()
        return done.returncode, done.stderr.decode(), calls


@pytest.fixture
def setup(tmp_path: Path) -> SetUp:
    return SetUp(tmp_path)


def apt(calls: list[str]) -> list[str]:
    return [call for call in calls if call.startswith(("apt-get", "sudo"))]


def test_nothing_is_installed_that_is_there(setup: SetUp) -> None:
    status, _, calls = setup.run()
    assert status == 0
    assert apt(calls) == []
    assert any(call.endswith("pip install -q --disable-pip-version-check -e .[dev]") for call in calls)


def test_second_time_does_nothing_until_dependencies_change(setup: SetUp) -> None:
    setup.run()
    assert setup.run() == (0, "", [])
    with (setup.root / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert any("pip install" in call for call in setup.run()[2])


def test_only_what_is_missing_is_installed(setup: SetUp) -> None:
    setup.forget("mtools", "zstd")
    status, _, calls = setup.run()
    assert status == 0
    assert apt(calls) == ["apt-get install -y -q --no-install-recommends zstd mtools"]


def test_what_only_tests_need_is_installed_for_them(setup: SetUp) -> None:
    status, _, calls = setup.run()
    assert (status, apt(calls)) == (0, [])
    status, _, calls = setup.run("--tests")
    assert status == 0
    assert "shellcheck" in apt(calls)[0].split()
    assert setup.run("--tests") == setup.run() == (0, "", [])


def test_package_lists_are_fetched_once_when_that_fails(setup: SetUp) -> None:
    setup.forget("mtools")
    status, _, calls = setup.run(NEEDS_UPDATE="1")
    assert status == 0
    assert [call.split()[1] for call in apt(calls)] == ["install", "update", "install"]


def test_user_who_is_not_root_goes_through_sudo(setup: SetUp) -> None:
    setup.forget("mtools")
    status, _, calls = setup.run(FAKE_UID="1000")
    assert status == 0
    assert apt(calls)[0].startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get install")


def test_apt_that_cannot_install_stops_the_set_up(setup: SetUp) -> None:
    setup.forget("mtools")
    setup.fake("apt-get", _RECORD + "exit 100\n")
    status, _, calls = setup.run()
    assert status != 0
    assert not any("pip" in call for call in calls)


def test_interrupted_set_up_is_done_again(setup: SetUp) -> None:
    setup.run()
    (setup.root / ".venv/.skiff-setup").unlink()
    assert any("pip install" in call for call in setup.run()[2])
