"""The internet of the tests of `skiff port`: engine, registry, repositories and web server, all local."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from skiff.builders.debian.one_package import find_package, package_file
from skiff.host.dirs import cache_dir
from skiff.host.ports import free_port
from skiff.host.run import CommandError, Process, run, spawn
from skiff.model.arch import Arch
from tests.vm.driver import HarnessError
from tests.vm.mirrors import mirror_for

# Debian's docker command is found before another that may lie in /usr/local.
PATH = f"/usr/bin:{os.environ['PATH']}"
DOCKER = shutil.which("docker", path=PATH) or "docker"
EMULATED = "--setup-emulation"
_CPUS = (Arch.AMD64, Arch.ARM64, Arch.RISCV64)
_START = 60.0
_AUTHOR = ("-c", "user.name=Tests", "-c", "user.email=tests@example.org", "-c", "commit.gpgsign=false")


def busybox(arch: Arch) -> Path:
    """Debian's static busybox for a CPU: all that the images of these tests consist of."""
    with mirror_for(arch) as mirror:
        package = find_package(arch, "busybox-static", cache_dir(), mirror, lambda _: None)
        return package_file(package, "usr/bin/busybox", arch, cache_dir(), mirror)


class World:
    """Everything is below ``folder`` and ends with the block of `world`."""

    def __init__(self, folder: Path, socket: Path, registry: str, web: str) -> None:
        self.folder = folder
        self.registry = registry
        # Address of the web server, which serves `folder/web`.
        self.web = web
        self.env = {
            "PATH": PATH,
            "DOCKER_HOST": f"unix://{socket}",
            "SKIFF_CACHE": str(folder / "cache"),
            "HOME": str(folder),
        }
        self.library = folder / "official"
        (self.library / "library").mkdir(parents=True)

    def docker(self, *words: str) -> str:
        """What docker prints."""
        return run([DOCKER, *words], env=self.env, input=b"").stdout.decode()

    def build(self, folder: Path, tag: str, *words: str) -> None:
        """Build an image as anybody does, without Skiff."""
        argv = [DOCKER, "build", "--quiet", "--network", "host", "--tag", tag, *words, str(folder)]
        run(argv, env={**self.env, "DOCKER_BUILDKIT": "1"}, input=b"")

    def argv(self, *words: str) -> list[str]:
        """The command line of `skiff port` in this world."""
        own = ["--network", "host", "--library", str(self.library)]
        return [sys.executable, "-m", "skiff", "port", *own, *words]

    def port(self, *words: str, env: Mapping[str, str] = {}) -> str:
        """Run `skiff port`; what it prints. Raises CommandError, with what it said, when it fails."""
        done = run(self.argv(*words), env={**self.env, **env}, cwd=self.folder, input=b"", timeout=900)
        return done.stdout.decode() + done.stderr.decode()

    def refused(self, *words: str, status: int = 2, env: Mapping[str, str] = {}) -> str:
        """Run `skiff port`, which must fail as something that a user can mend; its one message."""
        try:
            said = self.port(*words, env=env)
        except CommandError as error:
            assert error.status == status, error
            assert error.output.count("skiff: error:") == (status == 2), error.output
            assert "Traceback" not in error.output
            return error.output
        raise AssertionError(f"it did not fail:\n{said}")

    def ported(self, *words: str) -> dict[str, Any]:
        """Run `skiff port --json`; its answer."""
        done = run(self.argv("--json", *words), env=self.env, cwd=self.folder, input=b"", timeout=900)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def folder_of(self, name: str, files: Mapping[str, str | bytes]) -> Path:
        """A folder with files; programs are executable."""
        folder = self.folder / name
        for path, content in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
            if isinstance(content, bytes):
                file.chmod(0o755)
        return folder

    def repository(self, name: str, files: Mapping[str, str | bytes]) -> tuple[str, str]:
        """A git repository with one commit; its address and the commit."""
        folder = self.folder_of(name, files)
        run(["git", "init", "--quiet", folder])
        run(["git", "-C", folder, "add", "--all"])
        run(["git", "-C", folder, *_AUTHOR, "commit", "--quiet", "--message", "x"])
        commit = run(["git", "-C", folder, "rev-parse", "HEAD"]).stdout.decode().strip()
        return f"file://{folder}", commit

    def official(self, name: str, text: str) -> None:
        """An image of the library of official images."""
        (self.library / "library" / name).write_text(text)

    def add_tiny(self) -> None:
        """`tiny:1` in the official library, with a folder for each CPU, as base images have it."""
        files: dict[str, str | bytes] = {}
        for arch in _CPUS:
            files[f"{arch.library}/busybox"] = busybox(arch).read_bytes()
            files[f"{arch.library}/Dockerfile"] = (
                "FROM scratch\nCOPY busybox /bin/busybox\n"
                'RUN ["/bin/busybox", "--install", "-s", "/bin"]\nCMD ["sh"]\n'
            )
        url, commit = self.repository("tiny", files)
        names = [arch.library for arch in _CPUS]
        own = "".join(f"{name}-GitCommit: {commit}\n{name}-Directory: {name}\n" for name in names)
        # The commit for all CPUs is of no repository: those of each CPU have to be taken.
        head = f"Maintainers: A (@b)\nGitRepo: {url}\nGitCommit: {'0' * 40}\n"
        self.official("tiny", f"{head}\nTags: 1, latest\nArchitectures: {', '.join(names)}\n{own}")

    def newer_docker(self) -> dict[str, str]:
        """Environment with the docker command of Debian 13 and its plug-in buildx, on any machine."""
        folder, arch = self.folder / "newer", Arch.host()
        for package, path, target in (
            ("docker-cli", "usr/bin/docker", "bin/docker"),
            ("docker-buildx", "usr/libexec/docker/cli-plugins/docker-buildx", "cli-plugins/docker-buildx"),
        ):
            found = find_package(arch, package, cache_dir(), None, lambda _: None)
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package_file(found, path, arch, cache_dir(), None), folder / target)
            (folder / target).chmod(0o755)
        return {"PATH": f"{folder}/bin:{PATH}", "DOCKER_CONFIG": str(folder)}

    def outcomes(self, answer: dict[str, Any]) -> dict[str, str]:
        """What was done for each node: `image platform` → outcome."""
        return {f"{one['image']} {one['platform']['arch']}": one["outcome"] for one in answer["nodes"]}

    def in_registry(self, name: str) -> dict[str, Any] | None:
        """The manifest under a name in the registry; None without one."""
        argv = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{self.registry}/{name}"]
        done = run(argv, input=b"", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def names(self) -> set[str]:
        """Names that people use in the engine: not those that Skiff remembers its work by."""
        listed = self.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
        return {name for name in listed if not name.startswith("localhost/skiff-port:")}


def podman_of(folder: Path, registry: str) -> dict[str, str]:
    """Environment of a podman with everything below ``folder``, which asks that registry without TLS.

    Where these tests run, nobody may raise limits, and the tree of cgroups may be of both kinds.
    """
    settings = {
        "CONTAINERS_CONF": '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nlock_type = "file"\n'
        'runtime = "runc"\n'
        f'tmp_dir = "{folder}/tmp"\n',
        "CONTAINERS_STORAGE_CONF": f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/storage"\n'
        f'runroot = "{folder}/run"\n',
        "CONTAINERS_REGISTRIES_CONF": f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n',
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in settings.items():
        (folder / name).write_text(text)
    return {name: str(folder / name) for name in settings}


@contextmanager
def world() -> Iterator[World]:
    """Start everything; end it by the processes that were started."""
    with ExitStack() as stack:
        # Short: paths of sockets may have 107 characters.
        folder = Path(tempfile.mkdtemp(prefix="skiff-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        socket = stack.enter_context(engine(folder / "engine"))
        registry = stack.enter_context(registry_in(folder / "registry"))
        web = stack.enter_context(_web(folder / "web"))
        yield World(folder, socket, registry, web)


@contextmanager
def engine(folder: Path) -> Iterator[Path]:
    """An engine of our own; its socket. Others on this machine do not meet it."""
    folder.mkdir(parents=True)
    socket = folder / "sock"
    words = ["dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    words += ["--host", f"unix://{socket}", "--pidfile", str(folder / "pid")]
    # Builds use this machine's network; no bridge and no rules of a firewall are made.
    words += ["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"]
    with (folder / "log").open("wb") as log:
        process = spawn(words, stdout=log, stderr=log, env={"PATH": PATH}, new_session=True)
        with _ending(process):
            probe = [DOCKER, "--host", f"unix://{socket}", "version"]
            _wait(
                lambda: run(probe, env={"PATH": PATH}, check=False).returncode == 0, process, folder / "log"
            )
            yield socket
    # Containers with this machine's network leave it mounted, and the folder could not be removed.
    for left in (folder / "exec" / "netns").glob("*"):
        run(["umount", left], check=False)


@contextmanager
def registry_in(folder: Path) -> Iterator[str]:
    """A registry that keeps its images there; its address."""
    folder.mkdir()
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": address},
    }
    (folder / "config.yml").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = spawn(["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log)
        with _ending(process):
            probe = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{address}/no:1"]
            _wait(lambda: b"unknown" in run(probe, check=False).stderr, process, folder / "log")
            yield address


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _web(folder: Path) -> Iterator[str]:
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _ending(process: Process) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(_START)


def _wait(good: Callable[[], bool], process: Process, log: Path) -> None:
    deadline = time.monotonic() + _START
    while not good():
        if process.poll() is not None or time.monotonic() > deadline:
            raise HarnessError(
                f"{log} tells why it did not start:\n{log.read_text(errors='replace')[-2000:]}"
            )
        time.sleep(0.1)
