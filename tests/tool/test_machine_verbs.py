"""The verbs run, status, ssh and stop from the outside, with stand-ins for QEMU and ssh."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff.__main__ import main
from skiff.host.run import PIPE, run, spawn
from skiff.model.image import Image
from skiff.model.recipe import Recipe
from tests.tool.fake_machine import FAKES, FakeHost, small_image

SKIFF = [sys.executable, "-m", "skiff"]

# What programs may rely on in `status --json`.
STATUS_KEYS = {
    "workspace",
    "running",
    "pid",
    "ssh_port",
    "ssh_answers",
    "uptime_seconds",
    "accel",
    "memory_mib",
    "cpus",
    "persist",
    "image_current",
    "image_bytes",
    "ssh_seconds",
    "engine_seconds",
    "console_log",
    "persist_disk",
    "ssh_command",
}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    fake = FakeHost(tmp_path, monkeypatch)
    monkeypatch.setenv("SKIFF_WORKSPACES", str(tmp_path / "ws"))
    monkeypatch.setenv("SKIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SKIFF_WORKSPACE", raising=False)
    monkeypatch.delenv("SKIFF_CONFIG", raising=False)
    yield fake
    fake.end_all()


@pytest.fixture
def image(host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    """The image that `run` finds built, without engine."""
    built = small_image(tmp_path / "ws" / "default" / "image")
    use(built, monkeypatch)
    return built


def use(built: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `run` have this image without building."""
    recipe = Recipe(arch=built.arch, layers=())
    monkeypatch.setattr("skiff.cli.run.resolve_recipe", lambda *_, **__: recipe)
    monkeypatch.setattr("skiff.cli.run.build_image", lambda *_, **__: (built, False))


def status(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_run_ends_with_a_summary(host: FakeHost, image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--detach", "--accel", "tcg"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = dict(line.strip().split("  ", 1) for line in lines if line[2] != " ")
    assert rows["image"].strip() == "0.0 MB: kernel 0.0 MB + initramfs 0.0 MB"
    assert "answered" in rows["ssh"] and "after power-on" in rows["ssh"]
    assert rows["log in"].strip() == "skiff ssh"
    assert rows["stop"].strip() == "skiff stop"


def test_run_tells_programs_the_same(
    host: FakeHost, image: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--detach", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == STATUS_KEYS
    assert told["running"] is True and told["ssh_seconds"] > 0 and told["engine_seconds"] is None
    assert host.guests() == [told["pid"]]


def test_run_waits_for_the_engine_of_the_image(
    host: FakeHost, image: Image, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(small_image(image.artefact("kernel").path.parent, engine="docker"), monkeypatch)
    host.program("skiff-selftest", "exit 0")
    assert main(["run", "-d", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["engine_seconds"] > 0


def test_options_reach_qemu(host: FakeHost, image: Image, tmp_path: Path) -> None:
    disk = tmp_path / "data.img"
    disk.write_bytes(b"x" * 512)
    words = ["run", "-d", "--wait", "no", "--memory", "1G", "--cpus", "3", "--no-persist"]
    assert main([*words, "--disk", f"{disk},ro", "--append", "a=b"]) == 0
    (line,) = host.starts()
    joined = " ".join(line)
    assert "-smp 3 -m 1024" in joined
    assert f"file={disk},readonly=on" in joined
    assert "persist.img" not in joined
    assert line[line.index("-append") + 1].endswith(" a=b")


def test_a_second_run_reuses_the_machine(
    host: FakeHost, image: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "-d"]) == 0
    assert main(["run", "-d"]) == 0
    assert len(host.starts()) == 1
    assert "runs already" in capsys.readouterr().err


def test_a_newer_image_needs_a_restart(
    host: FakeHost, image: Image, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "-d"]) == 0
    first = host.guests()
    use(small_image(image.artefact("kernel").path.parent, kernel="newer"), monkeypatch)
    assert main(["run", "-d"]) == 0
    said = capsys.readouterr()
    assert "older image" in said.err and "--restart" in said.err
    assert host.guests() == first
    assert main(["run", "-d", "--restart"]) == 0
    assert host.guests() != first and len(host.guests()) == 1


def test_a_machine_that_does_not_answer_is_not_left_running(
    host: FakeHost, image: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    host.qemu(ssh=False, console="stuck in the bootloader\n")
    assert main(["run", "-d", "--timeout", "1"]) == 2
    said = capsys.readouterr().err
    assert "stuck in the bootloader" in said and "console.log" in said
    assert host.guests() == []


def test_ctrl_c_while_waiting_leaves_nothing_running(host: FakeHost, image: Image, tmp_path: Path) -> None:
    host.qemu(ssh=False)
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from pathlib import Path; from unittest.mock import patch\n"
        "from skiff.__main__ import main; from tests.tool.fake_machine import small_image\n"
        "image = small_image(Path(sys.argv[1]))\n"
        "with patch('skiff.cli.run.resolve_recipe'), "
        "patch('skiff.cli.run.build_image', return_value=(image, False)):\n"
        "    sys.exit(main(['run', '-d', '--accel', 'tcg']))\n"
    )
    root = Path(__file__).parents[2]
    words = [sys.executable, "-c", script, str(root), str(tmp_path / "other")]
    with spawn(words, stderr=PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"wait for SSH" in line or host.guests():
                break
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(20) == 130
    assert host.guests() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--memory", "lots"], "not a size"),
        (["run", "--memory", "4"], "32 MiB or more"),
        (["run", "--json"], "--json needs --detach"),
        (["run", "-d", "--console"], "exclude each other"),
        (["run", "-d", "--disk-boot", "--no-persist"], "exclude each other"),
        (["run", "-d", "--disk", "/nowhere.img"], "no such file"),
    ],
)
def test_mistakes_are_told(
    host: FakeHost, image: Image, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert says in capsys.readouterr().err
    assert host.starts() == []


def test_status_of_a_machine_that_runs(
    host: FakeHost, image: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "-d", "--accel", "tcg"]) == 0
    told = status(capsys)
    assert set(told) == STATUS_KEYS
    assert told["running"] is True and told["ssh_answers"] is True and told["image_current"] is True
    assert isinstance(told["ssh_port"], int)
    assert (told["accel"], told["memory_mib"], told["cpus"]) == ("tcg", 512, 2)


def test_status_of_none(host: FakeHost, image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    told = status(capsys)
    assert set(told) == STATUS_KEYS
    assert told["running"] is False and told["ssh_port"] is None
    assert main(["status"]) == 0
    assert "not running" in capsys.readouterr().out


def test_stop_ends_it_and_says_so_when_there_is_none(
    host: FakeHost, image: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    host.program("poweroff", "exit 1")
    assert main(["run", "-d"]) == 0
    assert main(["stop"]) == 0
    assert host.guests() == []
    capsys.readouterr()
    assert main(["stop"]) == 0
    assert capsys.readouterr() == ("no machine of workspace default is running\n", "")


def test_stop_asks_the_system_first(host: FakeHost, image: Image) -> None:
    host.program("poweroff", 'read pid <"$FAKE_LOG/guests"; kill "$pid"; : >"$FAKE_LOG/asked"')
    assert main(["run", "-d"]) == 0
    assert main(["stop"]) == 0
    assert host.guests() == [] and (host.root / "asked").exists()


def test_stop_by_force_asks_nobody(host: FakeHost, image: Image) -> None:
    host.program("poweroff", ': >"$FAKE_LOG/asked"')
    assert main(["run", "-d"]) == 0
    assert main(["stop", "--force"]) == 0
    assert host.guests() == [] and not (host.root / "asked").exists()


def test_ssh_passes_words_streams_and_status(host: FakeHost, image: Image) -> None:
    assert main(["run", "-d"]) == 0
    data = bytes(range(256)) * 50
    assert run([*SKIFF, "ssh", "--", "cat"], input=data).stdout == data
    script = 'printf "%s|" "$@"; echo err >&2; exit 7'
    words = ["a b", "", "-x", "--", "'\"$x`", "two\nlines"]
    done = run([*SKIFF, "ssh", "--user", "joe", "--", "sh", "-c", script, "sh", *words], check=False)
    assert done.stdout.decode() == "".join(f"{word}|" for word in words)
    assert (done.stderr, done.returncode) == (b"err\n", 7)
    last = host.calls("ssh")[-1]
    assert last[last.index("-l") + 1] == "joe"
    assert "BatchMode=yes" not in last


@pytest.mark.parametrize(
    ("words", "lacks"),
    [
        (["crew", "apps:list"], "crew: its image is without apps/crew"),
        (["ssh", "--user", "core"], "core: its image is without a layer of core/"),
        (["ssh", "--user", "joe"], "joe\nhint: add a layer with [[tree.users]]"),
    ],
)
def test_a_user_that_the_image_does_not_have_is_told(
    host: FakeHost, image: Image, capfd: pytest.CaptureFixture[str], words: list[str], lacks: str
) -> None:
    assert main(["run", "-d"]) == 0
    root = f'exec {sys.executable} {FAKES}/ssh.py "$@"'
    host.program("ssh", f'case "$*" in *"-l root "*) {root} ;; esac; exit 255')
    host.program("id", "exit 1")
    assert main(words) == 2
    assert f"the machine has no user {lacks}" in capfd.readouterr().err


def test_what_ends_skiff_ends_a_log_in_too(host: FakeHost, image: Image) -> None:
    assert main(["run", "-d"]) == 0
    ready = host.root / "ready"
    os.mkfifo(ready)
    with spawn(
        [*SKIFF, "ssh", "--user", "joe", "--", "exec", "sh", "-c", f"echo $$ >{ready}; exec sleep 60"]
    ) as skiff:
        program = int(ready.read_text())
        skiff.send_signal(signal.SIGTERM)
        assert skiff.wait(30) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{program}").exists()


def test_ssh_keeps_bytes_that_are_no_text(host: FakeHost, image: Image) -> None:
    assert main(["run", "-d"]) == 0
    odd = os.fsdecode(b"\xff\xfe\x80")
    assert run([*SKIFF, "ssh", "--", "printf", "%s", odd]).stdout == b"\xff\xfe\x80"


def test_ssh_without_words_logs_in(host: FakeHost, image: Image) -> None:
    assert main(["run", "-d"]) == 0
    assert run([*SKIFF, "ssh"], input=b"").stdout == b"log-in shell\n"
    assert host.calls("ssh")[-1][1] == "-T"


def test_ssh_without_machine_is_told(host: FakeHost, image: Image) -> None:
    key = host.root / "ws/default/keys/id_ed25519"
    key.parent.mkdir(parents=True, exist_ok=True)
    key.touch()
    done = run([*SKIFF, "ssh", "--", "true"], check=False)
    assert done.returncode == 2
    assert b"no machine of workspace default is running" in done.stderr
    # A board is not reached by this verb; its key is the workspace's, if its owner has none.
    assert f"to log in to a device: ssh -i {key} root@ADDRESS".encode() in done.stderr
