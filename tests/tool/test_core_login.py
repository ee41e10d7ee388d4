"""The log-in of a user of core under busybox's shell: what reaches the engine, and what who waits is told."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tool.device import Device

CORE = Path(__file__).parents[2] / "layers/apps/core/rootfs/usr/lib/skiff/core"
# Writes its words one a line, and what it reads, or runs what it is to run; fails where the test says so.
DOCKER = """#!/bin/sh
printf '%s\\n' "$@" >>"$SKIFF_ROOT/docker.argv"
case $1 in
version) [ ! -e "$SKIFF_ROOT/away" ] || { mv "$SKIFF_ROOT/away" "$SKIFF_ROOT/back"; exit 1; } ;;
inspect) [ ! -e "$SKIFF_ROOT/starting" ] || { rm "$SKIFF_ROOT/starting"; echo false; exit; }; echo true ;;
start)
	[ ! -e "$SKIFF_ROOT/removed" ] || { echo "Error: No such container: box" >&2; exit 1; }
	[ ! -e "$SKIFF_ROOT/broken" ] || { echo "no such image" >&2; exit 1; } ;;
exec)
	env >"$SKIFF_ROOT/docker.env"
	[ -e "$SKIFF_ROOT/inside" ] || exec cat
	while [ "$1" != box ]; do
		[ "$1" != -w ] || cd "$2" || exit 126
		shift
	done
	shift
	exec "$@"
	;;
esac
"""


class Login:
    """A device with the log-in program, and an engine that writes down what it is asked."""

    def __init__(self, device: Device) -> None:
        self.device = device
        shutil.copytree(CORE, device.root / "usr/lib/skiff/core")
        program = device.root / "usr/lib/skiff/core/login"
        text = program.read_text().replace(". /usr/lib", f". {device.root}/usr/lib")
        # The device's own PATH is the host's here.
        text = text.replace("unset IFS", f"PATH={device.root}/bin:$PATH\nunset IFS")
        program.write_text(text)
        self.program = program
        device.put("bin/docker", DOCKER).chmod(0o755)
        device.put("usr/lib/skiff/core/receive", '#!/bin/sh\necho "received for $CONTAINER"\n').chmod(0o755)
        device.put("run/skiff/core/users/core", "container=box\nuser=me\nhome=/home/me\nshell=/bin/ash\n")
        (device.root / "run/skiff/core/containers").mkdir(parents=True)
        (device.root / "run/skiff/core/log").mkdir(parents=True)
        subprocess.run(["mkfifo", str(device.root / "run/skiff/core/never")], check=True)
        self.container("ok\trunning\t")

    def container(self, line: str, running: bool = True) -> None:
        """What the service core says of the container, and whether it runs."""
        self.device.put("run/skiff/core/containers/box", f"{line}\nabc\n/sys/fs/cgroup/box\n")
        group = self.device.root / "sys/fs/cgroup/box"
        if running:
            group.mkdir(parents=True, exist_ok=True)
        elif group.exists():
            group.rmdir()

    def argv(self) -> list[str]:
        """The words that the engine was called with."""
        path = self.device.root / "docker.argv"
        return path.read_text().splitlines() if path.exists() else []

    def told(self) -> list[str]:
        """What the shell inside is told, when it has gone home."""
        words = self.argv()[-9:]
        assert words[:3] + words[4:6] == ["box", "/bin/ash", "-c", "sh", "/home/me"]
        return words[6:]

    def run(
        self,
        command: str | None = None,
        *,
        user: str = "core",
        forced: bool = True,
        stdin: bytes = b"",
        **more: str,
    ) -> subprocess.CompletedProcess[bytes]:
        """Log in, with the command that the client asked for, as sshd does it."""
        env = {"SKIFF_ROOT": str(self.device.root), "USER": user, "PATH": "/usr/bin:/bin", "TERM": "xterm"}
        env |= more
        words: list[str] = []
        if command is not None and forced:
            # A forced command: sshd gives it to the shell of the account, which is this program too.
            words = ["-c", str(self.program)]
            env["SSH_ORIGINAL_COMMAND"] = command
        elif command is not None:
            words = ["-c", command]
        return subprocess.run(
            [self.device.busybox, "sh", str(self.program), *words],
            env=env,
            input=stdin,
            capture_output=True,
            timeout=30,
            check=False,
        )

    def asked(self) -> str:
        """The next request, as the service core reads it."""
        with (self.device.root / "run/skiff/core/requests").open("r+b", buffering=0) as requests:
            return requests.readline().decode() if select.select([requests], [], [], 20)[0] else ""

    def applied(self) -> None:
        """The service's last word of an apply."""
        self.device.put("run/skiff/status/new", "ok\tbox: running\t\n").replace(
            self.device.root / "run/skiff/status/core"
        )

    def start(self, command: str, stdin: bytes) -> subprocess.Popen[bytes]:
        """A log-in that goes on, which has been told all of its input. It may ask the service core."""
        env = {"SKIFF_ROOT": str(self.device.root), "USER": "core", "PATH": "/usr/bin:/bin"}
        process = subprocess.Popen(
            [self.device.busybox, "sh", str(self.program), "-c", command],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        return process


@pytest.fixture
def login(device: Device) -> Login:
    return Login(device)


def test_a_command_is_one_argument_of_the_shell_inside(login: Login) -> None:
    done = login.run("cat; exit 3", stdin=b"\0\xffdata")
    assert done.stdout == b"\0\xffdata"
    words = login.argv()
    assert words[:2] == ["exec", "-i"]
    assert login.told() == ["/bin/ash", "-c", "cat; exit 3"]
    assert words[words.index("-u") + 1] == "me"
    assert words[words.index("-w") + 1] == "/"


def run_inside(login: Login, home: str, command: str) -> subprocess.CompletedProcess[bytes]:
    """A command that is really run, by a shell that is there."""
    user = f"container=box\nuser=me\nhome={home}\nshell=/bin/sh\n"
    login.device.put("run/skiff/core/users/core", user)
    login.device.put("inside", "")
    return login.run(command, stdin=b"data")


def test_a_command_runs_at_home_and_its_end_is_the_log_ins(login: Login) -> None:
    home = login.device.root / "home/the user's own"
    home.mkdir(parents=True)
    done = run_inside(login, str(home), "pwd; cat; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, f"{home}\ndata".encode())
    assert done.stderr == b"err\n"


def test_a_home_that_is_not_there_locks_nobody_out(login: Login) -> None:
    done = run_inside(login, "/nonexistent", "pwd; cat")
    assert (done.returncode, done.stdout) == (0, b"/\ndata")
    # Programs that talk over it want to hear nothing else.
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("shell", "by", "folder"),
    [
        ("/busybox/sh", ["/busybox/sh", "-c"], "/"),
        ("/usr/bin/fish", ["/bin/sh", "-c"], "/"),
        # It may be alone in its container.
        ("/app", ["/app", "-c", "id"], "/home/me"),
    ],
)
def test_who_goes_home_needs_no_program_that_may_be_missing(
    login: Login, shell: str, by: list[str], folder: str
) -> None:
    user = f"container=box\nuser=me\nhome=/home/me\nshell={shell}\n"
    login.device.put("run/skiff/core/users/core", user)
    login.run("id")
    words = login.argv()
    after = words.index("box") + 1
    assert words[after : after + len(by)] == by
    assert words[words.index("-w") + 1] == folder
    assert words[-3:] == [shell, "-c", "id"]


def test_a_container_that_is_being_started_lets_nobody_in_yet(login: Login) -> None:
    login.container("wait\tstart box\t")
    login.device.put("starting", "")
    assert login.run("true").returncode == 0
    looks = [word for word in login.argv() if word in ("inspect", "exec")]
    assert looks == ["inspect", "inspect", "exec"]


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize(
    "command",
    [
        "$(touch pwned)",
        "`touch pwned`",
        "; touch pwned",
        "' ; touch pwned; '",
        "--privileged",
        "-c",
        "*",
        "${IFS}x",
        "a\\nb",
        "git-receive-pack 'x'; touch pwned",
        "git-receive-pack '../env'",
        "git-receive-pack 'env' 'other'",
        "git-receive-pack '$(touch pwned)env'",
    ],
)
def test_no_shell_of_the_host_reads_what_a_client_sends(login: Login, command: str, forced: bool) -> None:
    done = login.run(command, forced=forced)
    assert done.returncode == 0, done.stderr
    assert login.told() == ["/bin/ash", "-c", command]
    assert not list(login.device.root.rglob("pwned"))
    assert not Path("pwned").exists()


@pytest.mark.parametrize("path", ["'env'", "'/env'", "'~/env.git'", "env", "'env/'"])
def test_a_push_is_received_whatever_way_it_is_written(login: Login, path: str) -> None:
    assert login.run(f"git-receive-pack {path}").stdout == b"received for box\n"
    assert login.argv() == []


@pytest.mark.parametrize("server", ["/usr/lib/openssh/sftp-server", "internal-sftp", "sftp-server"])
def test_sftp_is_the_containers(login: Login, server: str) -> None:
    login.run(server)
    words = login.argv()
    assert words[words.index("box") + 1 : words.index("box") + 3] == ["/bin/sh", "-c"]
    assert "for server in /usr/lib/openssh/sftp-server" in "\n".join(words)


@pytest.mark.parametrize(
    "command", ["ls -l /usr/lib/openssh/sftp-server", "scp -t /srv/sftp-server", "rsync .\n/opt/sftp-server"]
)
def test_a_command_about_an_sftp_server_is_none(login: Login, command: str) -> None:
    login.run(command)
    assert "\n".join(login.argv()).endswith(f"\n/home/me\n/bin/ash\n-c\n{command}")


def test_without_a_command_it_is_a_log_in_shell(login: Login) -> None:
    login.run()
    assert login.argv()[-3:] == ["/home/me", "/bin/ash", "-l"]


@pytest.mark.parametrize("user", ["", "../core", "core/../root", "a b", "$(id)", "CORE", "-x", "nobody"])
def test_names_that_are_no_users_go_nowhere(login: Login, user: str) -> None:
    done = login.run("id", user=user)
    assert done.returncode == 75
    assert done.stderr.startswith(b"skiff: ")
    assert login.argv() == []


def test_a_container_name_that_nobody_could_have_written_goes_nowhere(login: Login) -> None:
    login.device.put("run/skiff/core/users/core", "container=../box\n")
    assert login.run("id").returncode == 75
    assert login.argv() == []


def test_a_stopped_container_is_started(login: Login) -> None:
    login.container("warn\tstopped\t", running=False)
    done = login.run("id")
    assert done.stderr == b"skiff: starting the container box\n"
    assert login.argv()[:2] == ["start", "box"]
    assert login.argv()[2] == "exec"


def test_one_that_does_not_start_says_why(login: Login) -> None:
    login.container("warn\tstopped\t", running=False)
    login.device.put("broken", "")
    done = login.run("id")
    assert done.returncode == 75
    assert done.stderr.splitlines()[-1] == (
        b"skiff: box does not start: no such image (root sees more: docker logs box)"
    )


def test_a_user_that_the_container_lacks_is_told(login: Login) -> None:
    login.device.put("run/skiff/core/users/core", "container=box\nuser=me\nhome=\nshell=/bin/sh\n")
    done = login.run("id")
    assert done.returncode == 75
    assert done.stderr.startswith(b"skiff: there is no user me in the container box (")
    # A number needs no entry.
    login.device.put("run/skiff/core/users/core", "container=box\nuser=1000:1000\nhome=\nshell=/bin/sh\n")
    assert login.run("id").returncode == 0


def test_a_user_that_is_missing_may_be_made_by_now(login: Login) -> None:
    """Whom createContainerUser names is made while the container runs, which a log-in may have started."""
    os.mkfifo(login.device.root / "run/skiff/core/requests")
    login.device.put("run/skiff/core/users/core", "container=box\nuser=me\nhome=\nshell=/bin/sh\n")
    with login.start("cat", b"input") as process:
        assert process.stderr is not None and process.stdout is not None
        assert login.asked() == "missing\n"
        made = "container=box\nuser=me\nhome=/home/me\nshell=/bin/sh\n"
        login.device.put("run/skiff/core/users/core", made)
        login.applied()
        assert process.stdout.read() == b"input"
        assert process.wait(30) == 0
        told = b"skiff: looking once more for what is missing; waiting for it (Ctrl-C ends this)\n"
        assert process.stderr.read() == told


def test_a_user_that_stays_missing_is_told(login: Login) -> None:
    os.mkfifo(login.device.root / "run/skiff/core/requests")
    login.device.put("run/skiff/core/users/core", "container=box\nuser=me\nhome=\nshell=/bin/sh\n")
    with login.start("cat", b"input") as process:
        assert process.stderr is not None
        login.asked()
        login.applied()
        assert b"there is no user me in the container box (" in process.stderr.read()
        assert process.wait(30) == 75


@pytest.mark.parametrize("comes", [True, False])
def test_a_container_that_was_removed_is_made_anew(login: Login, comes: bool) -> None:
    os.mkfifo(login.device.root / "run/skiff/core/requests")
    login.container("ok\trunning\t", running=False)
    removed = login.device.put("removed", "")
    with login.start("cat", b"input") as process:
        assert process.stderr is not None and process.stdout is not None
        assert login.asked() == "missing\n"
        if comes:
            removed.unlink()
        login.applied()
        assert process.stdout.read() == (b"input" if comes else b"")
        assert process.wait(30) == (0 if comes else 75)
        if not comes:
            assert process.stderr.read().endswith(
                b"No such container: box (root sees more: skiff-core status)\n"
            )


def test_a_failure_is_told_in_one_line_with_its_hint(login: Login) -> None:
    login.container("fail\tthe image cannot be pulled\tskiff-core logs box", running=False)
    done = login.run("id")
    assert done.returncode == 75
    assert done.stderr == b"skiff: the image cannot be pulled (skiff-core logs box)\n"
    assert login.argv() == []


def test_an_engine_that_is_away_is_told_in_one_line_with_its_hint(login: Login) -> None:
    """The container runs on without it, but nobody gets in."""
    login.device.put("run/skiff/status/engine", "warn\tdocker was stopped by hand\tsv up docker\n")
    login.device.put("away", "")
    done = login.run("cat")
    assert done.returncode == 75
    assert done.stderr == (
        b"skiff: the container engine does not answer: docker was stopped by hand"
        b" (root sees more: skiff-status engine)\n"
    )
    assert login.argv() == ["version"]


def test_an_engine_that_is_starting_is_waited_for(login: Login) -> None:
    """And not asked: each time would take from its start."""
    login.device.put("run/skiff/status/engine", "wait\tdocker is starting\t\n")
    with login.start("cat", b"input") as process:
        assert process.stderr is not None and process.stdout is not None
        told = process.stderr.readline()
        assert told == b"skiff: docker is starting; waiting for it (Ctrl-C ends this)\n"
        login.device.put("run/skiff/status/engine", "ok\tdocker 1\t\n")
        assert process.stdout.read() == b"input"
        assert process.wait(30) == 0
    assert "version" not in login.argv()


def test_an_engine_that_does_not_come_up_is_told(login: Login) -> None:
    login.device.put("run/skiff/status/engine", "wait\tdocker is starting\t\n")
    login.device.put("away", "")
    with login.start("cat", b"input") as process:
        assert process.stderr is not None
        process.stderr.readline()
        login.device.put("run/skiff/status/engine", "fail\tdockerd ended 3 times\tskiff-doctor\n")
        assert b"does not answer: dockerd ended 3 times" in process.stderr.readline()
        assert process.wait(30) == 75


def test_while_it_is_built_progress_is_shown_and_the_input_kept(login: Login) -> None:
    login.container("wait\tbuilding box\t", running=False)
    log = login.device.put("run/skiff/core/log/box", "step 1\n")
    with login.start("cat", b"input") as process:
        assert process.stderr is not None and process.stdout is not None
        told = process.stderr.readline() + process.stderr.readline()
        assert told == b"skiff: building box; waiting for it (Ctrl-C ends this)\nstep 1\n"
        log.write_text("step 1\nstep 2\n")
        assert process.stderr.readline() == b"step 2\n"
        login.container("ok\trunning\t")
        assert process.stdout.read() == b"input"
        assert process.wait(30) == 0


def test_variables_go_in_without_their_values(login: Login) -> None:
    login.run("id")
    words = login.argv()
    names = [words[place + 1] for place, word in enumerate(words) if word == "-e"]
    assert {"SHELL", "USER", "LOGNAME", "TERM"} <= set(names)
    assert not any("=" in name for name in names)
    assert "USER=me" in (login.device.root / "docker.env").read_text().splitlines()


def test_hostile_variables_say_nothing_to_host_or_engine(login: Login) -> None:
    evil = login.device.root / "evil"
    word = f"$(touch {evil})`touch {evil}`;touch {evil}\n--privileged"
    sourced = login.device.put("profile", f"touch {evil}\n")
    names = ("SHELL", "LOGNAME", "TERM", "LANG", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK")
    engine = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "CONTAINER_HOST")
    more = {
        **dict.fromkeys((*names, *engine, "CONTAINER", "INSIDE", "WORDS"), word),
        "IFS": "oe",
        "CDPATH": word,
    }
    done = login.run("id", ENV=str(sourced), **more)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    assert not evil.exists()
    words = login.argv()
    assert login.told() == ["/bin/ash", "-c", "id"] and not any("privileged" in one for one in words)
    given = (login.device.root / "docker.env").read_text().splitlines()
    assert not set(engine) & {line.partition("=")[0] for line in given}
