"""Plays QEMU: records its words, then behaves as $FAKE_QEMU (JSON) says.

Keys: `refuse` (message, then exit 1) · `dies` (ends right after start-up) · `console` (text of the guest) ·
`ssh` (whether the guest greets; default true) · `kvm` (what a trial boot prints; absent: it fails as a host
with an unusable KVM does) · `deaf` (ignores the control socket and SIGTERM).
"""

from __future__ import annotations

import itertools
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path

BEHAVIOUR = json.loads(os.environ.get("FAKE_QEMU", "{}"))


def main() -> int:
    words = sys.argv[1:]
    with Path(os.environ["FAKE_LOG"], "qemu.jsonl").open("a") as log:
        log.write(json.dumps(sys.argv) + "\n")
    if words == ["--version"]:
        print("QEMU emulator version 9.9 (a fake)")
        return 0
    if "-daemonize" not in words:
        return trial()
    if "refuse" in BEHAVIOUR:
        print(f"qemu-system: {BEHAVIOUR['refuse']}", file=sys.stderr)
        return 1
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.close(ready)
        os.setsid()
        guest(words, tell)
        os._exit(0)
    os.close(tell)
    return 0 if os.read(ready, 1) else 1


def trial() -> int:
    if "kvm" in BEHAVIOUR:
        print(BEHAVIOUR["kvm"])
        return 0
    print("qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69", file=sys.stderr)
    return 134


def value(words: list[str], option: str, key: str) -> str:
    """The value of `key=` in the first argument of an option that has it."""
    for name, argument in itertools.pairwise(words):
        if name == option:
            for part in argument.split(","):
                if part.startswith(key + "="):
                    return part.removeprefix(key + "=")
    raise SystemExit(f"no {option} with {key}")


def guest(words: list[str], tell: int) -> None:
    pid_file = Path(words[words.index("-pidfile") + 1])
    pid_file.write_text(f"{os.getpid()}\n")
    with Path(os.environ["FAKE_LOG"], "guests").open("a") as log:
        log.write(f"{os.getpid()}\n")
    Path("console.log").write_text(BEHAVIOUR.get("console", "Linux version 9.9\n"))
    control, console = listen("qmp.sock"), listen("console.sock")
    forward = socket.create_server(("127.0.0.1", int(value(words, "-netdev", "hostfwd").split(":")[2][:-1])))
    os.write(tell, b"r")
    os.close(tell)
    if BEHAVIOUR.get("dies"):
        pid_file.unlink()
        return
    if BEHAVIOUR.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(control, console, forward)
    pid_file.unlink()


def listen(path: str) -> socket.socket:
    Path(path).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    return server


def serve(control: socket.socket, console: socket.socket, forward: socket.socket) -> None:
    waiting: list[socket.socket] = []
    with selectors.DefaultSelector() as selector:
        for listener in (control, console, forward):
            selector.register(listener, selectors.EVENT_READ, listener)
        while True:
            for key, _ in selector.select():
                server: socket.socket = key.data
                link, _ = server.accept()
                if server is forward:
                    # A guest without a server: QEMU has taken the connection, nothing comes.
                    if BEHAVIOUR.get("ssh", True):
                        link.sendall(b"SSH-2.0-fake\r\n")
                    waiting.append(link)
                elif server is console:
                    link.sendall(b"guest says: " + link.recv(1024))
                    link.close()
                elif not BEHAVIOUR.get("deaf") and answer(link):
                    return


def answer(link: socket.socket) -> bool:
    """Serve one control connection; whether it asked QEMU to quit."""
    with link, link.makefile("rwb") as stream:
        stream.write(b'{"QMP": {}}\n')
        stream.flush()
        for line in stream:
            command = json.loads(line)["execute"]
            stream.write(b'{"event": "RESUME"}\n{"return": {}}\n')
            stream.flush()
            if command == "quit":
                return True
    return False


sys.exit(main())
