"""Variables of apps: any byte that Linux takes, on the way in, on disk, in containers and on the way out."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import deploy, raw_env, service_spec, store
from skiff_device.crew.command import Caller
from tests.tool.crew_device import CrewDevice
from tests.tool.fake_engine import Container

EVERY = bytes(range(1, 256))
EVERY_TEXT = EVERY.decode(errors="surrogateescape")
DEPLOYER = Caller("anna", "deploy", ("app",))
BUSYBOX = Path("/usr/bin/busybox")


@pytest.fixture
def app(crew: CrewDevice) -> CrewDevice:
    crew.app("app")
    put_busybox(crew, b"\x7fELF static")
    image = crew.engine.images["crew/app:1"]
    image["Config"] |= {"Entrypoint": ["/start"], "Cmd": ["usual"]}
    return crew


def put_busybox(crew: CrewDevice, data: bytes) -> None:
    program = crew.paths.root / "usr/bin/busybox"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_bytes(data)


def newest(crew: CrewDevice) -> Container:
    return list(crew.engine.containers.values())[-1]


def set_every(crew: CrewDevice, name: str = "ODD") -> None:
    word = f"{name}={base64.b64encode(EVERY).decode()}"
    done = crew.run("config:set", "--encoded", "app", word, caller=DEPLOYER)
    assert done.status == 0, done.err


def test_every_byte_is_kept_and_told_as_it_is(app: CrewDevice) -> None:
    set_every(app)
    assert store.env(app.paths, "app") == {"ODD": EVERY_TEXT}
    # A file of JSON, as any reader of JSON takes it.
    assert json.loads((app.paths.app("app") / "env.json").read_bytes().decode())["ODD"] == EVERY_TEXT
    assert app.run("config:get", "app", "ODD").out == EVERY + b"\n"
    assert EVERY in app.run("config:show", "app").out
    assert json.loads(app.run("config:show", "--json", "app").out) == {"ODD": EVERY_TEXT}
    before = len(app.engine.containers)
    again = f"ODD={base64.b64encode(EVERY).decode()}"
    assert "nothing changed" in app.run("config:set", "--encoded", "app", again).err
    assert len(app.engine.containers) == before


@pytest.mark.parametrize("form", ["json", "envfile"])
def test_what_was_exported_is_imported(app: CrewDevice, form: str) -> None:
    set_every(app)
    app.run("config:set", "app", "UTF=ä\u2028\x0c€", 'QUOTES=it\'s "so"', "EMPTY=", "EDGE= a ")
    told = app.run("config:export", "--format", form, "app").out
    before = store.env(app.paths, "app")
    app.run("config:clear", "--no-restart", "app")
    assert app.run("config:import", "app", stdin=told).status == 0
    assert store.env(app.paths, "app") == before


def test_so_is_what_was_exported_for_a_shell(app: CrewDevice) -> None:
    words = ('QUOTES=it\'s "so"', "PLAIN=a", "EDGE= a ", "UTF=ä\u2028\x0c€", "ODD=\udcff")
    app.run("config:set", "app", *words, "LINES= a \n\n'B=b'\n#c\n ", "END=\n")
    told = app.run("config:export", "app").out
    before = store.env(app.paths, "app")
    app.run("config:clear", "--no-restart", "app")
    assert app.run("config:import", "app", stdin=told).status == 0
    assert store.env(app.paths, "app") == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b'{"A": "\\ud800"}', "A: a variable holds any byte but NUL"),
        (b'{"A": "x\\u0000"}', "A: a variable holds any byte but NUL"),
        (b"A=1\nB='two", "line 2: B: the quotes do not fit"),
        (b"A='1\n2'\nB='two\nC", "line 3: B: the quotes do not fit"),
        (b"A='1\n2' 3\nB=", "line 1: A: the quotes do not fit"),
        (b'{"A": ' + b"[" * 100_000, "this is no JSON"),
        (b"A='x' 'y'", "line 1: A: the quotes do not fit"),
        (b"A=" + b"\xff" * (121 << 10), "line 1: A: longer than 120 KiB"),
    ],
)
def test_what_no_variable_can_hold_is_refused_by_name(app: CrewDevice, given: bytes, said: str) -> None:
    done = app.run("config:import", "app", stdin=given)
    assert done.status == 1 and said in done.err
    assert store.env(app.paths, "app") == {} and not app.engine.argvs


def test_quotes_are_a_shells(app: CrewDevice) -> None:
    given = b"export A='it'\\''s\ntwo' \n# it='s\nB='x'\r\n\nC=it's a \nD=\"a\\nb\"\n"
    assert app.run("config:import", "app", stdin=given).status == 0
    assert store.env(app.paths, "app") == {"A": "it's\ntwo", "B": "x", "C": "it's a", "D": "a\nb"}


def test_a_container_gets_bytes_that_engines_cannot_carry(app: CrewDevice) -> None:
    set_every(app)
    app.run("config:set", "app", "PLAIN=ä")
    made = newest(app)
    assert made.env["PLAIN"] == "ä" and "ODD" not in made.env
    file = app.paths.app("app") / "variables" / made.name
    assert f"{file}:/.crew/variables:ro" in made.options["--volume"]
    assert made.options["--entrypoint"] == ["/.crew/busybox"]
    assert made.argv == ["sh", "/.crew/variables", "/start", "work"]
    # Any user in the container reads it, nobody else on the device.
    assert file.stat().st_mode & 0o777 == 0o444 and file.parent.stat().st_mode & 0o777 == 0o700
    # That of the release before went with its container, and the last one goes with the variable.
    assert [path.name for path in file.parent.iterdir()] == [made.name]
    app.run("config:unset", "app", "ODD")
    assert not list(file.parent.iterdir())


@pytest.mark.skipif(not BUSYBOX.exists(), reason="needs busybox")
def test_busybox_makes_of_the_file_what_was_set(app: CrewDevice, tmp_path: Path) -> None:
    set_every(app)
    assert app.run("run:detached", "app", "one", "two").status == 0
    one_off = newest(app)
    assert one_off.argv[:3] == ["sh", "/.crew/variables", "/start"] and one_off.argv[3:] == ["one", "two"]
    file = app.paths.app("app") / "variables" / one_off.name
    said = subprocess.run(
        [BUSYBOX, "sh", file, shutil.which("printenv") or "printenv", "ODD"], capture_output=True, check=True
    )
    assert said.stdout == EVERY + b"\n"


def test_a_program_in_a_running_container_gets_them_too(app: CrewDevice) -> None:
    name = "app.worker.1-1"
    assert raw_env.before(app.paths, "app", name) == []
    set_every(app)
    assert raw_env.before(app.paths, "app", newest(app).name) == ["/.crew/busybox", "sh", "/.crew/variables"]


def test_where_there_is_no_way_the_variable_is_named(app: CrewDevice) -> None:
    set_every(app, "FIRST")
    before = newest(app).name
    app.run("docker-options:add", "--no-restart", "app", "deploy", "--entrypoint", "/other")
    done = app.run("ps:restart", "app")
    assert done.status == 1 and "FIRST: bytes that are not UTF-8 do not go with" in done.err
    app.run("docker-options:clear", "--no-restart", "app", "deploy")
    put_busybox(app, b"\x7fELF" + b"\0" * 100 + b"/lib/ld-musl-x86_64.so.1\0")
    done = app.run("ps:restart", "app")
    assert done.status == 1 and "FIRST: bytes that are not UTF-8 need a static busybox" in done.err
    (app.paths.root / "usr/bin/busybox").unlink()
    assert "need a static busybox" in app.run("ps:restart", "app").err
    # What served goes on.
    assert newest(app).name == before and newest(app).running
    with pytest.raises(Exception, match="not UTF-8, which a cluster does not take: FIRST"):
        service_spec.unfit(app.paths, "app")


def test_a_backup_has_them(app: CrewDevice) -> None:
    set_every(app)
    saved = app.run("backup:export", "app").out
    app.run("apps:destroy", "--force", "app")
    assert app.run("backup:import", stdin=saved).status == 0
    assert store.env(app.paths, "app") == {"ODD": EVERY_TEXT}


# Into effect


def test_one_app_that_does_not_come_up_does_not_keep_the_others(crew: CrewDevice) -> None:
    for name in ("a", "b", "c"):
        crew.app(name)
    image = crew.engine.images.pop("crew/a:1")
    del crew.engine.images[image["Id"]]
    words = ("config:set", "--global", "TZ=Europe/Berlin")
    done = crew.run(*words)
    assert done.status == 1 and "a: No such image" in done.err
    assert list(crew.engine.containers) == ["a.worker.1-1", "b.worker.1-2", "c.worker.1-2"]
    assert crew.engine.containers["c.worker.1-2"].env["TZ"] == "Europe/Berlin"
    # Again, it is for those that have it not yet.
    assert crew.run(*words).status == 1
    crew.engine.images[image["Id"]] = image
    assert crew.run(*words).status == 0
    assert sorted(crew.engine.containers) == ["a.worker.1-2", "b.worker.1-2", "c.worker.1-2"]
    assert crew.run(*words).err == "nothing changed\n"


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (("config:set", "app", "A=2", "B=2"), b""),
        (("config:unset", "app", "A"), b""),
        (("config:clear", "app"), b""),
        (("config:import", "--replace", "app"), b"B=2\n"),
    ],
)
def test_what_does_not_come_up_is_as_before_and_may_be_set_again(
    app: CrewDevice, words: tuple[str, ...], stdin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.run("config:set", "app", "A=1")

    def redeploy(*_: object) -> None:
        # Meanwhile somebody else sets another one.
        store.change_env(app.paths, "app", lambda env: env.update(C="3"))
        raise DeviceError("it does not start")

    with monkeypatch.context() as patch:
        patch.setattr(deploy, "redeploy", redeploy)
        assert app.run(*words, stdin=stdin).status == 1
    assert store.env(app.paths, "app") == {"A": "1", "C": "3"}
    assert words[0] + " " not in app.events().replace("config:set A\n", "")
    assert app.run(*words, stdin=stdin).status == 0
    assert newest(app).name == "app.worker.1-3" and newest(app).env.get("A") != "1"


def test_what_waited_for_a_restart_gets_one(app: CrewDevice) -> None:
    app.run("config:set", "--no-restart", "app", "A=1")
    assert newest(app).name == "app.worker.1-1"
    assert app.run("config:set", "app", "A=1").err.endswith("release 2 of app serves\n")
    assert newest(app).env["A"] == "1"
    app.run("config:unset", "--no-restart", "app", "A")
    assert app.run("config:unset", "app", "A").status == 0 and "A" not in newest(app).env
    assert app.run("config:clear", "app").err == "nothing changed\n"
