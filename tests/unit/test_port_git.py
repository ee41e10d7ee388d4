"""Repositories elsewhere: fetched once, again when a branch may have moved, and read without a work tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.host.run import run
from skiff.port import git
from skiff.port.git import Repository
from skiff.port.trees import File, GitTree, LocalTree
from tests.unit.port_world import commit, write


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that counts as one elsewhere: it is fetched from."""
    monkeypatch.setattr(git, "local_path", lambda url: None)
    folder = tmp_path / "remote"
    write(folder / "sub", Dockerfile="FROM a\n")
    commit(folder)
    return folder


def fetches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is fetched from now on."""
    found: list[str] = []
    whole = run

    def noting(argv: list[str], **values: object) -> object:
        found.extend(["fetch"] if "fetch" in argv else [])
        return whole(argv, **values)  # type: ignore[arg-type]

    monkeypatch.setattr("skiff.port.git.run", noting)
    return found


def test_a_branch_is_where_it_is_now(remote: Path, tmp_path: Path) -> None:
    first = Repository(str(remote), tmp_path)
    old = first.commit("main")
    assert first.read(old, "sub/Dockerfile") == b"FROM a\n"
    assert first.read(old, "sub/gone") is None
    assert first.read(old, "sub") is None
    first.close()
    write(remote / "sub", Dockerfile="FROM b\n")
    new = commit(remote)
    second = Repository(str(remote), tmp_path)
    assert second.commit("main", update=False) == old
    assert second.commit("main") == new
    assert second.read(new, "./sub/../sub//Dockerfile") == b"FROM b\n"
    second.close()


def test_a_commit_is_fetched_once(remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = commit(remote)
    write(remote, later="x")
    commit(remote)
    found = fetches(remote, monkeypatch)
    for _ in range(2):
        repository = Repository(str(remote), tmp_path)
        assert repository.commit(wanted) == wanted
        repository.close()
    assert found == ["fetch"]


def test_a_commit_is_found_by_the_branch_that_leads_to_it(remote: Path, tmp_path: Path) -> None:
    # As servers are that give what a branch names and nothing else.
    run(["git", "-C", remote, "config", "protocol.version", "0"])
    wanted = commit(remote)
    write(remote, later="x")
    commit(remote)
    repository = Repository(str(remote), tmp_path)
    assert repository.commit(wanted, "refs/heads/main") == wanted
    repository.close()


@pytest.mark.parametrize("ref", ["nosuch", "0" * 40])
def test_what_is_not_there(remote: Path, tmp_path: Path, ref: str) -> None:
    repository = Repository(str(remote), tmp_path)
    with pytest.raises(UserError, match="cannot be fetched"):
        repository.commit(ref)
    repository.close()


def test_a_transport_that_runs_programs_is_refused(tmp_path: Path) -> None:
    repository = Repository(f"ext::touch {tmp_path}/ran", tmp_path)
    with pytest.raises(UserError, match="cannot be fetched"):
        repository.commit("main")
    assert not (tmp_path / "ran").exists()


def test_an_interrupted_start_is_made_again(remote: Path, tmp_path: Path) -> None:
    repository = Repository(str(remote), tmp_path)
    repository.folder.mkdir(parents=True)
    assert len(repository.commit("main")) == 40
    repository.close()


def test_a_work_tree_is_checked_out_once(remote: Path, tmp_path: Path) -> None:
    (remote / "run").write_text("x")
    (remote / "run").chmod(0o755)
    (remote / "link").symlink_to("run")
    made = commit(remote)
    repository = Repository(str(remote), tmp_path)
    folder = repository.checkout(repository.commit(made), tmp_path)
    assert (folder / "sub" / "Dockerfile").read_text() == "FROM a\n"
    assert (folder / "run").stat().st_mode & 0o777 == 0o755
    assert (folder / "link").is_symlink()
    assert sorted(path.name for path in folder.iterdir()) == ["link", "run", "sub"]
    assert repository.checkout(made, tmp_path) == folder
    repository.close()


def test_a_folder_and_a_commit_hold_the_same_files(remote: Path, tmp_path: Path) -> None:
    (remote / "sub" / "bin").mkdir()
    for name, mode in (("a", 0o755), ("b.so", 0o644)):
        (remote / "sub" / "bin" / name).write_text(name)
        (remote / "sub" / "bin" / name).chmod(mode)
    (remote / "sub" / "link").symlink_to("bin/a")
    made = commit(remote)
    repository = Repository(str(remote), tmp_path)
    trees = (GitTree(repository, repository.commit(made), "sub"), LocalTree(remote / "sub"))
    for tree in trees:
        assert sorted(tree.files("bin")) == [File("bin/a", True, 1), File("bin/b.so", False, 4)]
        assert [file.path for file in tree.files("bin/a")] == ["bin/a"]
        assert sorted(file.path for file in tree.files("")) == ["Dockerfile", "bin/a", "bin/b.so"]
        assert list(tree.files("gone")) == []
        assert tree.read("bin/a") == b"a"
        assert tree.read("bin") is None
    repository.close()


def test_of_a_folder_with_very_many_files_not_all_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skiff.port.trees.MOST", 5)
    write(tmp_path / ".git", x="1")
    write(tmp_path / "a", **{f"file{number}": "" for number in range(10)})
    assert [file.path for file in LocalTree(tmp_path).files("")] == [f"a/file{number}" for number in range(5)]
