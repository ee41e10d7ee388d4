"""Hostile input: what comes over SSH ends in a status and one line, and nothing but the app's folder changes.

The pushes are real ones: git's client and git-receive-pack, with crew's own hook and settings.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skiff_device.common.errors import DeviceError
from skiff_device.crew import check, crontab, deploy, keys, main, receive, release, source, store
from skiff_device.crew.main import UsageError
from tests.tool.crew_device import CrewDevice
from tests.tool.crew_pusher import Pusher, refused
from tests.tool.test_crew_roles import COMMANDS, state

EVIL = [
    "../", "../../etc/passwd", "/etc/passwd", "$(touch evil)", "`touch evil`", ";touch evil", "|touch evil",
    "\n", "\0", "-", "--", "--force", "-rf", "--app=x", "'", '"', "\\", " ", "", "~", "*", "APP", "äpp",
    "\u202e", "\U0001f600", "a" * 5000, "1e9", "-1", "9" * 40, "x=y", "=", "app/../other", ".", "..", ".git",
    "%s%n", "{}", "http:80:80", "web=1", "refs/heads/main", "A=\x1b[2J", "\udcff", "other", "/mnt:/mnt",
    "docker.sock:/x",
]  # fmt: skip
WORDS = st.one_of(st.sampled_from(EVIL), st.text(max_size=20))
LINES = st.one_of(
    # A command's name and words that its parser must look at.
    st.tuples(st.sampled_from(sorted(COMMANDS)), st.just("app") | WORDS, st.lists(WORDS, max_size=4)).map(
        lambda found: shlex.join([found[0], found[1], *found[2]])
    ),
    st.tuples(
        st.sampled_from(["git-receive-pack ", "git-upload-pack ", ""]), st.lists(WORDS, max_size=3)
    ).map(lambda pair: pair[0] + " ".join(pair[1])),
    st.text(max_size=60),
)
bounded = settings(
    max_examples=150, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


class Became(Exception):
    """This process would have become git."""


@pytest.fixture
def line(crew: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> CrewDevice:
    """A device that is asked line by line, as over SSH, by a key that may deploy one app."""
    for name in ("app", "other"):
        crew.app(name)
    crew.paths.keys.write_text('{"anna": {"role": "deploy", "apps": ["app"], "key": ""}}')
    monkeypatch.setattr(main, "end_with_client", lambda *outputs: None)

    def become(argv: list[str], env: dict[str, str] | None = None) -> None:
        raise Became(argv)

    monkeypatch.setattr("skiff_device.common.run.replace", become)
    monkeypatch.chdir(crew.paths.root)
    # Given back at the end: crew sets them for git.
    for name in ("GIT_DIR", "HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"):
        monkeypatch.setenv(name, "/nowhere")
    return crew


def elsewhere(crew: CrewDevice) -> dict[str, str]:
    """All that belongs to somebody else than the app."""
    app = str(crew.paths.app("app")) + "/"
    kept = (str(crew.paths.storage / "app"), str(crew.paths.certs / "app"))
    return {path: digest for path, digest in state(crew).items() if not path.startswith((app, *kept))}


@bounded
@given(text=LINES)
def test_a_line_over_ssh_ends_in_an_answer(line: CrewDevice, text: str) -> None:
    before = elsewhere(line)
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(b"A=b\n"))
    try:
        status = main.serve(line.paths, "anna", text)
        assert 0 <= status <= 255
    except Became as became:
        argv = became.args[0]
        assert argv[-1] in (str(line.paths.app("app") / "repo.git"), "/bin/sh") or argv[0] != "git"
    except DeviceError as error:
        # One line of text that a terminal can be given.
        assert error.message and all(c.isprintable() for c in error.message + error.hint), error.message
        assert len(error.message) < 500
    finally:
        sys.stdin = stdin
    assert elsewhere(line) == before
    assert not list(line.paths.root.rglob("evil"))
    assert "other.worker.1-1" in line.engine.containers


def test_what_is_refused_is_an_event_without_values(line: CrewDevice) -> None:
    for asked in (
        "config:set app secret",
        "ps:stop ../other",
        "apps:list " + "a" * (10 << 20),
        "'",
        "a\nb",
    ):
        with pytest.raises(DeviceError):
            main.serve(line.paths, "anna", asked)
    rows = [row.split(" ", 2)[1:] for row in line.events().splitlines()]
    assert rows == [
        ["anna", f"refused: {what}"] for what in ("config:set", "ps:stop", "apps:list", "'", "a?b")
    ]


def test_what_a_key_may_not_do_is_an_event(line: CrewDevice) -> None:
    for asked in ("apps:create mine", "config:show other", "git-receive-pack 'other'"):
        with pytest.raises(DeviceError, match="may not"):
            main.serve(line.paths, "anna", asked)
    assert [row.split(" ", 2)[1:] for row in line.events().splitlines()] == [
        ["anna", "refused: key anna (deploy) may not use apps:create"],
        ["anna", "refused: key anna (deploy) may not use config:show on other"],
        ["anna", "refused: key anna (deploy) may not push to other"],
    ]


def test_ten_megabytes_are_too_long(line: CrewDevice) -> None:
    with pytest.raises(UsageError, match="too long"):
        main.serve(line.paths, "anna", "apps:list " + "a" * (10 << 20))


@bounded
@given(key=st.one_of(WORDS, st.text(max_size=30)))
def test_a_key_that_is_none_is_refused(line: CrewDevice, key: str) -> None:
    if key in ("root", "anna"):
        return
    with pytest.raises(DeviceError) as raised:
        keys.caller(line.paths, key)
    assert all(c.isprintable() for c in raised.value.message)


@bounded
@given(
    updates=st.lists(
        st.lists(st.one_of(WORDS, st.text("0123456789abcdef", min_size=40, max_size=40)), max_size=4)
    ),
    branches=st.sampled_from([["main", "master"], ["release/1"]]),
)
def test_only_one_commit_of_the_branch_is_ever_taken(updates: list[list[str]], branches: list[str]) -> None:
    try:
        found = receive.wanted_commit(updates, branches)
    except DeviceError as error:
        assert all(c.isprintable() for c in error.message + error.hint)
    else:
        assert len(updates) == 1 and found == updates[0][1] and len(found) in (40, 64)
        assert set(found) <= set("0123456789abcdef")


KEYS = st.sampled_from(
    ["web", "command", "schedule", "maintenance", "path", "content", "attempts", "timeout", "wait", "uptime",
     "type", "listening", "port", "httpHeaders", "name", "value", "quantity"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.just("0 4 * * *")
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
APP_JSON = st.fixed_dictionaries(
    {}, optional={
        "cron": st.lists(st.dictionaries(KEYS, LEAVES), max_size=3) | JSON,
        "healthchecks": st.dictionaries(KEYS, st.lists(st.dictionaries(KEYS, JSON), max_size=3)) | JSON,
        "formation": st.dictionaries(KEYS, st.dictionaries(KEYS, LEAVES)) | JSON,
    }
)  # fmt: skip


@settings(bounded, max_examples=50)
@given(value=APP_JSON, checks=st.lists(WORDS).map("\n".join), procfile=st.lists(WORDS).map("\n".join))
def test_files_of_a_repository_end_in_an_answer(
    line: CrewDevice, value: dict[str, Any], checks: str, procfile: str
) -> None:
    made = release.current(line.paths, "app")
    assert made is not None

    def app_json() -> None:
        release.save(line.paths, "app", made._replace(app_json=source.app_json(json.dumps(value))))
        found = release.current(line.paths, "app")
        assert found is not None
        crontab.parse(found.app_json)
        check.from_app_json(found.app_json, "web")
        deploy.scale_of(line.paths, "app", found)

    for read in (app_json, lambda: check.from_file(checks), lambda: source.procfile(procfile)):
        try:
            read()
        except DeviceError as error:
            assert all(c.isprintable() for c in error.message + error.hint), error.message


def test_hostile_pushes_change_nothing(pusher: Pusher) -> None:
    crew = pusher.crew
    crew.app("other")
    pusher.commit(Dockerfile="->/etc/passwd", Procfile="->../../other/env.json", link="->../../../other")
    before = elsewhere(crew)
    # A Dockerfile that is a link is none, wherever it leads.
    assert "there is no Dockerfile" in refused(pusher.git("push", "crew@x:app", "main"))
    for app in ("../other", "a b", "$(touch evil)", "-x", "A", "a" * 60, ".git", "other/../other"):
        refused(pusher.git("push", f"crew@x:{app}", "main"))
    for target in ("HEAD:refs/heads/x", "HEAD:refs/tags/main", "HEAD:refs/crew/archive", ":refs/heads/main",
                   "HEAD:refs/heads/../../x", "HEAD:HEAD"):  # fmt: skip
        refused(pusher.git("push", "crew@x:app", target))
    refused(pusher.git("push", "crew@x:app", "main", "main:refs/heads/other"))
    assert elsewhere(crew) == before and not list(crew.paths.root.rglob("evil"))
    assert crew.run("git:status", "app").text.startswith("app: nothing was pushed")


def test_bad_objects_are_not_taken(pusher: Pusher) -> None:
    """A tree with `..` as a name, made by hand, as no client makes it."""
    pusher.commit(Dockerfile="FROM box\n")
    blob = pusher.git("rev-parse", "HEAD:Dockerfile").stdout.strip()
    for name in (b"..", b".git", b"a/b"):
        data = b"100644 %s\0" % name + bytes.fromhex(blob)
        (pusher.folder / "bad").write_bytes(data)
        tree = pusher.git("hash-object", "-w", "-t", "tree", "--literally", "bad").stdout.strip()
        commit = pusher.git("commit-tree", "-m", "x", tree).stdout.strip()
        told = refused(pusher.git("push", "crew@x:app", f"{commit}:refs/heads/main"))
        assert "fsck error" in told or "hasDot" in told or "fullPathname" in told, told
    assert not store.exists(pusher.crew.paths, "app")


def test_an_enormous_push_ends_before_it_is_kept(pusher: Pusher) -> None:
    import random

    crew = pusher.crew
    store.create(crew.paths, "app")
    assert crew.run("builder:set", "app", "max-push", "64k").status == 0
    pusher.commit(Dockerfile="FROM box\n", big=random.Random(1).randbytes(300_000).hex())
    told = refused(pusher.git("push", "crew@x:app", "main"))
    assert "exceeds maximum allowed size" in told
    size = sum(path.stat().st_size for path in crew.paths.app("app").rglob("*") if path.is_file())
    assert size < 64 << 10


def test_pushes_are_refused_with_an_event_that_says_why(pusher: Pusher) -> None:
    pusher.commit(Dockerfile="FROM box\n")
    told = refused(pusher.git("push", "crew@x:fresh", "HEAD:refs/heads/dev"))
    assert " !     dev is not deployed, only main" in told
    pusher.crew.app("app")
    pusher.crew.run("apps:lock", "app")
    refused(pusher.git("push", "crew@x:app", "main"))
    refused(pusher.git("pull", "crew@x:none", "main"))
    assert [row.split(" ", 2)[2] for row in pusher.crew.events().splitlines()] == [
        "fresh: push refused: dev is not deployed, only main",
        "app: locked",
        "refused: app is locked",
        "refused: there is no app none",
    ]


def test_submodules_and_pointers_are_named(pusher: Pusher) -> None:
    pusher.commit(Dockerfile="FROM box\n", **{".gitattributes": "*.bin filter=lfs\n"})
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"
    pusher.commit(**{".gitattributes": "*.bin filter=lfs\n", "x.bin": pointer})
    assert "x.bin" in refused(pusher.git("push", "crew@x:app", "main"))
    (pusher.folder / "sub").mkdir()
    head = pusher.git("rev-parse", "HEAD").stdout.strip()
    pusher.git("update-index", "--add", "--cacheinfo", f"160000,{head},sub")
    pusher.git("commit", "-q", "-m", "y")
    assert "submodules do not come with a push: sub" in refused(pusher.git("push", "crew@x:app", "main"))
    assert "root app: push refused: submodules do not come with a push: sub" in pusher.crew.events()
