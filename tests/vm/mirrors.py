"""A Debian mirror whose lists agree with one another, for CPUs that few ask for.

A caching mirror can hold package lists of another day than the signed Release file beside them. Debian's
archive has each list under two names, `trixie` and `stable`: where one does not agree, the other may. It is
shown to Skiff as a dated mirror, because it may be past its date.
"""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from skiff.host.mirror import DEFAULT_MIRROR, host_mirror
from skiff.model.arch import Arch

_SUITES = (("debian", ""), ("debian", "-updates"), ("debian-security", "-security"))
# Others are fetched by so many that caches hold them as they are now.
_RARE = (Arch.ARMHF, Arch.RISCV64)
_LIST = "main/binary-{arch}/Packages.xz"


@contextmanager
def mirror_for(arch: Arch) -> Iterator[str | None]:
    """URL of such a mirror, while it is wanted; None where the host's own will do."""
    if arch not in _RARE:
        yield None
        return
    upstream = (host_mirror() or DEFAULT_MIRROR).removesuffix("/debian")
    if _agrees(upstream, "trixie", arch) or not _agrees(upstream, "stable", arch):
        yield None
        return
    with served(_redirecting_to(upstream)) as port:
        yield f"http://127.0.0.1:{port}/archive/debian/20260101T000000Z"


@contextmanager
def mirror_for_devices() -> Iterator[str]:
    """A mirror that devices reach under this URL: it hands on files of the host's own mirror."""
    upstream = (host_mirror() or DEFAULT_MIRROR).removesuffix("/debian")
    with served(_handing_on(upstream)) as port:
        # QEMU's user network shows the host's loopback under this address.
        yield f"http://10.0.2.2:{port}/debian"


@contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _agrees(upstream: str, suite: str, arch: Arch) -> bool:
    wanted = _LIST.format(arch=arch.debian)
    for archive, part in _SUITES:
        folder = f"{upstream}/{archive}/dists/{suite}{part}"
        signed = re.search(rf"^ ([0-9a-f]{{64}}) +\d+ {wanted}$", _get(f"{folder}/InRelease").decode(), re.M)
        if signed is None or hashlib.sha256(_get(f"{folder}/{wanted}")).hexdigest() != signed[1]:
            return False
    return True


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as answer:
        content: bytes = answer.read()
    return content


def _redirecting_to(upstream: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = re.sub(r"^/archive/([\w-]+)/\w+/", r"/\1/", self.path)
            self.send_response(302)
            self.send_header("Location", upstream + path.replace("/dists/trixie", "/dists/stable"))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _handing_on(upstream: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                content = _get(upstream + self.path)
            except OSError as error:
                self.send_error(502, str(error))
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
