"""The command line from the outside: words in, text and exit status out."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path

import click
import pytest

import skiff
from skiff.__main__ import main
from skiff.cli import VERBS, cli, size
from skiff.host.dirs import CACHE_TAG, cache_dir
from skiff.host.errors import UserError
from skiff.host.lock import hold
from skiff.host.run import run
from skiff.host.workspace import load_config, open_workspace
from skiff.layers import FIELDS
from skiff.model.arch import Arch
from skiff.model.image import Manifest

Capture = pytest.CaptureFixture[str]


def verbs() -> list[str]:
    return cli.list_commands(click.Context(cli))


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def test_every_verb_has_a_file() -> None:
    assert verbs() == list(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_help_ends_with_examples(name: str, capsys: Capture) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    _, _, examples = text.partition("Examples:\n")
    lines = examples.strip().splitlines()
    assert lines and all("skiff " in line for line in lines)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_needs_a_device_has_no_workspace(verb: str) -> None:
    """It would change nothing: a workspace stands for its machine where no device is named."""
    found = command(verb).params
    if any(isinstance(one, click.Argument) and one.name == "device" and one.required for one in found):
        assert not any("--workspace" in one.opts for one in found)


def test_help_of_the_whole_loads_no_verb_and_no_bars() -> None:
    script = (
        "import sys; from skiff.__main__ import main; main(['-h']);"
        "print(*[m for m in sys.modules if m.startswith(('rich', 'skiff.cli.', 'skiff.builders'))], sep='+')"
    )
    lines = run([sys.executable, "-c", script]).stdout.decode().splitlines()
    assert lines[0].startswith("Usage: skiff ")
    assert lines[-1] == ""


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"skiff {skiff.__version__}\n"


def test_users_error_is_two_lines_and_status_2(project: Path, capsys: Capture) -> None:
    assert main(["show", "virt/qmu"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "skiff: error: unknown layer 'virt/qmu'",
        "hint: did you mean virt/qemu? `skiff layers --all` lists what there is",
    ]


@pytest.mark.parametrize("words", [["bild"], ["layers", "--nonsense"], ["completion", "tcsh"]])
def test_wrong_words_are_status_2(words: list[str], capsys: Capture) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("Usage: skiff")


def test_a_verb_that_is_misspelt(capsys: Capture) -> None:
    assert main(["biuld"]) == 2
    assert "there is no verb 'biuld'; did you mean build?" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_is_130(number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    tidied = []

    def verb(**_: object) -> None:
        try:
            os.kill(os.getpid(), number)
            signal.sigwait([])
        finally:
            tidied.append(True)

    before = signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
    monkeypatch.setattr(cli, "main", verb)
    try:
        assert main([]) == 130
    finally:
        signal.signal(number, before)
    assert tidied and capsys.readouterr().err == "skiff: interrupted\n"


def test_interrupt_while_modules_are_loaded_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = run([sys.executable, "-m", "skiff", "-h"], env={"PYTHONPATH": str(tmp_path)}, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def verb(**_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "main", verb)
    with pytest.raises(RuntimeError, match="a bug"):
        main([])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_of_somebody_else_is_no_bug(
    number: int, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["configure", "virt/qemu"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"skiff: error: {project / 'workspaces/default'}: {os.strerror(number)}"
    assert "SKIFF_WORKSPACES" in said[1]


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("SKIFF_WORKSPACES", "file/default: Not a directory"),
        ("SKIFF_CACHE", "file: not a folder"),
    ],
)
def test_a_file_in_place_of_a_folder_is_no_bug(
    variable: str, message: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (project / "file").write_text("")
    monkeypatch.setenv(variable, str(project / "file"))
    verb = ["clean", "--cache"] if variable == "SKIFF_CACHE" else ["configure", "virt/qemu"]
    assert main(verb) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"skiff: error: {project / message}\n") and variable in said.splitlines()[1]


def test_a_picture_for_a_folder_that_is_not_there(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(size, "require_image", lambda _: (None, Manifest((), (), ())))
    monkeypatch.setattr(size, "treemap_svg", lambda *_: "")
    assert main(["size", "--svg", "no/where.svg"]) == 2
    assert "--svg no/where.svg: No such file or directory" in capsys.readouterr().err


def test_full_disk_is_no_bug(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def verb(**_: object) -> None:
        Path("/dev/full").write_text("image")

    monkeypatch.setattr(cli, "main", verb)
    assert main([]) == 2
    said = capsys.readouterr().err
    assert "skiff: error: no space left on disk" in said and "hint: free some space" in said


def test_full_disk_is_named_by_what_was_written(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def verb(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "from", None, "to")

    monkeypatch.setattr(cli, "main", verb)
    assert main([]) == 2
    assert "no space left on disk: to\n" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["show", "x" * 5000], ["show", "-w", "x" * 5000, "virt/qemu"]])
def test_a_name_that_is_too_long_is_no_bug(words: list[str], project: Path, capsys: Capture) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "File name too long" in said and len(said) < 200


def test_a_current_folder_that_is_gone_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["status"]) == 2
    assert "the current folder is gone" in capsys.readouterr().err


def test_reader_that_goes_away_is_no_bug(project: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = run([sys.executable, "-m", "skiff", "layers", "--all"], stdout=pipe, check=False)
    assert done.stderr == b""


def test_layers(project: Path, capsys: Capture) -> None:
    assert main(["layers"]) == 0
    shown = capsys.readouterr().out
    assert "virt/qemu" in shown and "base" not in shown.split()
    assert main(["layers", "--all"]) == 0
    assert "base" in capsys.readouterr().out.split()


def test_layers_marks_those_chosen(project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIFF_CONFIG", "virt/qemu")
    main(["layers"])
    marked = [line for line in capsys.readouterr().out.splitlines() if line.startswith("*")]
    assert [line.split()[1] for line in marked] == ["virt/qemu"]
    main(["layers", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in answer if one["chosen"]] == ["virt/qemu"]


def test_the_builder_comes_from_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(*options: str) -> object:
        main(["configure", "virt/qemu", *options])
        return json.loads((project / "workspaces/default/config.json").read_text())["builder"]

    monkeypatch.setenv("SKIFF_BUILDER", "buildroot")
    assert chosen() == "buildroot"
    assert chosen("--builder", "debian") == "debian"


def test_layers_of_ones_own(project: Path, capsys: Capture) -> None:
    folder = project / "mine" / "my" / "app"
    folder.mkdir(parents=True)
    (folder / "layer.toml").write_text('description = "My app"\n')
    main(["layers", "--layers-dir", "mine"])
    assert "my/app" in (text := capsys.readouterr().out) and "My app (yours)" in text


def test_layers_of_ones_own_that_are_chosen(project: Path, capsys: Capture) -> None:
    folder = project / "mine" / "my" / "app"
    folder.mkdir(parents=True)
    (folder / "layer.toml").write_text('description = "My app"\n')
    assert main(["configure", "--layers-dir", "mine", "virt/qemu,my/app"]) == 0
    capsys.readouterr()
    assert main(["layers"]) == 0
    marked = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("*")]
    assert marked == ["my/app", "virt/qemu"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_layers_that_cannot_be_read_hide_no_others(
    project: Path, capsys: Capture, options: tuple[str, ...]
) -> None:
    for name, text in ("app", 'description = "x"\n'), ("odd", "descripton = 1\n"), ("torn", "[kernel\n"):
        (project / "mine/my" / name).mkdir(parents=True)
        (project / "mine/my" / name / "layer.toml").write_text(text)
    assert main(["layers", "--layers-dir", "mine", *options]) == 2
    said = capsys.readouterr()
    assert "my/app" in said.out and "virt/qemu" in said.out
    assert "my/odd" not in said.out and "my/torn" not in said.out
    errors = [line for line in said.err.splitlines() if not line.startswith("hint: ")]
    assert [line.partition(".toml: ")[0] for line in errors] == [
        "skiff: error: mine/my/odd/layer",
        "skiff: error: mine/my/torn/layer",
    ]
    if options:
        assert {"description", "path"} <= set(json.loads(said.out)[0])


def test_show_why_names_every_value_of_a_recipe(project: Path, capsys: Capture) -> None:
    layers = ["pi/4", "engine/docker", "core/debian"]
    for key in FIELDS:
        assert main(["show", *layers, "--why", key]) == 0, key
    assert main(["show", *layers, "--why", "bases"]) == 0
    assert "usr/share/skiff/core/debian/base.lock" in capsys.readouterr().out


def test_show_why(project: Path, capsys: Capture) -> None:
    assert main(["show", "virt/qemu", "--why", "hostname"]) == 0
    assert capsys.readouterr().out == "hostname = skiff  base\n"
    assert main(["show", "virt/qemu", "--why", "packages[rsync]"]) == 0
    assert capsys.readouterr().out == "packages[rsync]  base\n"
    assert main(["show", "virt/qemu", "--why", "device.engine"]) == 0
    assert capsys.readouterr().out == "device.engine: no layer of this recipe sets it; it is empty\n"
    assert main(["show", "ssh/openssh", "virt/qemu", "--why", "keep[dropbear-bin]"]) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["keep[dropbear-bin]", "=", "usr/sbin/dropbear", "base"] in said
    assert ["keep[dropbear-bin]", "=", "usr/bin/dropbearconvert", "ssh/openssh"] in said
    assert main(["show", "virt/qemu", "--why", "disk.raw"]) == 0
    assert capsys.readouterr().out == "disk.raw: no layer of this recipe sets it; it is empty\n"
    assert main(["show", "virt/qemu", "--why", "disk.table"]) == 0
    assert capsys.readouterr().out == "disk_table = gpt  (default)\n"
    assert main(["show", "virt/qemu", "engine/docker", "--why", "qemu.memory", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"key": "qemu_memory", "value": "1024", "layer": "engine/docker"}
    ]


@pytest.mark.parametrize(
    ("key", "message", "hint"),
    [
        ("hostnam", "--why hostnam: unknown key", "did you mean hostname?"),
        ("memory", "--why memory: unknown key", "did you mean qemu.memory?"),
        ("wholly", "--why wholly: unknown key", "`skiff show` lists what there is"),
        ("arch", "--why arch: unknown key", "`skiff show` shows it, and no layer sets it: --arch chooses"),
        (
            "packages[rsink]",
            "--why packages[rsink]: no layer of this recipe sets it",
            "did you mean rsync?",
        ),
    ],
)
def test_show_why_of_nothing(project: Path, capsys: Capture, key: str, message: str, hint: str) -> None:
    assert main(["show", "virt/qemu", "--why", key]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"skiff: error: {message}"
    assert second.startswith(f"hint: {hint}")


def test_show_changes_nothing(project: Path, capsys: Capture) -> None:
    assert main(["show", "virt/qemu"]) == 0
    assert "virt/qemu" in capsys.readouterr().out
    assert list(project.iterdir()) == []


def test_show_json_is_the_recipe(project: Path, capsys: Capture) -> None:
    main(["show", "virt/qemu", "engine/docker", "--arch", "arm64", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["arch"] == "arm64"
    assert [layer["name"] for layer in answer["layers"]] == ["base", "virt/qemu", "engine/docker"]


def test_nothing_chosen(project: Path, capsys: Capture) -> None:
    assert main(["show"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == (
        "skiff: error: no layers are chosen for workspace default"
    )


def test_configure_is_remembered(project: Path, capsys: Capture) -> None:
    assert main(["configure", "virt/qemu,engine/docker", "--arch", "arm64", "-w", "one"]) == 0
    config = load_config(open_workspace("one"))
    assert config is not None
    assert (config.layers, config.arch) == (("virt/qemu", "engine/docker"), Arch.ARM64)
    capsys.readouterr()
    main(["show", "--json", "-w", "one"])
    assert json.loads(capsys.readouterr().out)["arch"] == "arm64"
    # The same layers again keep what was said of them; others do not.
    main(["configure", "virt/qemu", "engine/docker", "-w", "one"])
    assert load_config(open_workspace("one")) == config
    main(["configure", "virt/qemu", "-w", "one"])
    config = load_config(open_workspace("one"))
    assert config is not None and config.arch is None


def test_configure_takes_layers_from_the_environment(
    project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKIFF_CONFIG", "virt/qemu, engine/podman")
    monkeypatch.setenv("SKIFF_WORKSPACE", "env")
    assert main(["configure"]) == 0
    config = load_config(open_workspace("env"))
    assert config is not None and config.layers == ("virt/qemu", "engine/podman")
    assert main(["configure", "virt/qemu"]) == 0
    config = load_config(open_workspace("env"))
    assert config is not None and config.layers == ("virt/qemu",)


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ("{}", "./my layers/the app"),
        ("{}", "./a,b/app"),
        ("{}", "~/my app"),
        ("virt/qemu,{}", "./my layers/the app"),
        ("virt/qemu, {} ,engine/podman", "{project}/my layers/the app"),
        ("virt/qemu engine/podman,{}", "~/my app"),
    ],
)
def test_a_path_that_is_there_is_one_layer(
    project: Path, monkeypatch: pytest.MonkeyPatch, form: str, path: str
) -> None:
    monkeypatch.setenv("HOME", str(project / "home of mine"))
    path = path.format(project=project)
    folder = Path(path).expanduser().absolute()
    folder.mkdir(parents=True)
    (folder / "layer.toml").write_text('description = "x"\n')
    names = [name for name in ("virt/qemu", "engine/podman") if name in form]
    for words in ([form.format(path)], []):
        monkeypatch.setenv("SKIFF_CONFIG", "" if words else form.format(path))
        assert main(["configure", *words]) == 0
        config = load_config(open_workspace(None))
        assert config is not None and sorted(config.layers) == sorted([*names, str(folder)])


@pytest.mark.parametrize(
    "words",
    [
        ["show", "~nobody-here/app"],
        ["show", "virt/qemu", "--ssh-key", "~nobody-here/key.pub"],
        ["port", "--plan", "~nobody-here/app", "--arch", "arm64"],
    ],
)
def test_the_home_of_somebody_who_is_not_there_is_a_path_that_is_not_there(
    project: Path, capsys: Capture, words: list[str]
) -> None:
    assert main(words) == 2
    assert "~nobody-here" in capsys.readouterr().err


def test_words_that_are_no_path_are_separated(project: Path, capsys: Capture) -> None:
    (project / "a b").mkdir()
    for word in ("virt/qemu engine/podman", "virt/qemu,engine/podman", " virt/qemu ,, engine/podman,"):
        assert main(["configure", word]) == 0
        config = load_config(open_workspace(None))
        assert config is not None and config.layers == ("virt/qemu", "engine/podman")
    assert main(["configure", "a b"]) == 2
    assert "unknown layer 'a'" in capsys.readouterr().err


def test_configure_remembers_nothing_wrong(project: Path, capsys: Capture) -> None:
    assert main(["configure", "engine/docker,engine/podman"]) == 2
    assert list(project.iterdir()) == []


def test_configure_keeps_paths_absolute(project: Path, capsys: Capture) -> None:
    folder = project / "app"
    folder.mkdir()
    (folder / "layer.toml").write_text('description = "app"\n')
    assert main(["configure", "virt/qemu", "./app"]) == 0
    config = load_config(open_workspace())
    assert config is not None and config.layers == ("virt/qemu", str(folder))


def test_overrides_of_the_project_are_the_last_layer(project: Path, capsys: Capture) -> None:
    (project / "overrides").mkdir()
    (project / "overrides/layer.toml").write_text('[device]\nhostname = "mine"\n')
    main(["show", "virt/qemu", "--why", "hostname"])
    assert capsys.readouterr().out == "hostname = mine  overrides\n"


def test_damaged_config(project: Path, capsys: Capture) -> None:
    workspace = open_workspace()
    workspace.root.mkdir(parents=True)
    workspace.config.write_text("{")
    assert main(["show"]) == 2
    assert f"{workspace.config}: not a configuration" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "a b"])
def test_workspace_names(project: Path, capsys: Capture, name: str) -> None:
    assert main(["show", "virt/qemu", "-w", name]) == 2
    assert f"workspace {name!r}: not a name for a workspace" in capsys.readouterr().err


def test_workspaces_can_lie_elsewhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIFF_WORKSPACES", "elsewhere")
    assert open_workspace("one").root == project / "elsewhere" / "one"


def test_clean_removes_the_image_only(project: Path, capsys: Capture) -> None:
    main(["configure", "virt/qemu"])
    workspace = open_workspace()
    (workspace.image / "parts").mkdir(parents=True)
    assert main(["clean"]) == 0
    assert not workspace.image.exists()
    assert workspace.config.exists()
    assert main(["clean", "--all"]) == 0
    assert not workspace.root.exists()
    assert main(["clean"]) == 0
    assert not workspace.root.exists()


def test_clean_cache(project: Path, tmp_path: Path, capsys: Capture) -> None:
    sealed = cache_dir() / "unpacked"
    sealed.mkdir()
    (sealed / "file").write_text("x")
    sealed.chmod(0o500)
    assert main(["clean", "--cache"]) == 0
    assert not sealed.exists()


def test_clean_that_is_broken_off_leaves_nothing_of_the_cache_in_parts(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_dir()
    for name in ("downloads", "unpacked/one", "unpacked/two"):
        (cache / name).mkdir(parents=True)
        (cache / name / "file").write_text("x")
    (cache / "buildroot.lock").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["clean", "--cache"]) == 130
    left = [path.name for path in cache.iterdir()]
    assert left and all(name == CACHE_TAG or name.startswith(".removed-") for name in left)
    assert CACHE_TAG in left
    assert main(["clean", "--cache"]) == 0
    assert not cache.exists()


def test_the_cache_may_lie_at_home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIFF_CACHE", "~/x")
    assert cache_dir() == Path.home() / "x"
    assert list(project.iterdir()) == []


def test_clean_empties_a_cache_that_is_a_mount_point(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, rmdir = cache_dir(), os.rmdir
    outside = tmp_path / "outside"
    outside.touch(0o640)
    (cache / "folder").mkdir()
    (cache / "folder/link").symlink_to(outside)
    cache.parent.chmod(0o755)

    def busy(path: str, *, dir_fd: int | None = None) -> None:
        if str(path) == str(cache):
            raise OSError(errno.EBUSY, "Device or resource busy", path)
        rmdir(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", busy)
    assert main(["clean", "--cache"]) == 0
    assert list(cache.iterdir()) == []
    assert [oct(path.stat().st_mode & 0o777) for path in (cache.parent, outside)] == ["0o755", "0o640"]


def test_clean_removes_of_a_link_only_the_link(project: Path, tmp_path: Path, capsys: Capture) -> None:
    main(["configure", "virt/qemu"])
    root = open_workspace().root
    root.parent.chmod(0o755)
    elsewhere = root.rename(tmp_path / "elsewhere")
    root.symlink_to(elsewhere)
    assert main(["clean", "--all"]) == 0
    assert f"removed the link {root}; {elsewhere} stays" in capsys.readouterr().err
    assert not root.is_symlink() and (elsewhere / "config.json").exists()
    assert root.parent.stat().st_mode & 0o777 == 0o755


def test_clean_removes_no_folder_that_may_hold_more_than_a_cache(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    mine = tmp_path / "letters" / "mine"
    mine.parent.mkdir()
    mine.write_text("x")
    monkeypatch.setenv("SKIFF_CACHE", str(mine.parent))
    assert main(["clean", "--cache"]) == 2
    assert "it may hold more than Skiff's cache" in capsys.readouterr().err
    assert mine.exists()


def test_what_a_menu_changed_goes_to_the_overrides_or_to_a_layer(project: Path, capsys: Capture) -> None:
    main(["configure", "virt/qemu"])
    changed = open_workspace().buildroot / "changed/buildroot.config"
    board = project / "layers/my/board"
    board.mkdir(parents=True)
    for words, folder in ((), project / "overrides/workspaces/default"), (("layers/my/board",), board):
        changed.parent.mkdir(parents=True, exist_ok=True)
        changed.write_text("BR2_PACKAGE_LSOF=y\n")
        assert main(["br", "save", *words]) == 0
        assert "BR2_PACKAGE_LSOF=y" in (folder / "buildroot/saved.config").read_text()
        assert not changed.exists()
        # What no layer of the workspace's holds has no effect on it.
        assert ("is no layer of workspace default" in capsys.readouterr().err) == bool(words)


def test_a_look_at_buildroots_menus_changes_no_choice(project: Path, capsys: Capture) -> None:
    main(["configure", "virt/qemu"])
    before = open_workspace().config.read_bytes()
    capsys.readouterr()
    assert main(["br", "save"]) == 2
    assert "no menu has changed anything" in (said := capsys.readouterr().err) and "keys" not in said
    assert main(["br", "save", "gone"]) == 2
    assert "gone: no such folder" in capsys.readouterr().err
    assert not (project / "overrides").exists()
    assert open_workspace().config.read_bytes() == before


@pytest.mark.parametrize("words", [["disk"], ["flash", "--to", "card.img"], ["run", "--disk-boot"]])
def test_what_nothing_would_start_is_not_built(
    project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    # By the other builder that is an hour.
    monkeypatch.setattr("skiff.pipeline.build", lambda *words: pytest.fail("built"))
    assert main([*words, "engine/docker", "--arch", "amd64"]) == 2
    said = capsys.readouterr().err
    assert "no bootloader for amd64 in any of these layers: base, engine/docker\n" in said
    assert "hint: add a layer for the machine it is to run on, as pc/uefi" in said


@pytest.mark.parametrize(
    ("word", "cpu"), [("aarch64", "arm64"), ("x86_64", "amd64"), ("armv7l", "armhf"), ("riscv64", "riscv64")]
)
def test_a_cpu_has_the_name_that_uname_gives_it(project: Path, capsys: Capture, word: str, cpu: str) -> None:
    assert main(["show", "virt/qemu", "--arch", word]) == 0
    assert capsys.readouterr().out.split()[:2] == ["arch", cpu]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["size"], "build one with `skiff build{}`"),
        (["ssh"], "skiff run{} --detach; to log in"),
        (["crew", "help"], "skiff run{} --detach, or name a device: skiff crew HOST"),
        (["build"], "`skiff configure{} virt/qemu,engine/docker`; `skiff layers` lists them"),
    ],
)
def test_a_hint_names_the_workspace_that_has_to_be_named(
    project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: list[str], hint: str
) -> None:
    assert main([words[0], "-w", "arm", *words[1:]]) == 2
    assert hint.format(" -w arm") in capsys.readouterr().err
    monkeypatch.setenv("SKIFF_WORKSPACE", "arm")
    assert main(words) == 2
    assert hint.format("") in capsys.readouterr().err


def test_push_to_nowhere_builds_nothing(
    project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["configure", "virt/qemu"])
    monkeypatch.setattr("skiff.cli.push.Source.slot", lambda *words: pytest.fail("built"))
    assert main(["push"]) == 2
    assert "no device is named" in capsys.readouterr().err


def test_without_the_key_to_sign_with_nothing_is_built(
    project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["configure", "virt/qemu"])
    monkeypatch.setattr("skiff.pipeline.build", lambda *words: pytest.fail("built"))
    assert main(["push", "root@device", "--sign", "no-key"]) == 2
    assert "no-key: no such file\nhint: a private SSH key" in capsys.readouterr().err
    monkeypatch.setenv("SKIFF_SIGN_KEY", "other-key")
    assert main(["push", "root@device"]) == 2
    assert "other-key: no such file" in capsys.readouterr().err


def test_no_command_of_a_package_is_told(project: Path, capsys: Capture) -> None:
    main(["configure", "virt/qemu"])
    capsys.readouterr()
    assert main(["cmd"]) == 0
    assert capsys.readouterr().err == "no package of SkiffOS in this workspace brings a command\n"


def test_clean_leaves_a_running_machine_alone(
    project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["configure", "virt/qemu"])
    monkeypatch.setattr("skiff.machine.bringup.running", lambda files: object())
    assert main(["clean", "--all"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "skiff: error: the machine of workspace default is running",
        "hint: skiff stop",
    ]
    assert open_workspace().config.exists()


def test_clean_waits_for_no_build(project: Path, capsys: Capture) -> None:
    workspace = open_workspace()
    workspace.image.mkdir(parents=True)
    with hold(workspace):
        assert main(["clean"]) == 2
    assert "another build of workspace default is under way" in capsys.readouterr().err
    assert str(os.getpid()) in workspace.busy.read_text()
    assert workspace.image.exists()


def test_a_build_that_is_refused_is_not_remembered(project: Path, capsys: Capture) -> None:
    assert main(["configure", "virt/qemu"]) == 0
    workspace = open_workspace()
    with hold(workspace):
        assert main(["build", "pc/uefi"]) == 2
    assert "another build of workspace default is under way" in capsys.readouterr().err
    config = load_config(workspace)
    assert config is not None and config.layers == ("virt/qemu",)


def test_lock_goes_away_with_its_holder(project: Path) -> None:
    workspace = open_workspace()
    with pytest.raises(RuntimeError), hold(workspace):
        raise RuntimeError
    with hold(workspace), pytest.raises(UserError), hold(workspace):
        pass
    with hold(workspace):
        pass


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str, capsys: Capture) -> None:
    assert main(["completion", shell]) == 0
    assert "_SKIFF_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("skiff comp", ["completion"]),
        ("skiff show virt/qemu,engine/do", ["virt/qemu,engine/docker"]),
        ("skiff show --arch risc", ["riscv64"]),
        ("skiff clean --ca", ["--cache"]),
    ],
)
def test_completion_offers(project: Path, words: str, offered: list[str]) -> None:
    done = run(
        [sys.executable, "-m", "skiff"],
        env={
            "_SKIFF_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        check=False,
    )
    assert [line.partition(",")[2] for line in done.stdout.decode().splitlines()] == offered
