"""What makes QEMU drop its translations, against a debugger's server in a few lines."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

from tests.vm import translations


def test_each_reset_is_followed_by_one_single_step(tmp_path: Path) -> None:
    """The machine is stopped, stepped and let go: anything less leaves it standing still."""
    heard: list[bytes] = []
    events, debugger = (socket.socket(socket.AF_UNIX) for _ in range(2))
    with events, debugger:
        events.bind(str(tmp_path / "events.sock"))
        debugger.bind(str(tmp_path / "debugger.sock"))
        events.listen()
        debugger.listen()
        for server in (events, debugger):
            server.settimeout(10)
        watcher = threading.Thread(target=translations.watch, args=(tmp_path,), daemon=True)
        watcher.start()
        monitor, _ = events.accept()
        with monitor:
            assert b"qmp_capabilities" in monitor.recv(4096)
            for event in ("RESUME", "RESET", "RESET"):
                monitor.sendall(json.dumps({"event": event}).encode() + b"\r\n")
            for _ in range(2):
                heard.append(_answered(debugger))
        watcher.join(10)
    assert heard == [b"+$s#73+$D#44+"] * 2
    assert not watcher.is_alive()


def _answered(debugger: socket.socket) -> bytes:
    """All that one debugger says, who is told what QEMU tells."""
    link, _ = debugger.accept()
    with link:
        link.settimeout(10)
        said = b""
        for packet, ending in (
            (b"$T02thread:01;#04", b"#73"),
            (b"+$T05thread:01;#07", b"#44"),
            (b"+$OK#9a", b"+"),
        ):
            link.sendall(packet)
            while not said.endswith(ending):
                part = link.recv(1)
                assert part, said
                said += part
        assert link.recv(1) == b""
    return said
