"""Plug-ins: installed from a tar, called in order, able to refuse, and held back."""

from __future__ import annotations

import io
import json
import tarfile

from tests.tool.crew_device import CrewDevice

SCRIPT = b'#!/bin/sh\necho "$0 $*" >>"$SKIFF_ROOT/called"\n'


def tar(mode: str = "w:gz", **members: bytes | str) -> bytes:
    """Executables by name; a text is the target of a link."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as file:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "-"))
            info.mode = 0o755
            if isinstance(content, str):
                info.type, info.linkname, content = tarfile.SYMTYPE, content, b""
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return data.getvalue()


def called(crew: CrewDevice) -> list[str]:
    path = crew.paths.root / "called"
    return (
        [line.rpartition("/plugins/")[2] for line in path.read_text().splitlines()] if path.exists() else []
    )


def test_plug_ins_are_called_in_order_and_may_refuse(crew: CrewDevice) -> None:
    crew.app("app")
    for name in ("b-two", "a-one"):
        done = crew.run("plugin:install", name, stdin=tar(pre__deploy=SCRIPT, post__deploy=SCRIPT))
        assert (done.status, done.text) == (0, f"{name}: pre-deploy post-deploy\n"), done.err
    assert crew.run("ps:restart", "app").status == 0
    assert called(crew) == [
        f"{name}/{trigger} app crew/app:2"
        for trigger in ("pre-deploy", "post-deploy") for name in ("a-one", "b-two")
    ]  # fmt: skip
    refusing = tar(pre__deploy=b"#!/bin/sh\necho not today\nexit 3\n", pre__delete=b"#!/bin/sh\nexit 1\n")
    assert crew.run("plugin:install", "no", stdin=refusing).status == 0
    done = crew.run("ps:restart", "app")
    assert done.status == 1 and "not today" in done.err and "plugin:disable no" in done.err
    assert list(crew.engine.containers) == ["app.worker.1-2"]
    assert crew.run("apps:destroy", "--force", "app").status == 1
    assert crew.run("plugin:disable", "no").status == 0
    rows = json.loads(crew.run("plugin:list", "--json").text)
    assert [(row["name"], row["enabled"]) for row in rows] == [
        ("a-one", True),
        ("b-two", True),
        ("no", False),
    ]
    assert crew.run("ps:restart", "app").status == 0
    assert crew.run("plugin:enable", "no").status == 0 and crew.run("ps:restart", "app").status == 1
    assert crew.run("plugin:uninstall", "no").status == 0 and crew.run("ps:restart", "app").status == 0
    assert crew.run("plugin:trigger", "pre-build", "app", "$(id)", "a b").status == 0
    assert crew.run("plugin:trigger", "../x", "app").status == 1


def test_what_is_no_plug_in_is_refused(crew: CrewDevice) -> None:
    bad = [
        b"", b"no tar", tar(other=SCRIPT), tar(pre__build=SCRIPT, link="/etc/passwd"), tar()[:5],
        *(tar("w", **{name: SCRIPT}) for name in ("../pre-build", "/pre-build", "a/pre-build")),
        tar(pre__build=SCRIPT, big=b"\0" * (5 << 20)), tar("w", **{f"f{n}": b"" for n in range(102)}),
    ]  # fmt: skip
    for number, data in enumerate(bad):
        assert crew.run("plugin:install", "x", stdin=data).status == 1, number
        assert not crew.paths.plugins.exists() or not list(crew.paths.plugins.iterdir()), number
    for name in ("../x", "", ".x", "a/b", "-x", "$(id)"):
        assert crew.run("plugin:install", name, stdin=tar(pre__build=SCRIPT)).status == 1
    assert crew.run("plugin:uninstall", "x").status == 1
