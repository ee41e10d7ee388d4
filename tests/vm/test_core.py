"""User environments: SSH lands in a container that persists, and the host below stays out of reach."""

from __future__ import annotations

import fcntl
import os
import shlex
import socket
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from skiff.host.run import run
from tests.vm.conftest import Images
from tests.vm.driver import Device, ProductFailure
from tests.vm.environments import BOX, CONFIG, ONE, configure, enter
from tests.vm.mirrors import mirror_for_devices
from tests.vm.port_world import registry_in
from tests.vm.programs import programs_that_fail
from tests.vm.terminal import Terminal

MakeDevice = Callable[..., Device]

_TWO = ONE.replace("COLOUR=blue", "COLOUR=green").replace(
    "users:\n",
    """\
  second:
    image: box
    cmd: [sleep, infinity]
    startAfterCreate: false
    hostNetwork: true
users:
  other:
    container: second
    auth: {copyRootKeys: true}
    containerShell: [/bin/sh]
""",
)


_PULLED = (
    ONE.replace("blue", "green").replace("image: box", "image: os/box:1")
    + """\
images:
  os/box:1: {pull: {policy: ifnotpresent, registry: "localhost:5000"}}
"""
)
_FAR = _PULLED.replace(
    "users:\n",
    """\
  far:
    image: os/none:1
users:
  other: {container: far, auth: {copyRootKeys: true}}
""",
).replace("os/box:1: {", 'os/none:1: {pull: {registry: "localhost:5000"}}\n  os/box:1: {')
_SYSTEMD = """
containers:
  core:
    image: localhost/inits
    entrypoint: [/usr/lib/systemd/systemd]
    disableInit: true
    privileged: PRIVILEGED
    env: [container=docker]
    restartPolicy: always
    startAfterCreate: true
users:
  core:
    container: core
    containerUser: core
    createContainerUser: true
    auth: {copyRootKeys: true}
"""
_OPENRC = """\
  rc:
    image: localhost/inits
    entrypoint: [/usr/sbin/openrc-init]
    disableInit: true
    privileged: true
    env: [container=docker]
    startAfterCreate: true
users:
"""


# Takes the last block of persist.
_FILL = """
import os
file, size, piece = os.open("/mnt/persist/full", os.O_CREAT | os.O_WRONLY), 0, 1 << 30
while piece >= 4096:
    try:
        os.posix_fallocate(file, size, piece)
        size += piece
    except OSError:
        piece //= 2
"""
# Other words of the same length, for which no new block is needed.
_REPAINT = f"""
text = open("{CONFIG}").read()
with open("{CONFIG}", "r+") as file:
    file.write(text.replace("blue", "grey"))
"""


@pytest.fixture
def inits(images: Images) -> Path:
    """A Debian with systemd and with OpenRC, as an archive: made once, for all tests and the runs after."""
    tar = images.cache / "test-inits-3.tar"
    unwanted = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man", "info")]
    # Needed while packages are set up, or by nobody, and more than half of the archive.
    globs = ("usr/share/perl*", "usr/lib/*/*perl*", "usr/bin/perl*", "usr/lib/*/gconv", "var/lib/dpkg")
    unneeded = f'--customize-hook=cd "$1" && rm -rf {" ".join(globs)}'
    words = ["--quiet", "--variant=essential", "--include=systemd,openrc,passwd", *unwanted, unneeded]
    with tar.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tar.exists():
            run(["mmdebstrap", *words, "bookworm", str(tar.with_suffix(".new.tar"))], timeout=600)
            tar.with_suffix(".new.tar").rename(tar)
    return tar


def core_device(device: MakeDevice, engine: str) -> Device:
    """A machine of that engine whose user core is in a container of the image box."""
    machine = device("virt/qemu", f"engine/{engine}", "core/debian")
    # The environment of the image would be built, for which there is no registry.
    machine.start(memory=1024)
    machine.wait_for_ssh()
    machine.wait_for_engine_to_answer()
    machine.succeed(BOX, timeout=180)
    configure(machine, ONE)
    machine.wait_for_unit("core", "running")
    return machine


@pytest.mark.timeout(1500)
def test_on_docker(device: MakeDevice, inits: Path, tmp_path: Path) -> None:
    machine = core_device(device, "docker")
    _log_in(machine, tmp_path)
    _agent(machine, tmp_path)
    _stopped(machine)
    _hosts_faults(machine)
    _second_user(machine)
    _pulled(machine, tmp_path)
    _after_a_power_cut(machine)
    _init_systems(machine, inits, _SYSTEMD.replace("PRIVILEGED", "true").replace("users:\n", _OPENRC))
    machine.wait_until_succeeds("docker exec rc rc-status -r | grep default", 120)
    machine.succeed("docker exec rc rc-status --all", timeout=60)
    assert machine.units()["core"].state != "fail"


def _log_in(machine: Device, tmp_path: Path) -> None:
    """What people and programs do at once when they log in, and what the hostile try."""
    # In the container as its user, at home, with the variables of both.
    assert machine.succeed("id -un; pwd; echo $COLOUR", user="core").split() == [
        "core",
        "/home/core",
        "blue",
    ]
    assert machine.execute("exit 7", user="core").status == 7
    done = machine.execute("echo out; echo err >&2", user="core")
    assert (done.stdout, done.stderr.strip()) == ("out\n", "err")
    data = os.urandom(3_000_000)
    back = run(enter(machine, "cat"), input=data, timeout=120)
    assert back.stdout == data

    # Whatever the client sends is for the container's shell alone.
    for word in (
        "$(touch /tmp/host)",
        "a'b\"c",
        "`id`",
        "--help",
        "-c",
        "x; touch /tmp/host",
        "a\nb",
        "${IFS}",
    ):
        assert machine.ask(f"printf %s {shlex.quote(word)}", user="core").stdout == word
    machine.fail("test -e /tmp/host")
    # Neither the engine's socket nor any other of the host's can be reached.
    socket = tmp_path / "docker.sock"
    forward = enter(
        machine, options=("-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{socket}:/run/docker.sock")
    )
    with closing(Terminal([*forward])):
        machine.succeed("true", user="core")
        if socket.exists():
            asked = run(
                ["curl", "-s", "-m", "5", "--unix-socket", str(socket), "http://x/version"], check=False
            )
            assert b"Version" not in asked.stdout
    # Not by names either: `root` and unknown ones are refused or need their own keys.
    assert run(enter(machine, "id", user="nobody"), input=b"", check=False).returncode == 255

    with closing(Terminal(enter(machine, options=("-tt",)), rows=33, columns=101)) as terminal:
        terminal.wait_for("$ ")
        terminal.type("stty size; echo $TERM $((40+2))\n")
        shown = terminal.wait_for("xterm 42\r\n")
        assert "33 101" in shown
        _resize(terminal)
        terminal.type(
            "sh -c 'trap \"echo got $((3+4)); exit\" INT; echo up$((1+1)); while :; do sleep .2; done'\n"
        )
        terminal.wait_for("up2")
        terminal.type("\x03")
        terminal.wait_for("got 7")
        terminal.type("echo $$ >/tmp/shell; sleep 2000\n")
        machine.wait_until_succeeds("docker exec core sh -c 'pidof sleep | grep \" \" && test -s /tmp/shell'")
    # A window that is shut ends the shell in it.
    machine.wait_until_succeeds("! docker exec core sh -c 'kill -0 $(cat /tmp/shell)'")


def _resize(terminal: Terminal) -> None:
    """Another size of the window reaches the shell.

    Docker's command overlooks one that comes before it is ready, when the shell may answer already: so again.
    """
    terminal.type("until stty size | grep -q '^44 '; do sleep 0.2; done; echo size$((1+1))\n")
    for columns in range(110, 120):
        terminal.resize(44, columns)
        with suppress(ProductFailure):
            terminal.wait_for("size2", 6)
            return
    raise ProductFailure("the terminal's size does not change")


def _agent(machine: Device, tmp_path: Path) -> None:
    socket = tmp_path / "agent"
    with closing(Terminal(["ssh-agent", "-D", "-a", str(socket)])):
        key = machine.target().keys[0]
        env = {"SSH_AUTH_SOCK": str(socket)}
        run(["sh", "-c", f"until ssh-add -q {key}; do sleep 0.2; done"], env=env, timeout=20)
        done = run(
            enter(machine, "test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK", options=("-A",)),
            env=env,
            input=b"",
        )
        assert done.stdout.startswith(b"/.skiff/agent.")


def _stopped(machine: Device) -> None:
    """A stopped container is started by who logs in."""
    machine.succeed("docker stop -t 1 core", timeout=60)
    done = machine.execute("echo there", user="core", timeout=90)
    assert done.stdout == "there\n"
    assert "starting the container core" in done.stderr


def _hosts_faults(machine: Device) -> None:
    """A mistake in the file names line and key, and what ran goes on."""
    machine.succeed(f"cp {CONFIG} /tmp/good; sed -i 's/restartPolicy: always/restartPolicy: [1]/' {CONFIG}")
    shown = machine.execute("skiff-core apply")
    assert shown.status == 2
    assert "config.yaml:7" in shown.stderr
    assert "containers.core.restartPolicy" in shown.stderr
    assert machine.units()["core"].state == "fail"
    assert machine.succeed("echo $COLOUR", user="core") == "blue\n"
    machine.succeed(f"mv /tmp/good {CONFIG}; skiff-core apply")
    # A container of somebody else with that name is left alone, and the log-in says what is wrong.
    machine.succeed(
        "docker stop -t 1 core; docker rename core mine; docker run -d --name core box sleep 1000", timeout=60
    )
    assert machine.execute("skiff-core apply", timeout=90).status == 1
    done = machine.execute("true", user="core")
    assert done.status == 75
    assert "docker rename" in done.stderr
    machine.succeed("docker rm -f core; docker rename mine core; skiff-core apply", timeout=90)
    _full_disk(machine)
    _engine_away(machine)


def _full_disk(machine: Device) -> None:
    """What would change is told; who is in stays, and gets in."""
    machine.succeed("python3 -", input=_FILL.encode())
    machine.succeed(f"cp {CONFIG} /tmp/good; python3 -", input=_REPAINT.encode())
    machine.wait_for_unit("core", "the disk is full", 180)
    assert machine.succeed("echo $COLOUR", user="core") == "blue\n"
    machine.succeed(f"rm /mnt/persist/full; cp /tmp/good {CONFIG}; skiff-core apply", timeout=90)
    assert machine.units()["core"].state == "ok"


def _engine_away(machine: Device) -> None:
    """The container runs on, but a log-in says why there is no way into it."""
    machine.succeed("sv down docker")
    machine.wait_for_unit("engine", "stopped by hand")
    done = machine.execute("true", user="core")
    assert done.status == 75 and "does not answer: docker was stopped by hand" in done.stderr
    machine.succeed("sv up docker")
    machine.wait_for_unit("core", "running", 180)
    assert machine.succeed("echo $COLOUR", user="core") == "blue\n"


def _second_user(machine: Device) -> None:
    """Another definition: the old container is kept aside, volumes stay; a user who is taken out is out."""
    machine.succeed("echo note >/home/core/note; echo gone >/tmp/mine; sync", user="core")
    assert "make core anew" in machine.succeed(f"cat >{CONFIG}; skiff-core plan", input=_TWO.encode())
    machine.wait_for_unit("core", "running")
    machine.wait_until_succeeds("docker exec core sh -c '[ $COLOUR = green ]'", 90)
    assert machine.succeed("cat note; ls /tmp/mine 2>&1 || true", user="core").startswith("note\nls: ")
    aside = machine.succeed("docker ps -a --format '{{.Names}}' | grep '^core\\.20'").strip()
    assert machine.succeed(f"docker inspect -f '{{{{.HostConfig.RestartPolicy.Name}}}}' {aside}") == "no\n"
    # Made and not started; its user starts it.
    assert machine.succeed("echo second", user="other", timeout=90) == "second\n"
    assert machine.succeed("skiff-core plan") == "nothing to do\n"
    _an_editors_way(machine)
    with closing(Terminal(enter(machine, user="other", options=("-tt",)))) as terminal:
        terminal.wait_for("$ " if machine.execute("id -u", user="other").stdout != "0\n" else "# ")
        number = machine.succeed("id -u other").strip()
        machine.succeed("ps -o user,args | grep ^other")
        # The file alone is enough: the service sees it change.
        machine.succeed(f"cat >{CONFIG}", input=ONE.replace("blue", "green").encode())
        machine.wait_until_succeeds("! grep '^other:' /etc/passwd", 60)
        terminal.wait_for("closed", 30)
        # Without an account ps shows its number. The device has no pgrep.
        left = f"ps -o user,args >/tmp/ps && ! grep -e ^other -e '^{number} ' /tmp/ps"
        machine.wait_until_succeeds(left, 30)
    assert run(enter(machine, "id", user="other"), input=b"", check=False).returncode == 255


def _an_editors_way(machine: Device) -> None:
    """A shell without a terminal that stays and is told line by line; ports lead to its server, and back."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        here = free.getsockname()[1]
    back = f"8071:127.0.0.1:{machine.target().port}"
    words = enter(machine, "sh", user="other", options=("-T", "-D", str(here), "-R", back))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:

        def tell(line: str) -> str:
            assert shell.stdin is not None and shell.stdout is not None
            shell.stdin.write(f"{line}\n")
            shell.stdin.flush()
            return shell.stdout.readline()

        server = "mkdir /tmp/w; echo page >/tmp/w/index.html; httpd -p 127.0.0.1:8070 -h /tmp/w; echo $?"
        assert tell(server) == "0\n"
        argv = ["curl", "-s", "-m", "60", "--socks5-hostname", f"127.0.0.1:{here}", "http://127.0.0.1:8070/"]
        assert run(argv, timeout=90).stdout == b"page\n"
        # The machine's own SSH server, by way of this one.
        assert tell("nc 127.0.0.1 8071 </dev/null | head -c 8; echo").startswith("SSH-2.0-")
        assert tell("echo still here") == "still here\n"
        assert shell.stdin is not None
        shell.stdin.close()
        assert shell.wait(60) == 0


def _pulled(machine: Device, folder: Path) -> None:
    """Images of a registry under their own names; one that it has not is named; what is there needs none."""
    with registry_in(folder / "registry") as address:
        # The device reaches it at a port of its own.
        tunnel = ("-N", "-o", "ExitOnForwardFailure=yes", "-R", f"5000:{address}")
        with closing(Terminal(enter(machine, user="root", options=tunnel))):
            tag = "localhost:5000/os/box:1"
            machine.wait_until_succeeds(f"docker tag box {tag} && docker push {tag}", 120)
            machine.succeed(f"docker rmi {tag}")
            machine.succeed(f"cat >{CONFIG}", input=_FAR.encode())
            done = machine.execute("skiff-core apply", timeout=180)
            missed = "localhost:5000/os/none:1 cannot be pulled: the registry has no such image"
            assert done.status == 1 and missed in done.stderr, done.stderr
            done = machine.execute("true", user="other")
            assert done.status == 75 and missed in done.stderr
    configure(machine, _PULLED)
    assert machine.succeed("docker inspect -f '{{.Config.Image}}' core") == "os/box:1\n"
    assert machine.succeed("skiff-core plan") == "nothing to do\n"


def _after_a_power_cut(machine: Device) -> None:
    """All is as it was, with nobody's help."""
    machine.succeed("sync")
    machine.cut_power()
    machine.boot()
    machine.wait_until_succeeds("test -e /run/skiff/core/users/core")
    # The container does not run yet: the log-in waits for it.
    done = machine.execute("cat note; echo $COLOUR", user="core", timeout=180)
    assert done.stdout == "note\ngreen\n"
    machine.wait_for_unit("core", "running")
    assert machine.succeed("skiff-core plan") == "nothing to do\n"
    assert machine.failed() == {}


def push(machine: Device, folder: Path, dockerfile: str, branch: str = "main") -> tuple[int, str]:
    """Push a repository with that Dockerfile as somebody's git does; status, and what git shows."""
    if not (folder / ".git").exists():
        run(["git", "init", "-q", "-b", "main", str(folder)])
    (folder / "Dockerfile").write_text(dockerfile)
    run(["git", "-C", str(folder), "add", "Dockerfile"])
    run(["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x"])
    words = enter(machine)
    # git adds host and command itself, and takes the port from the address.
    env = {"GIT_SSH_COMMAND": shlex.join(words[:-1]), "GIT_SSH_VARIANT": "simple"}
    argv = ["git", "-C", str(folder), "push", f"{words[-1]}:env", f"HEAD:refs/heads/{branch}"]
    done = run(argv, env=env, input=b"", timeout=240, check=False)
    return done.returncode, done.stderr.decode()


@pytest.mark.timeout(1200)
def test_on_podman(device: MakeDevice, inits: Path, tmp_path: Path) -> None:
    machine = core_device(device, "podman")
    _a_pushed_environment(machine, tmp_path)
    # Else it counts instead of the image that the file names.
    machine.succeed("skiff-core unpush core", timeout=120)
    _init_systems(machine, inits, _SYSTEMD.replace("PRIVILEGED", "false"))
    assert machine.units()["core"].state != "fail"
    assert programs_that_fail(machine) == ""


def _a_pushed_environment(machine: Device, tmp_path: Path) -> None:
    """It takes the container's place when it is built and stays up, and is there after a power cut."""
    assert machine.succeed("id -un; pwd; echo $COLOUR", user="core").split() == [
        "core",
        "/home/core",
        "blue",
    ]
    machine.succeed("echo note >note; sync", user="core")
    data = os.urandom(300_000)
    assert run(enter(machine, "cat"), input=data, timeout=120).stdout == data
    with closing(Terminal(enter(machine, options=("-tt",)), rows=33, columns=101)) as terminal:
        terminal.wait_for("$ ")
        terminal.type("stty size\n")
        terminal.wait_for("33 101")

    folder = tmp_path / "env"
    status, shown = push(machine, folder, "FROM localhost/box\nRUN exit 3\n")
    assert status != 0
    assert "pre-receive hook declined" in shown
    assert machine.succeed("cat note", user="core") == "note\n"
    status, shown = push(machine, folder, "FROM localhost/box\nRUN echo one >/pushed\n", branch="trial")
    assert status != 0
    assert "trial is not built" in shown
    status, shown = push(machine, folder, "FROM localhost/box\nRUN echo two >/pushed\n")
    assert status == 0, shown
    assert machine.succeed("cat /pushed note; echo $COLOUR", user="core", timeout=120) == "two\nnote\nblue\n"
    assert machine.succeed("skiff-core plan") == "nothing to do\n"
    # One that ends at once is put back.
    status, shown = push(machine, folder, 'FROM localhost/box\nENTRYPOINT ["/bin/false"]\n')
    assert status != 0, shown
    assert machine.succeed("cat /pushed", user="core", timeout=120) == "two\n"
    machine.succeed("sync")
    machine.cut_power()
    machine.boot()
    machine.wait_until_succeeds("test -e /run/skiff/core/users/core")
    assert machine.execute("cat /pushed note", user="core", timeout=240).stdout == "two\nnote\n"


# 71 MB of packages are unpacked and configured by an emulated machine.
@pytest.mark.timeout(1500)
def test_debian_from_packages_alone(device: MakeDevice, tmp_path: Path) -> None:
    machine = device("virt/qemu", "engine/docker", "core/debian")
    machine.start(memory=768)
    machine.wait_for_ssh()
    machine.wait_for_persist()
    with mirror_for_devices() as url:
        machine.succeed(f"echo {url} >/mnt/persist/skiff/core/debian-mirror")
        machine.wait_until_succeeds("test -e /run/skiff/core/users/core")
        # Whoever logs in meanwhile is told how far it is, and lands in it in the end.
        done = machine.execute("id -un; pwd", user="core", timeout=1200)
    assert done.stdout.split() == ["core", "/home/core"], done.stderr
    assert "waiting for it" in done.stderr
    assert "packages:" in done.stderr
    assert machine.succeed(". /etc/os-release; echo $ID $VERSION_CODENAME", user="core") == "debian trixie\n"
    assert machine.succeed("sudo -n id -u", user="core") == "0\n"
    assert (
        machine.succeed("dpkg --audit; cat /mnt/persist/skiff/core/debs/* 2>/dev/null | wc -c", user="core")
        == "0\n"
    )

    # The programs that people use, in both directions, with their own settings file.
    target = machine.target()
    settings = tmp_path / "config"
    settings.write_text(
        f"Host box\n HostName {target.host}\n Port {target.port}\n User core\n"
        f" IdentityFile {target.keys[0]}\n IdentitiesOnly yes\n BatchMode yes\n LogLevel ERROR\n"
        " StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n"
    )
    data = os.urandom(200_000)
    (tmp_path / "there").write_bytes(data)
    run(["scp", "-F", str(settings), str(tmp_path / "there"), "box:by-scp"], timeout=60)
    run(["scp", "-F", str(settings), "box:by-scp", str(tmp_path / "back")], timeout=60)
    assert (tmp_path / "back").read_bytes() == data
    run(["sftp", "-F", str(settings), "-b", "-", "box"], input=b"rename by-scp by-sftp\nls\n", timeout=60)
    shell = f"ssh -F {settings}"
    run(["rsync", "-a", "-e", shell, str(tmp_path / "there"), "box:by-rsync"], timeout=60)
    run(["rsync", "-a", "-e", shell, "box:by-rsync", str(tmp_path / "again")], timeout=60)
    assert (tmp_path / "again").read_bytes() == data
    # git over SSH from inside, with the key of whoever logged in: the container's network is the device's.
    clone = (
        "git init -q --bare r.git; "
        "export GIT_SSH_COMMAND='ssh -o StrictHostKeyChecking=no'; "
        "git clone -q core@127.0.0.1:r.git c 2>&1; test -d c/.git"
    )
    socket = tmp_path / "agent"
    with closing(Terminal(["ssh-agent", "-D", "-a", str(socket)])):
        env = {"SSH_AUTH_SOCK": str(socket)}
        run(["sh", "-c", f"until ssh-add -q {target.keys[0]}; do sleep 0.2; done"], env=env, timeout=20)
        run(["ssh", "-F", str(settings), "-A", "box", clone], env=env, input=b"", timeout=60)


def _init_systems(machine: Device, inits: Path, config: str) -> None:
    """One is the container's first process, with a part of the tree of cgroups that it rules itself."""
    machine.succeed("docker import - localhost/inits", input=inits.read_bytes(), timeout=400)
    configure(machine, config)
    # `degraded` is a unit that failed, which some do in any container.
    machine.wait_until_succeeds(
        "docker exec core systemctl is-system-running | grep -e running -e degraded", 240
    )
    # The engine's exec has a place in the tree of cgroups that systemd made its own, and so has a unit.
    assert machine.succeed("id -un; cat /proc/1/comm", user="core", timeout=60).split() == ["core", "systemd"]
    limit = "systemd-run --quiet --unit=trial -p MemoryMax=50M sleep 1000 && systemctl is-active trial"
    machine.succeed(f"docker exec core sh -c '{limit}'", timeout=120)
    group = "/sys/fs/cgroup/system.slice/trial.service"
    assert machine.succeed(f"docker exec core cat {group}/memory.max") == f"{50 << 20}\n"
    assert machine.succeed("docker exec core cat /proc/1/cgroup") == "0::/init.scope\n"
    machine.succeed("docker stop -t 60 core", timeout=90)
    # 137 would be a kill: it did shut down.
    assert machine.succeed("docker inspect -f '{{.State.ExitCode}}' core").strip() != "137"
