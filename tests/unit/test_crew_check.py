"""Pre-flight checks against real sockets; the engine is a stand-in that says whether a container runs."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import check, deploy, engine
from skiff_device.crew.check import Check, Plan
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release, Running

ONE = Running("app.web.1-1", "web", 1, "127.0.0.1")


class Engine:
    """Containers by their state."""

    def __init__(self, **state: Any) -> None:
        self.state = {"Running": True, **state}
        self.restarts = 0
        self.answers = [(0, b"")]
        self.looks = 0
        self.healthy_at = 0
        self.config: dict[str, Any] = {}

    def inspect(self, name: str) -> dict[str, Any]:
        self.looks += 1
        if self.looks == self.healthy_at:
            self.state["Health"] = {"Status": "healthy"}
        return {"State": self.state, "RestartCount": self.restarts, "Config": self.config}

    def execute(self, name: str, argv: list[str], timeout: float) -> tuple[int, bytes]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def ready(engine: Engine, plan: Plan) -> list[str]:
    said: list[str] = []
    check.ready(cast("Any", engine), ONE, plan, said.append)
    return said


@pytest.fixture
def port() -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        tries = 0

        def do_GET(self) -> None:
            Handler.tries += 1
            status = 503 if self.path == "/late" and Handler.tries < 3 else 200
            self.send_response(404 if self.path == "/none" else status)
            self.end_headers()
            with suppress(OSError):
                while self.path == "/endless":
                    self.wfile.write(b": beat\n" * 1000)
                self.wfile.write(f"hello {self.headers['Host']}".encode())

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_port_that_is_listened_on(port: int) -> None:
    assert ready(Engine(), Plan((), port)) == [f"web.1: listens on port {port}"]


def test_a_port_that_nobody_listens_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "LONGEST", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(DeviceError, match="does not listen on port") as raised:
            ready(Engine(), Plan((), free.getsockname()[1]))
    assert "0.0.0.0" in raised.value.hint


def test_a_container_that_ends_is_no_release(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_NEXT_END", 0.3)
    with pytest.raises(DeviceError, match="ended with status 3"):
        ready(Engine(Running=False, ExitCode=3), Plan((), port))
    again = Engine()
    again.restarts = 1
    with pytest.raises(DeviceError, match="ended"):
        ready(again, Plan((), 0, uptime=0.1))


def test_without_a_port_it_must_stay_up() -> None:
    assert ready(Engine(), Plan((), 0, uptime=0.1)) == ["web.1: stayed up for 0.1 s"]


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (Check("http", path="/"), ""),
        (Check("http", path="/late", wait=5), ""),
        (Check("http", path="/", content="hello there", host="there"), ""),
        (Check("http", path="/none", wait=0.1, attempts=1), "status 404"),
        (Check("http", path="/", content="bye", wait=0.1, attempts=2), "does not hold 'bye'"),
        (Check("listening"), ""),
        (Check("uptime", uptime=0.1), ""),
        (Check("command", command=("true",)), ""),
    ],
)
def test_checks(port: int, one: Check, message: str) -> None:
    if not message:
        ready(Engine(), Plan((one,), port))
        return
    with pytest.raises(DeviceError, match=message):
        ready(Engine(), Plan((one,), port))


def test_an_answer_without_an_end_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(1000))
    clock = SimpleNamespace(monotonic=lambda: next(seconds), sleep=lambda _: None)
    monkeypatch.setattr(check, "time", clock)
    with pytest.raises(DeviceError, match="does not pass /endless: the answer does not end within 5 s"):
        ready(Engine(), Plan((Check("http", path="/endless", wait=0, attempts=1),), port))


def test_a_command_that_fails_tells_what_it_said() -> None:
    engine = Engine()
    engine.answers = [(1, b"no database\n")]
    with pytest.raises(DeviceError, match="does not pass a b: status 1 no database"):
        ready(engine, Plan((Check("command", command=("a", "b"), wait=0.1, attempts=1),), 0))


def test_health_of_the_image_comes_first() -> None:
    assert ready(Engine(Health={"Status": "healthy"}), Plan((), 1)) == ["web.1: healthy"]
    with pytest.raises(DeviceError, match="is not healthy: refused"):
        ready(Engine(Health={"Status": "unhealthy", "Log": [{"Output": "refused\n"}]}), Plan((), 1))


def test_health_is_waited_for_as_long_as_the_image_takes_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "LONGEST", 0)
    engine = Engine(Health={"Status": "starting"})
    engine.healthy_at = 4
    engine.config = {"Healthcheck": {"Interval": 300 * 10**9}}
    assert ready(engine, Plan((), 1)) == ["web.1: healthy"]
    engine = Engine(Health={"Status": "starting"})
    engine.config = {"Healthcheck": {"StartPeriod": 10**8, "Interval": 10**8, "Timeout": 10**8}}
    with pytest.raises(DeviceError, match="is not healthy: no answer"):
        ready(engine, Plan((), 1))


def test_a_checks_file_as_dokku_has_it() -> None:
    found = check.from_file(
        "# all\nWAIT=1\nTIMEOUT=2\nATTEMPTS=3\n/health ok then\n//other/x\nhttp://web.example.org/\n"
    )
    assert [(one.path, one.content, one.host) for one in found] == [
        ("/health", "ok then", ""),
        ("/x", "", "other"),
        ("/", "", "web.example.org"),
    ]
    assert {(one.wait, one.timeout, one.attempts) for one in found} == {(1, 2, 3)}
    with pytest.raises(DeviceError, match="CHECKS:2"):
        check.from_file("/a\nhealth\n")


def test_healthchecks_of_app_json() -> None:
    found = check.from_app_json(
        {
            "healthchecks": {
                "web": [
                    {"type": "startup", "name": "up", "path": "/h", "attempts": 2, "content": "x"},
                    {"type": "liveness", "path": "/never"},
                    {"type": "startup", "command": ["test", "-e", "/x"]},
                    {"type": "startup", "uptime": 3},
                    {"type": "startup", "listening": True, "port": 8080},
                ]
            }
        },
        "web",
    )
    assert [one.kind for one in found] == ["http", "command", "uptime", "listening"]
    assert found[0] == Check("http", "up", "/h", "x", attempts=2)
    assert found[3].port == 8080
    for wrong in (
        {"healthchecks": 1},
        {"healthchecks": {"web": [1]}},
        {"healthchecks": {"web": [{"wait": "x"}]}},
    ):
        with pytest.raises(DeviceError, match=r"app\.json: healthchecks"):
            check.from_app_json(wrong, "web")


@pytest.mark.parametrize(
    "said",
    ['"port": 65536', '"port": -1', '"port": 1e999', '"attempts": NaN', '"wait": NaN', '"timeout": Infinity'],
)
def test_numbers_of_app_json_that_are_none(said: str) -> None:
    app_json = json.loads(f'{{"healthchecks": {{"web": [{{"path": "/", {said}}}]}}}}')
    with pytest.raises(DeviceError, match=r"healthchecks\.web\[0\]"):
        check.from_app_json(app_json, "web")


@pytest.mark.parametrize("quantity", ["two", -1, 1.5, None, [1]])
def test_a_quantity_that_is_none(tmp_path: Path, quantity: object) -> None:
    formation = {"formation": {"web": {"quantity": quantity}}}
    made = Release(1, "", "push", "", "", processes={"web": None}, app_json=formation)
    with pytest.raises(DeviceError, match=r"formation\.web\.quantity"):
        deploy.scale_of(Paths(tmp_path), "app", made)


def test_a_command_that_writes_on_and_on_ends_in_time_and_its_end_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter(range(1000))
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr(engine, "frames", lambda _: ((1, b"%-40000d" % number) for number in range(100)))
    made = engine.Engine(Paths())
    monkeypatch.setattr(made, "ask", lambda *_, **__: {"Id": "x", "ExitCode": 0})
    monkeypatch.setattr(made, "open", lambda *_, **__: nullcontext())
    status, said = made.execute(ONE.name, ["yes"], timeout=5)
    assert status == 124
    assert len(said) == 1 << 16 and said.split()[-1] == b"5"
