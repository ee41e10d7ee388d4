"""A real ACME server (pebble, Let's Encrypt's own for tests) that takes any name to this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CLIENT = Path("/usr/lib/python3/dist-packages/acme_tiny.py")
_PREFIX = "/.well-known/acme-challenge/"
_LONGEST = 15.0
# This machine as QEMU shows it.
AS_SEEN_BY_DEVICES = "10.0.2.2"


def needed() -> None:
    """Skip the test where the programs are not there."""
    if shutil.which("pebble") is None or shutil.which("pebble-challtestsrv") is None or not CLIENT.exists():
        pytest.skip("needs pebble and acme-tiny (packages of these names)")


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class _Proofs(SimpleHTTPRequestHandler):
    """Stands in for the router: files of one folder under the path of proofs."""

    def translate_path(self, path: str) -> str:
        name = path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else "none"
        return str(Path(self.directory) / Path(name).name)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


class Authority:
    """The server. directory is its address, certificate what its clients must trust.

    It looks for proofs in a folder, or at a port of this machine.
    """

    def __init__(self, folder: Path, proofs: Path, port_of_proofs: int = 0) -> None:
        folder.mkdir(parents=True)
        self.certificate = folder / "cert.pem"
        key = folder / "key.pem"
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        files = ["-keyout", str(key), "-out", str(self.certificate), "-subj", "/CN=localhost", "-days", "2"]
        names = ["-addext", f"subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{AS_SEEN_BY_DEVICES}"]
        subprocess.run([*words, *files, *names], check=True, capture_output=True)
        self._web = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Proofs, directory=str(proofs)))
        threading.Thread(target=self._web.serve_forever, args=(0.05,), daemon=True).start()
        port, names_port, manage = free_port(), free_port(), free_port()
        config = {
            "listenAddress": f"127.0.0.1:{port}", "managementListenAddress": f"127.0.0.1:{manage}",
            "certificate": str(self.certificate), "privateKey": str(key),
            "httpPort": port_of_proofs or self._web.server_port, "tlsPort": 1,
        }  # fmt: skip
        (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
        self.directory = f"https://localhost:{port}/dir"
        off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"127.0.0.1:{free_port()}"]
        dns = f"127.0.0.1:{names_port}"
        self._log = (folder / "log").open("wb")
        self._programs = [
            self._start(["pebble-challtestsrv", "-defaultIPv6", "", "-dns01", dns, *off]),
            self._start(["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", dns]),
        ]
        self._await(port)

    def _start(self, argv: list[str]) -> subprocess.Popen[bytes]:
        # It pauses and refuses at random else, so that clients are tested.
        env = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        return subprocess.Popen(argv, env=env, stdout=self._log, stderr=self._log)

    def _await(self, port: int) -> None:
        end = time.monotonic() + _LONGEST
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                assert time.monotonic() < end, "pebble does not come up"
                time.sleep(0.05)

    def lose_proofs(self) -> None:
        """Proofs are not found from now on."""
        self._web.RequestHandlerClass = partial(_Proofs, directory="/nowhere")

    def close(self) -> None:
        """End it."""
        for program in self._programs:
            program.kill()
            program.wait()
        self._log.close()
        self._web.shutdown()
        self._web.server_close()
