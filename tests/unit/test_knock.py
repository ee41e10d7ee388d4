"""Waiting for an SSH server's greeting: lost connections do not hold it up, slow ones are listened to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from skiff.machine import knock
from skiff.machine.knock import Knocker

Serve = Callable[[Callable[[int, socket.socket], None]], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server whose handler gets the number of each connection; ends it with the test."""
    servers: list[tuple[socket.socket, threading.Thread]] = []

    def start(handler: Callable[[int, socket.socket], None]) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        taken: list[socket.socket] = []

        def loop() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    break
                taken.append(link)
                handler(len(taken), link)
            for link in taken:
                link.close()

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        servers.append((server, thread))
        return int(server.getsockname()[1])

    yield start
    for server, thread in servers:
        # One that is on its way to `accept` would take connections of the next socket with this number.
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        server.close()


def test_a_later_connection_is_greeted_though_the_first_ones_are_lost(serve: Serve) -> None:
    port = serve(lambda number, link: link.sendall(b"SSH-2.0-test\r\n") if number == 3 else None)
    with Knocker("127.0.0.1", port) as knocker:
        assert knocker.greeted(10)


def test_nothing_is_sent_to_a_network_that_is_not_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    # However late this process is.
    monkeypatch.setattr(knock, "_UNSEEN", 60.0)
    seen: list[int] = []
    looks: list[bool] = []

    def handler(number: int, link: socket.socket) -> None:
        seen.append(len(looks))
        link.sendall(b"SSH-2.0-test\r\n")

    def is_up() -> bool:
        looks.append(len(looks) >= 4)
        return looks[-1]

    with Knocker("127.0.0.1", serve(handler), is_up) as knocker:
        assert knocker.greeted(10)
    assert min(seen) >= 5


def test_one_that_never_seems_to_be_up_is_tried_all_the_same(serve: Serve) -> None:
    port = serve(lambda number, link: link.sendall(b"SSH-2.0-test\r\n"))
    with Knocker("127.0.0.1", port, lambda: False) as knocker:
        assert knocker.greeted(10)


def test_an_older_connection_is_still_listened_to(serve: Serve) -> None:
    first: list[socket.socket] = []

    def handler(number: int, link: socket.socket) -> None:
        first.append(link)
        if number == 3:
            first[0].sendall(b"SSH-2.0-test\r\n")

    with Knocker("127.0.0.1", serve(handler)) as knocker:
        assert knocker.greeted(10)


def test_a_server_that_hangs_up_or_speaks_otherwise_is_none(serve: Serve) -> None:
    def handler(number: int, link: socket.socket) -> None:
        link.sendall(b"220 mail\r\n")
        link.shutdown(socket.SHUT_RDWR)

    with Knocker("127.0.0.1", serve(handler)) as knocker:
        assert not knocker.greeted(0.5)


def test_a_closed_port_is_none() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with Knocker("127.0.0.1", unused.getsockname()[1]) as knocker:
            assert not knocker.greeted(0.5)
