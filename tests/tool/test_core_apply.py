"""skiff-core against a stand-in for the docker command: what it makes, keeps and reports.

What depends on processes (a first apply, power cuts, two at once) runs the program, and docker as one too.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tool.core_board import CONFIG, Board


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_first_apply_makes_everything_and_the_second_nothing(board: Board) -> None:
    assert board.apply_program() == 0
    assert board.containers() == {"core": "running always"}
    lines = board.read("run/skiff/core/containers/core").split("\n")
    number = board.state()["containers"]["core"]["Id"]
    assert lines == ["ok\trunning\t", number, f"/sys/fs/cgroup/docker/{number}", ""]
    assert "Step 1/1 : FROM scratch" in board.read("run/skiff/core/log/core")
    assert board.read("run/skiff/status/core") == "ok\tcore: running; users: core\t\n"
    board.verbs()
    assert board.apply_program() == 0
    assert not {"create", "start", "stop", "rename", "build", "pull"} & set(board.verbs())
    assert board.run("plan").stdout == "nothing to do\n"


def test_a_changed_definition_keeps_the_old_container(board: Board) -> None:
    board.apply()
    before = board.state()["containers"]["core"]["Id"]
    board.config(CONFIG.format(2))
    assert board.apply() == 0
    containers = board.containers()
    kept = next(name for name in containers if name != "core")
    assert containers == {"core": "running always", kept: "exited no"}
    assert board.state()["containers"][kept]["Id"] == before
    shown = json.loads(board.run("status", "--json").stdout)
    assert shown["aside"] == [kept]
    board.config(CONFIG.format(3))
    board.apply()
    assert f"{kept}-2" in board.containers()


@pytest.mark.parametrize("steps", range(6))
def test_a_power_cut_at_any_step_is_made_good(board: Board, steps: int) -> None:
    board.apply()
    before = board.state()["containers"]["core"]["Id"]
    board.config(CONFIG.format(2))
    (board.engine / "die").write_text(str(steps))
    assert board.apply_program() == -9
    (board.engine / "die").unlink()
    assert board.apply() == 0
    containers = board.state()["containers"]
    assert containers["core"]["Config"]["Cmd"] == ["sleep", "2"]
    assert sorted(board.containers().values()) == ["exited no", "running always"]
    assert before in [one["Id"] for name, one in containers.items() if name != "core"]


def test_a_container_that_does_not_start_makes_room_for_the_old_one(board: Board) -> None:
    board.apply()
    before = board.state()["containers"]["core"]["Id"]
    (board.engine / "broken").write_text("sleep 2")
    board.config(CONFIG.format(2))
    assert board.apply() == 1
    assert board.containers() == {"core": "running always"}
    assert board.state()["containers"]["core"]["Id"] == before
    assert board.line()[0] == "warn"
    assert "the one before is back" in board.line()[1]
    board.verbs()
    # Not again and again, until something changes or it is asked for.
    assert board.apply() == 1
    assert "stop" not in board.verbs()
    (board.engine / "broken").unlink()
    assert board.apply("--renew", "core") == 0
    assert board.state()["containers"]["core"]["Config"]["Cmd"] == ["sleep", "2"]


def test_a_changed_source_is_built_again_and_a_bad_one_leaves_the_container(board: Board) -> None:
    board.apply()
    before = board.state()["containers"]["core"]["Id"]
    board.put("mnt/persist/skiff/core/src/Dockerfile", "FROM scratch\nRUN FAIL\n")
    assert board.apply() == 1
    assert board.state()["containers"]["core"]["Id"] == before
    assert board.line()[0] == "warn"
    assert "cannot be built" in board.line()[1]
    board.put("mnt/persist/skiff/core/src/Dockerfile", "FROM scratch\nRUN true\n")
    assert board.apply() == 0
    assert board.state()["containers"]["core"]["Id"] != before


def test_a_pushed_environment_counts_instead_of_the_image(board: Board) -> None:
    board.apply()
    commit = "0123456789" * 4
    board.put(f"mnt/persist/skiff/core/env/core/trees/{commit}/Dockerfile", "FROM scratch\n")
    (board.root / "mnt/persist/skiff/core/env/core/current").symlink_to(f"trees/{commit}")
    assert board.apply() == 0
    state = board.state()
    assert state["containers"]["core"]["Image"] == state["images"]["skiff-env/core:012345678901"]["Id"]
    # What git keeps of a push, packed or not: with it the next push of that commit would be none.
    refs = [
        board.put(f"mnt/persist/skiff/core/env/core/repo.git/{name}", f"{commit} refs/heads/main\n")
        for name in ("refs/heads/main", "packed-refs")
    ]
    done = board.run("unpush", "core")
    assert done.returncode == 0, done.stderr
    assert not any(path.exists() for path in refs)
    state = board.state()
    assert state["containers"]["core"]["Image"] == state["images"]["local/core:latest"]["Id"]
    assert board.run("unpush", "core").stdout == "nothing is pushed for core\n"
    assert board.run("unpush", "../x").returncode == 1


def test_mistakes_leave_the_last_good_state(board: Board) -> None:
    board.apply()
    before = board.containers()
    board.config(
        "containers:\n  core:\n    image: 1\n    ports:\n    - hostPort: many\n      containerPort: 1\n"
    )
    done = board.run("apply")
    assert done.returncode == 2
    assert (
        "config.yaml:5: containers.core.ports[0].hostPort: expected a number from 1 to 65535" in done.stderr
    )
    assert board.containers() == before
    assert "shell=" in board.read("run/skiff/core/users/core")
    assert board.read("run/skiff/status/core").startswith("fail\tconfig.yaml:5: ")
    assert board.run("check").returncode == 2


def test_an_engine_that_is_down_leaves_accounts_and_says_so(board: Board) -> None:
    (board.engine / "down").touch()
    assert board.apply() == 1
    assert board.line()[:2] == ["wait", "waits for the container engine"]
    assert "core:x:1000:" in board.read("etc/passwd")
    assert board.read("run/skiff/status/core").startswith("wait\t")


def test_folders_in_ram_are_there_before_the_engine(board: Board) -> None:
    """Podman starts containers as soon as it answers, and makes no folder that they mount."""
    mounts = "cmd: [x]\n    mounts: ['/run/udev:/run/udev', '/mnt/persist/home:/home']"
    board.config(CONFIG.format(1).replace('cmd: [sleep, "1"]', mounts))
    (board.engine / "down").touch()
    board.apply()
    assert (board.root / "run/udev").is_dir() and (board.root / "tmp/skiff-core/core").is_dir()
    # What would stay is made when the container is.
    assert not (board.root / "mnt/persist/home").exists()


def test_a_full_persist_locks_nobody_out_and_stops_nothing(board: Board) -> None:
    assert board.apply() == 0
    board.config(
        CONFIG.format(2).replace(
            "users:\n", "users:\n  anna: {container: core, auth: {copyRootKeys: true}}\n"
        )
    )
    done = board.run_full("apply")
    assert (
        "Traceback" not in done.stderr and "the disk is full, config.good.yaml is not written" in done.stderr
    )
    assert done.returncode == 0
    assert "anna:x:" in board.read("etc/passwd")
    assert board.containers()["core"] == "running always"
    assert board.read("run/skiff/status/core").startswith("warn\t")
    assert "the disk is full" in board.read("run/skiff/status/core")
    # Nor does a first start, whose configuration is then the image's.
    fresh = "mnt/persist/skiff/core"
    for name in ("config.yaml", "config.good.yaml", "known.json"):
        (board.root / fresh / name).unlink()
    board.put("usr/share/skiff/core/config.yaml", CONFIG.format(2))
    assert board.run_full("apply").returncode == 0
    assert sorted(path.name for path in (board.root / fresh).iterdir()) == ["src"]
    assert "core:x:" in board.read("etc/passwd")
    done = board.run_full("unpush", "core")
    assert done.returncode == 0, done.stderr


def test_persist_away_gives_accounts_of_the_image(board: Board) -> None:
    board.put("usr/share/skiff/core/config.yaml", CONFIG.format(1))
    (board.root / "run/skiff/persist").unlink()
    assert board.apply() == 0
    assert "core:x:1000:" in board.read("etc/passwd")
    assert board.line()[0] == "wait"
    assert not (board.engine / "calls").exists()


def test_the_configuration_is_seeded_once(board: Board) -> None:
    (board.root / "mnt/persist/skiff/core/config.yaml").unlink()
    board.put("usr/share/skiff/core/config.yaml", CONFIG.format(7))
    assert board.apply() == 0
    assert board.read("mnt/persist/skiff/core/config.yaml") == CONFIG.format(7)


def test_no_configuration_at_all_is_no_failure(board: Board) -> None:
    (board.root / "mnt/persist/skiff/core/config.yaml").unlink()
    done = board.run("apply")
    assert done.returncode == 0, done.stderr
    assert board.read("run/skiff/status/core").startswith("ok\tno configuration yet: write /mnt/")
    assert board.run("plan").stdout == "nothing to do\n"
    # Persist may hold one; it is not there to tell.
    (board.root / "run/skiff/persist").unlink()
    assert board.run("apply").returncode == 0
    assert board.read("run/skiff/status/core").startswith("wait\tcore waits for persist")


def test_one_that_fails_does_not_hold_up_the_other(board: Board) -> None:
    more = "containers:\n  far: {image: 'far.invalid/x:1', startAfterCreate: true}\n"
    more += "  lost: {image: 'local/core:latest', mounts: ['/nowhere:/x']}\n"
    more += "  theirs: {image: 'local/core:latest'}\n"
    board.config(CONFIG.format(1).replace("containers:\n", more))
    foreign = {"Id": "f" * 64, "Name": "/theirs", "Config": {}, "HostConfig": {}, "State": {}}
    board.change(containers={"theirs": foreign})
    assert board.apply() == 1
    assert board.line()[0] == "ok"
    assert board.line("far")[0] == "fail"
    assert board.line("far")[2] == "check the network: skiff-status"
    assert board.line("lost")[1] == "the folder /nowhere of a mount is not there"
    assert board.line("theirs")[2].startswith("docker rename theirs")
    assert board.state()["containers"]["theirs"] == foreign


@pytest.mark.parametrize(
    "said",
    [
        "invalid reference format: repository name (MyOrg/x) must be lowercase",
        "parsing reference: repository name must be lowercase",
        "invalid reference format",
    ],
)
def test_a_name_that_the_engine_does_not_take_does_not_hold_up_the_other(board: Board, said: str) -> None:
    (board.engine / "unnamable").write_text(f"far.example/x:1\n{said}")
    far = "containers:\n  far: {image: 'far.example/x:1'}\n"
    board.config(CONFIG.format(1).replace("containers:\n", far))
    assert board.apply() == 1
    assert board.line()[:2] == ["ok", "running"]
    assert board.line("far")[0] == "fail" and said in board.line("far")[1]


def test_a_container_that_was_stopped_stays_so_until_the_next_boot(board: Board) -> None:
    board.apply()
    state = board.state()
    state["containers"]["core"]["State"]["Status"] = "exited"
    board.change(**state)
    assert board.apply() == 0
    assert board.containers() == {"core": "exited always"}
    (board.root / "run/skiff/core/boot.json").unlink()
    assert board.apply() == 0
    assert board.containers() == {"core": "running always"}


def test_a_registry_gives_the_image_under_its_short_name(board: Board) -> None:
    board.change(remote={"quay.io/some/os:1": 1})
    text = "containers:\n  os: {image: 'some/os:1'}\n"
    text += "images:\n  some/os:1: {pull: {policy: ifnotexists, registry: quay.io}}\n"
    board.config(text)
    assert board.apply() == 0
    assert board.containers() == {"os": "created no"}
    assert board.line("os")[:2] == ["ok", "not started yet"]


def test_clean_names_what_it_removes_and_asks(board: Board) -> None:
    board.apply()
    board.config(CONFIG.format(2))
    board.apply()
    (kept,) = board.containers().keys() - {"core"}
    asked = board.run("clean", stdin="n\n")
    assert f"kept aside: {kept}" in asked.stdout
    assert kept in board.containers()
    assert board.run("clean", "--yes").returncode == 0
    assert list(board.containers()) == ["core"]


def test_a_second_apply_waits_for_the_first(board: Board) -> None:
    import fcntl

    lock = board.put("run/skiff/core/lock", "")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = board.start("apply")
        assert process.stderr is not None
        assert process.stderr.readline() == "another apply is at work: waiting for it\n"
        assert not (board.engine / "calls").exists()
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
