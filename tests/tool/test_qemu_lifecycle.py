"""Starting and ending a machine, with a QEMU that is a stand-in: what goes wrong, and what is left."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.machine import bringup, lifecycle, ssh
from skiff.machine.files import Disk, MachineFiles, State
from skiff.machine.process import Process
from skiff.machine.qemu import Options
from skiff.model.arch import Arch
from skiff.model.image import Image
from tests.tool.fake_machine import FakeHost, machine_files, small_image


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    fake = FakeHost(tmp_path, monkeypatch)
    yield fake
    fake.end_all()


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return small_image(tmp_path / "image")


@pytest.fixture
def files(tmp_path: Path) -> MachineFiles:
    # Longer than a socket's path may be, with what shells and option lists trip over.
    return machine_files(tmp_path / "a, b" / ("deep" * 30))


def start(image: Image, files: MachineFiles, options: Options = Options()) -> State:  # noqa: B008
    return lifecycle.start(image, options, files, "tcg")


def ready(files: MachineFiles, state: State, *, engine: str = "", timeout: float = 20) -> bringup.Ready:
    return bringup.wait_until_ready(
        files, state, (), engine=engine, settled=False, power_on=time.monotonic(), timeout=timeout, ui=Ui()
    )


def test_it_starts_answers_and_stops(host: FakeHost, image: Image, files: MachineFiles) -> None:
    state = start(image, files)
    assert host.guests() == [state.pid]
    assert files.load_state() == state
    assert ready(files, state).ssh_seconds is not None
    assert lifecycle.stop(files, power_off=None)
    assert host.guests() == []
    assert not files.pid.exists() and not files.qmp.exists()
    assert not lifecycle.stop(files, power_off=None)


def test_the_persist_disk_is_sparse_and_stays(host: FakeHost, image: Image, files: MachineFiles) -> None:
    start(image, files)
    assert files.persist.stat().st_size == 4 * 2**30
    assert files.persist.stat().st_blocks < 100
    lifecycle.cut_power(files)
    files.persist.write_bytes(b"kept")
    start(image, files)
    assert files.persist.read_bytes() == b"kept"


def test_host_keys_are_forgotten_with_the_disk(host: FakeHost, image: Image, files: MachineFiles) -> None:
    start(image, files)
    lifecycle.cut_power(files)
    files.known_hosts.write_text("skiff ssh-ed25519 AAAA\n")
    start(image, files)
    assert files.known_hosts.exists()
    lifecycle.cut_power(files)
    files.persist.unlink()
    start(image, files)
    assert not files.known_hosts.exists()


def test_without_persist_host_keys_are_not_checked(host: FakeHost, image: Image, files: MachineFiles) -> None:
    state = start(image, files, Options(persist=False))
    assert not files.persist.exists()
    assert lifecycle.target(files, state, ()).known_hosts is None


def test_a_second_start_is_refused(host: FakeHost, image: Image, files: MachineFiles) -> None:
    state = start(image, files)
    with pytest.raises(UserError, match="running already"):
        start(image, files)
    assert host.guests() == [state.pid]


def test_two_workspaces_run_at_once_and_stop_ends_its_own(
    host: FakeHost, image: Image, tmp_path: Path
) -> None:
    one, two = machine_files(tmp_path / "one"), machine_files(tmp_path / "two")
    first, second = start(image, one), start(image, two)
    assert first.ssh_port != second.ssh_port
    assert lifecycle.stop(one, power_off=None)
    assert host.guests() == [second.pid]


def test_a_process_that_has_our_old_number_is_left_alone(
    host: FakeHost, image: Image, tmp_path: Path
) -> None:
    mine, other = machine_files(tmp_path / "mine"), machine_files(tmp_path / "other")
    state = start(image, other)
    mine.pid.write_text(f"{state.pid}\n")
    assert Process.find(mine) is None
    assert not lifecycle.stop(mine, power_off=None)
    assert not lifecycle.cut_power(mine)
    assert host.guests() == [state.pid]


def test_a_qemu_that_does_not_listen_is_killed(host: FakeHost, image: Image, files: MachineFiles) -> None:
    host.qemu(deaf=True)
    start(image, files)
    assert lifecycle.stop(files, power_off=None, quit_limit=0.1)
    assert host.guests() == []


def test_the_guest_is_asked_first(host: FakeHost, image: Image, files: MachineFiles) -> None:
    start(image, files)
    asked: list[str] = []

    def power_off() -> bool:
        asked.append("asked")
        return lifecycle.cut_power(files)

    assert lifecycle.stop(files, power_off=power_off)
    assert asked == ["asked"]


def test_a_guest_that_cannot_be_asked_is_not_waited_for(
    host: FakeHost, image: Image, files: MachineFiles
) -> None:
    start(image, files)
    before = time.monotonic()
    assert lifecycle.stop(files, power_off=lambda: False, patience=60)
    assert time.monotonic() - before < 30
    assert host.guests() == []


def test_a_port_in_use_is_named(host: FakeHost, image: Image, files: MachineFiles) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use") as error:
            start(image, files, Options(ssh_port=port))
    assert "--ssh-port" in error.value.hint
    assert host.starts() == []


def test_a_port_lost_meanwhile_is_tried_again(host: FakeHost, image: Image, files: MachineFiles) -> None:
    host.qemu(refuse="-netdev user: Could not set up host forwarding rule 'tcp:127.0.0.1:1-:22'")
    with pytest.raises(UserError, match="is in use"):
        start(image, files)
    assert len(host.starts()) > 1


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ('Failed to get "write" lock', "in use by another machine"),
        ("failed to initialize kvm: Permission denied", "cannot use KVM"),
        ("-device i6300esb: not a valid device model name", "not a valid device"),
    ],
)
def test_what_qemu_refuses_is_told(
    host: FakeHost, image: Image, files: MachineFiles, message: str, says: str
) -> None:
    host.qemu(refuse=message)
    with pytest.raises(UserError, match=says):
        start(image, files)
    assert host.guests() == []


def test_a_missing_qemu_names_the_package(
    host: FakeHost, files: MachineFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever is installed where the tests run.
    monkeypatch.setattr("skiff.host.run.which", lambda name: None)
    with pytest.raises(UserError, match="qemu-system-riscv64") as error:
        start(small_image(tmp_path / "riscv", arch=Arch.RISCV64), files)
    assert "qemu-system-misc" in error.value.hint


def test_disks_are_looked_at_first(host: FakeHost, image: Image, files: MachineFiles) -> None:
    with pytest.raises(UserError, match=r"/nowhere\.img: no such file"):
        start(image, files, Options(disks=(Disk(Path("/nowhere.img")),)))
    assert host.starts() == [] and not files.persist.exists()


def test_a_guest_that_ends_early_shows_its_last_words(
    host: FakeHost, image: Image, files: MachineFiles
) -> None:
    host.qemu(dies=True, console="first\r\n\x1b[0mKernel panic - not syncing\r\n")
    with pytest.raises(UserError) as error:
        ready(files, start(image, files))
    assert "Kernel panic" in error.value.message
    assert str(files.console_log) in error.value.hint


def test_a_guest_that_stays_silent_runs_into_the_limit(
    host: FakeHost, image: Image, files: MachineFiles
) -> None:
    host.qemu(ssh=False, console="stuck here\n")
    state = start(image, files)
    with pytest.raises(UserError, match="no answer over SSH within 1 s") as error:
        ready(files, state, timeout=1)
    assert "stuck here" in error.value.message


def test_no_key_that_fits_is_told_at_once(host: FakeHost, image: Image, files: MachineFiles) -> None:
    host.ssh(refuse="root@127.0.0.1: Permission denied (publickey).")
    with pytest.raises(UserError, match="none of these keys"):
        ready(files, start(image, files))


def test_a_key_that_others_may_read_is_named(
    host: FakeHost, image: Image, files: MachineFiles, tmp_path: Path
) -> None:
    host.ssh(refuse="root@127.0.0.1: Permission denied (publickey).")
    key = tmp_path / "id"
    key.write_text("a private key")
    key.chmod(0o644)
    with pytest.raises(UserError, match="ssh does not offer what others may read") as error:
        bringup.wait_until_ready(
            files,
            start(image, files),
            (key,),
            engine="",
            settled=False,
            power_on=time.monotonic(),
            timeout=20,
            ui=Ui(),
        )
    assert error.value.hint == f"chmod 600 {key}"


def test_another_host_key_is_a_warning(
    host: FakeHost, image: Image, files: MachineFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    state = start(image, files)
    host.program(
        "ssh", 'case "$*" in *accept-new*) echo "Host key verification failed." >&2; exit 255;; esac; exit 0'
    )
    assert ready(files, state).ssh_seconds is not None
    assert "warning: the machine shows another host key" in capsys.readouterr().err


def test_the_engine_is_tested_on_the_machine(
    host: FakeHost, image: Image, files: MachineFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    host.program("skiff-selftest", 'echo "$@" >"$FAKE_LOG/selftest"')
    done = ready(files, start(image, files), engine="docker")
    assert done.engine_seconds is not None and done.ssh_seconds is not None
    assert done.engine_seconds >= done.ssh_seconds
    assert (host.root / "selftest").read_text().startswith("--timeout ")
    said = capsys.readouterr().err
    assert said.index("wait for SSH") < said.index("wait for docker to run a container")


def test_an_engine_that_fails_is_told_with_its_words(
    host: FakeHost, image: Image, files: MachineFiles
) -> None:
    host.program("skiff-selftest", "echo no space left on device; exit 3")
    with pytest.raises(UserError, match="status 3:\nno space left") as error:
        ready(files, start(image, files), engine="docker")
    assert "skiff-status" in error.value.hint


def test_an_engine_that_hangs_runs_into_the_limit(host: FakeHost, image: Image, files: MachineFiles) -> None:
    host.program("skiff-selftest", "echo starting; exec tail -f /dev/null")
    state = start(image, files)
    with pytest.raises(UserError, match="no container run by docker"):
        ready(files, state, engine="docker", timeout=2)


def test_a_banner_that_never_comes_is_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = ssh.Target(port=silent.getsockname()[1], known_hosts=None)
        assert not ssh.has_banner(target, 0.2)


def test_what_differs_from_the_running_machine(host: FakeHost, image: Image, files: MachineFiles) -> None:
    state = start(image, files)
    assert bringup.running(files) == state
    assert bringup.difference(state, image, Options()) == ""
    assert bringup.difference(state, image, Options(memory=64)) == "it was started with another --memory"
    assert "persist" in bringup.difference(state, image, Options(persist=False))
    newer = small_image(files.root / "newer", kernel="newer")
    assert bringup.difference(state, newer, Options()) == "it runs an older image"
    lifecycle.cut_power(files)
    assert bringup.running(files) is None
