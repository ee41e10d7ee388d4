"""Stands in for the `docker` command: containers and images in one JSON file, every call recorded.

Files beside it change how it behaves: `down` (no engine), `die` (a number: the caller is killed after so
many changes, as by a power cut), `broken` (words of a command that does not start), `unnamable` (an image,
and what is said of its name), `owner` (the number that owns any home). `passwd` is all containers', but of
those with a `passwd.NAME`. It is a program, and `call` is the same for who wants no process.
"""

import io
import json
import os
import signal
import sys
import tarfile
from pathlib import Path
from typing import Any, NoReturn

CHANGES = ("create", "start", "stop", "rename", "update", "rm", "pull", "build", "tag")
WITH_VALUE = (
    "name label volume entrypoint env restart stop-signal workdir cap-add security-opt tmpfs publish dns "
    "dns-search add-host tag file build-arg"
)
NAMED = {f"--{name}" for name in WITH_VALUE.split()}


class Failure(Exception):
    """What goes to stderr of a call that fails."""


def fail(text: str) -> NoReturn:
    raise Failure(f"Error response from daemon: {text}\n")


def options(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    found: dict[str, list[str]] = {}
    while words and words[0].startswith("-"):
        name, equals, value = words[0].partition("=")
        if name in NAMED and not equals:
            value = words[1]
            words = words[1:]
        found.setdefault(name, []).append(value)
        words = words[1:]
    return found, words


def labels(given: dict[str, list[str]]) -> dict[str, str]:
    return dict(one.split("=", 1) for one in given.get("--label", []))


class Docker:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.out = b""
        path = home / "state.json"
        self.state: dict[str, Any] = {"containers": {}, "images": {}, "remote": {}, "next": 1}
        if path.exists():
            self.state = json.loads(path.read_text())

    def save(self) -> None:
        (self.home / "state.json").write_text(json.dumps(self.state))

    def say(self, line: str) -> None:
        self.out += line.encode() + b"\n"

    def number(self) -> str:
        self.state["next"] += 1
        return f"{self.state['next']:064x}"

    def find(self, name: str) -> Any:
        for key, one in self.state["containers"].items():
            if name in (key, one["Id"]):
                return one
        fail(f"No such container: {name}")

    def create(self, words: list[str]) -> None:
        given, rest = options(words)
        name = given["--name"][0]
        if name in self.state["containers"]:
            fail(f"Conflict. The container name {name} is already in use")
        if rest[0] not in self.state["images"]:
            fail(f"No such image: {rest[0]}")
        self.state["containers"][name] = {
            "Id": self.number(),
            "Name": f"/{name}",
            "Image": self.state["images"][rest[0]]["Id"],
            "Config": {"Labels": labels(given), "User": "", "Cmd": rest[1:]},
            "HostConfig": {"RestartPolicy": {"Name": given.get("--restart", ["no"])[0]}},
            "State": {"Status": "created", "ExitCode": 0, "Error": ""},
        }

    def start(self, words: list[str]) -> None:
        one = self.find(words[0])
        broken = self.home / "broken"
        if broken.exists() and broken.read_text() in " ".join(one["Config"]["Cmd"]):
            one["State"]["Error"] = "exec: no such program"
            self.save()
            fail("failed to create task: exec: executable file not found in $PATH")
        one["State"]["Status"] = "running"

    def stop(self, words: list[str]) -> None:
        self.find(words[0])["State"]["Status"] = "exited"

    def rename(self, words: list[str]) -> None:
        if words[1] in self.state["containers"]:
            fail(f"Conflict. The container name {words[1]} is already in use")
        one = self.find(words[0])
        self.state["containers"][words[1]] = self.state["containers"].pop(one["Name"][1:])
        one["Name"] = "/" + words[1]

    def update(self, words: list[str]) -> None:
        given, rest = options(words)
        self.find(rest[0])["HostConfig"]["RestartPolicy"]["Name"] = given["--restart"][0]

    def rm(self, words: list[str]) -> None:
        del self.state["containers"][self.find(words[-1])["Name"][1:]]

    def pull(self, words: list[str]) -> None:
        self.unnamable(words[0])
        if words[0] not in self.state["remote"]:
            fail("Get https://registry/v2/: dial tcp: lookup registry: no such host")
        self.say(f"Status: Downloaded newer image for {words[0]}")
        self.state["images"][words[0]] = {"Id": self.number(), "Config": {}}

    def tag(self, words: list[str]) -> None:
        self.state["images"][words[1]] = self.state["images"][words[0]]

    def build(self, words: list[str]) -> None:
        given, _ = options(words)
        text = Path(given["--file"][0]).read_text()
        if "FAIL" in text:
            fail("The command '/bin/sh -c FAIL' returned a non-zero code: 1")
        self.say("Step 1/1 : " + text.splitlines()[0])
        image = {"Id": self.number(), "Config": {"Labels": labels(given), "Cmd": ["/bin/sh"]}}
        self.state["images"][given["--tag"][0]] = image

    def unnamable(self, name: str) -> None:
        path = self.home / "unnamable"
        bad, _, said = path.read_text().partition("\n") if path.exists() else ("", "", "")
        if name == bad:
            fail(said)

    def look(self, argv: list[str]) -> None:
        if argv[:2] == ["image", "inspect"]:
            self.unnamable(argv[2])
            if argv[2] not in self.state["images"]:
                fail(f"No such image: {argv[2]}")
            self.say(json.dumps([self.state["images"][argv[2]]]))
        elif argv[:2] == ["container", "inspect"]:
            self.say(json.dumps([self.find(name) for name in argv[2:]]))
        elif argv[0] == "ps":
            self.say("\n".join(one["Id"] for one in self.state["containers"].values()))
        elif argv[0] == "cp":
            own = self.home / f"passwd.{argv[-2].partition(':')[0]}"
            data = (own if own.exists() else self.home / "passwd").read_bytes()
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as archive:
                member = tarfile.TarInfo("passwd")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            self.out += packed.getvalue()
        elif argv[0] == "exec" and "useradd" in argv:
            self.useradd(argv)
        elif argv[0] == "exec" and "adduser" in argv:
            fail('exec: "adduser": executable file not found in $PATH')
        elif argv[0] == "exec" and "stat" in argv:
            owner = self.home / "owner"
            if not owner.exists():
                fail(f"stat: cannot statx '{argv[-1]}': No such file or directory")
            self.say(owner.read_text())

    def useradd(self, argv: list[str]) -> None:
        path = self.home / "passwd"
        taken = {line.split(":")[2] for line in path.read_text().splitlines()}
        uid = argv[argv.index("--uid") + 1] if "--uid" in argv else str(max(int(one) for one in taken) + 1)
        if uid in taken:
            fail(f"useradd: UID {uid} is not unique")
        with path.open("a") as file:
            file.write(f"{argv[-1]}:x:{uid}:{uid}::/home/{argv[-1]}:/bin/bash\n")

    def change(self, argv: list[str], caller: int) -> None:
        die = self.home / "die"
        if die.exists():
            left = int(die.read_text())
            if left == 0:
                os.kill(caller, signal.SIGKILL)
                fail("the caller is gone")
            die.write_text(str(left - 1))
        words = [word for word in argv[1:] if word not in ("--pull=never", "--force", "--all")]
        getattr(self, argv[0])(words)
        self.save()


def call(home: Path, argv: list[str], caller: int) -> tuple[int, bytes, str]:
    """Exit status, stdout and stderr of one call; caller is the process that `die` kills."""
    with (home / "calls").open("a") as file:
        file.write(json.dumps(argv) + "\n")
    if (home / "down").exists():
        return 1, b"", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n"
    docker = Docker(home)
    try:
        if argv[0] in CHANGES:
            docker.change(argv, caller)
        else:
            docker.look(argv)
    except Failure as failure:
        return 1, docker.out, str(failure)
    return 0, docker.out, ""


if __name__ == "__main__":
    status, out, err = call(Path(os.environ["FAKE_DOCKER"]), sys.argv[1:], os.getppid())
    sys.stdout.buffer.write(out)
    sys.stderr.write(err)
    sys.exit(status)
