"""Git repositories without a work tree: commits are fetched into the cache and their files asked for."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from skiff.host.errors import UserError
from skiff.host.files import at_home, digest, keep_folder
from skiff.host.run import DEVNULL, PIPE, CommandError, Process, run, spawn

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# No question at the terminal, and no transport that runs a program of the address's choice.
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}
# Seconds; of a large repository over a slow line.
_FETCH = 900.0


class Item(NamedTuple):
    """What a folder of a commit holds."""

    name: str
    # As git writes it: 100644, 100755, 120000 (a link), 40000 (a folder), 160000 (another repository).
    mode: str
    object: str


class Repository:
    """One repository, read by one git process that lives as long as it is used."""

    def __init__(self, url: str, cache: Path) -> None:
        self.url = url
        own = local_path(url)
        self._local = own is not None
        self.folder = own if own is not None else cache / "port" / "git" / digest(url)[:20]
        self._process: Process | None = None
        self._lock = threading.Lock()

    def commit(self, ref: str, fetch: str = "", *, update: bool = True) -> str:
        """The commit of a branch, tag or commit, fetched when it is not there.

        ``fetch`` is a reference by which a commit can be fetched. Without ``update``, what was fetched before
        is good enough. Raises UserError.
        """
        if ref.startswith("-") or self.url.startswith("-"):
            raise UserError(f"{self.url}#{ref}: not an address of a repository")
        with self._lock:
            exact = _COMMIT.fullmatch(ref) is not None
            if self._local or exact or not update:
                found = self._known(ref)
                if found or self._local:
                    return found or self._absent(ref)
            return self._fetched(ref, fetch, exact)

    def read(self, commit: str, path: str) -> bytes | None:
        """A file of a commit; None if there is none."""
        return self._object(f"{commit}:{clean(path)}", "blob")

    def size(self, object: str) -> int:
        """Bytes of an object."""
        with self._lock:
            head = self._ask(f"info {object}")
        return int(head[2]) if len(head) == 3 else 0

    def content(self, object: str) -> bytes:
        """An object by its name."""
        return self._object(object, "blob") or b""

    def items(self, commit: str, path: str) -> tuple[Item, ...]:
        """What a folder of a commit holds; nothing if there is no such folder."""
        path = clean(path)
        data = self._object(f"{commit}:{path}" if path else f"{commit}^{{tree}}", "tree")
        return tuple(_items(data or b"", len(commit) // 2))

    def submodules(self, commit: str, path: str) -> tuple[str, ...]:
        """Folders below one of a commit that are other repositories."""
        below = [clean(path)] if clean(path) else []
        listed = run(self._git("ls-tree", "-r", "-z", commit, "--", *below)).stdout.decode(errors="replace")
        return tuple(one.partition("\t")[2] for one in listed.split("\0") if one.startswith("160000 "))

    def checkout(self, commit: str, cache: Path) -> Path:
        """A folder with all files of a commit, in the cache. Raises UserError."""
        target = cache / "port" / "trees" / f"{digest(self.url)[:12]}-{commit[:20]}"
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".", dir=target.parent))
        try:
            index = partial / ".index"
            words: list[str | Path] = ["--work-tree", partial, "checkout", "--force", commit, "--", "."]
            run(self._git(*words), env={**_ENVIRONMENT, "GIT_INDEX_FILE": str(index)}, timeout=_FETCH)
            index.unlink()
            partial.chmod(0o755)
            keep_folder(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return target

    def close(self) -> None:
        """End the git process."""
        if self._process is not None:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._process = None

    def _git(self, *words: str | Path) -> list[str | Path]:
        return ["git", "--git-dir", _git_dir(self.folder), *words]

    def _known(self, ref: str) -> str:
        """The commit of a name that is there; empty if none is."""
        if not (_git_dir(self.folder) / "HEAD").exists():
            return ""
        if _COMMIT.fullmatch(ref):
            return ref if self._ask(f"info {ref}^{{commit}}")[1:2] == ["commit"] else ""
        for name in (ref, f"refs/skiff/{digest(ref)[:20]}", f"refs/remotes/origin/{ref}"):
            done = run(self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"), check=False)
            if done.returncode == 0:
                return done.stdout.decode().strip()
        return ""

    def _absent(self, ref: str) -> str:
        raise UserError(f"{self.url}: there is no {ref}", "name a branch, tag or commit that it has")

    def _fetched(self, ref: str, fetch: str, exact: bool) -> str:
        # An interrupted one is made again.
        if not (self.folder / "HEAD").exists():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            run(["git", "init", "--quiet", "--bare", self.folder])
        keep = f"refs/skiff/{digest(ref)[:20]}"
        # Most servers give a single commit; the others all that leads to it.
        ways = [["--depth=1", self.url, f"+{ref}:{keep}"]]
        if exact:
            ways += [[self.url, f"+{fetch}:refs/skiff/fetched/{digest(fetch)[:20]}"]] if fetch else []
            ways += [[self.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]]
        problem = ""
        for way in ways:
            try:
                words = ["-c", "gc.auto=0", "fetch", "--quiet", "--force", "--no-tags", *way]
                run(self._git(*words), env=_ENVIRONMENT, timeout=_FETCH)
            except CommandError as error:
                problem = problem or _reason(error)
                continue
            found = self._known(ref if exact else keep)
            if found:
                return found
        raise UserError(
            f"{self.url}: {ref or 'HEAD'} cannot be fetched: {problem or 'it has no such commit'}",
            "check address, name and network; `--source` names another place",
        )

    def _object(self, name: str, kind: str) -> bytes | None:
        with self._lock:
            head = self._ask(f"contents {name}")
            if len(head) != 3 or self._process is None or self._process.stdout is None:
                return None
            data = self._process.stdout.read(int(head[2]) + 1)[:-1]
        return data if head[1] == kind else None

    def _ask(self, request: str) -> list[str]:
        """git's answer to one line: name, kind and size; the object's content still waits to be read."""
        if "\n" in request:
            return []
        if self._process is None:
            words = self._git("cat-file", "--batch-command")
            self._process = spawn(words, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_ENVIRONMENT)
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(f"{request}\n".encode())
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            raise UserError(f"{self.url}: cannot be read: {self.folder} is no repository, or git is too old")
        return [] if answer.endswith(b" missing\n") else answer.decode(errors="replace").split()[-3:]


def _items(data: bytes, size: int) -> Iterator[Item]:
    """The entries of a tree object; names of objects are ``size`` bytes long."""
    at = 0
    while at < len(data):
        blank, end = data.index(b" ", at), data.index(b"\0", at)
        name = data[blank + 1 : end].decode(errors="surrogateescape")
        yield Item(name, data[at:blank].decode(), data[end + 1 : end + 1 + size].hex())
        at = end + 1 + size


def clean(path: str) -> str:
    """A path as git wants it: no `.`, no slash at its ends."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _git_dir(folder: Path) -> Path:
    return folder / ".git" if (folder / ".git").exists() else folder


def local_path(url: str) -> Path | None:
    """The folder that an address means; None for one elsewhere."""
    path = at_home(url.removeprefix("file://"))
    if url.startswith("file://") or (":" not in url and (path.is_dir() or os.sep in url)):
        return path.absolute()
    return None


def _reason(error: CommandError) -> str:
    lines = [line for line in error.output.strip().splitlines() if line.strip()]
    return lines[0].removeprefix("fatal: ") if lines else f"git ended with {error.status}"
