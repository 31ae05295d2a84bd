"""The folder that a program is tried from, and its state set apart: the folder is never touched.

Hashed is every file below it (below the repository, if it lies in one) as it is now, committed or
not, ignored or not: what a script needs is often what git ignores. Not among them: `SKIPPED`, the
runs' own folder, and `leave_out=`. What `link=` names is linked, and stands in the hash with sizes
and times of its files.

The state is set apart in `runs/trees/VERSION`, a git worktree (so that what asks git is answered)
or a plain copy, with the patches applied. Each run gets a copy of that for itself, so that no run
finds what another one left behind.
"""

import fcntl
import fnmatch
import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from altgrad.programs.patches import Patch, apply, git
from altgrad.runs import write_atomically
from altgrad.settings import ConfigError, require

TREES = "trees"
SKIPPED = {
    *(".git", "__pycache__", ".venv", "venv", "node_modules", ".ipynb_checkpoints"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".tox", ".nox", "wandb"),
}
"""Folders that make no number: caches, environments, logs."""

MOST_BYTES = 4 << 30
"""More than this is copied for nobody: name the data with link=."""


@dataclass(frozen=True)
class Source:
    """folder: the program's. root: the repository it lies in, or the folder itself. commit: None
    outside of a repository; diff: against it. files: path below root -> hash; links: likewise, of
    what is linked, -> where to."""

    folder: Path
    root: Path
    commit: str | None
    diff: str
    files: dict[str, str]
    links: dict[str, str]

    @property
    def below(self) -> str:
        found = self.folder.relative_to(self.root).as_posix()
        return "" if found == "." else found

    def version(self, patches: Sequence[Patch]) -> str:
        content = [self.below, sorted(self.files.items()), [p.sha for p in patches]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def read_source(
    folder: str | Path,
    *,
    runs: str | Path,
    link: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    only: str = "",
) -> Source:
    """What is in the folder now.

    runs: the runs' own folder. only: of all that lies below the root, this folder alone.

    Raises:
        ConfigError: no folder, what is to be linked is not there, or it is too large to be copied.
    """
    folder = Path(folder).resolve()
    require(folder.is_dir(), f"cwd={folder}: there is no such folder.")
    root = _top(folder)
    prefix = folder.relative_to(root)
    linked = {(prefix / name).as_posix(): folder / name for name in link}
    for name, target in zip(link, linked.values(), strict=True):
        require(target.exists(), f"link={name}: it is not in {folder}.")
    out = [(prefix / name).as_posix() for name in leave_out]
    found = list(_walk(root, Path(runs).resolve(), [*out, *linked], only))
    _refuse_large(found, folder)
    files = {path.relative_to(root).as_posix(): _hash(path, root) for path in found}
    files |= {name: _outline(target) for name, target in linked.items()}
    commit = _ask(root, "rev-parse", "HEAD").strip() or None
    diff = _ask(root, "diff", "HEAD", "--binary") if commit else ""
    return Source(folder, root, commit, diff, files, {n: str(t) for n, t in linked.items()})


def _top(folder: Path) -> Path:
    top = _ask(folder, "rev-parse", "--show-toplevel").strip()
    return Path(top).resolve() if top else folder


def _ask(folder: Path, *words: str) -> str:
    """What git says of a folder; nothing outside of a repository, or without git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, errors="replace"
        )
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _walk(root: Path, runs: Path, out: Sequence[str], only: str) -> Iterator[Path]:
    """Files and links, in a fixed order."""
    for where, folders, files in os.walk(root / only):
        place = Path(where)
        kept = [f for f in sorted(folders) if f not in SKIPPED and place / f != runs]
        kept = [f for f in kept if not _is_out((place / f).relative_to(root).as_posix(), out)]
        links = [f for f in kept if (place / f).is_symlink()]
        folders[:] = [f for f in kept if f not in links]
        for name in [*links, *sorted(files)]:
            path = place / name
            kind = path.lstat().st_mode
            plain = stat.S_ISREG(kind) or stat.S_ISLNK(kind)
            below = path.relative_to(root).as_posix()
            if plain and below != ".git" and not _is_out(below, out):
                yield path


def _is_out(path: str, out: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in out)


def _refuse_large(files: Sequence[Path], folder: Path) -> None:
    sizes = {path: path.lstat().st_size for path in files}
    total = sum(sizes.values())
    largest = max(sizes, key=lambda p: sizes[p], default=folder)
    require(
        total <= MOST_BYTES,
        f"cwd={folder} holds {total / 2**30:.1f} GiB, and each run would get a copy of it; write "
        f"link=FOLDER for data that runs only read, or leave_out=FOLDER (the largest file is "
        f"{largest}).",
    )


def _hash(path: Path, root: Path) -> str:
    if path.is_symlink():
        return f"-> {_target(path, root)}"
    mode = "x" if os.access(path, os.X_OK) else "-"
    with path.open("rb") as file:
        return mode + hashlib.file_digest(file, "sha256").hexdigest()


def _target(link: Path, root: Path) -> str:
    """What leads out of the root must still lead there from a copy."""
    end = Path(os.path.normpath(link.parent / link.readlink()))
    return str(link.readlink()) if end.is_relative_to(root) else str(end)


def _outline(target: Path) -> str:
    """Sizes and times of what is linked: reading data sets at every start would take too long."""
    inside = [target] if target.is_file() else sorted(p for p in target.rglob("*") if p.is_file())
    stats = [(p.relative_to(target.parent).as_posix(), p.stat()) for p in inside]
    text = json.dumps([[name, s.st_size, s.st_mtime_ns] for name, s in stats])
    return "linked " + hashlib.sha256(text.encode()).hexdigest()


class Tree:
    """A source's state with patches, in `runs/trees/VERSION`.

    Whoever uses it holds a shared lock; it is removed when nobody does.
    """

    def __init__(self, source: Source, patches: Sequence[Patch], runs: str | Path) -> None:
        self.source, self.patches = source, tuple(patches)
        self.version = source.version(patches)
        self.path = Path(runs).absolute() / TREES / self.version
        self._whole = self.path.with_suffix(".json")
        self._lock: int | None = None

    @property
    def folder(self) -> Path:
        """The one in it that the program runs in."""
        return self.path / self.source.below

    @property
    def kind(self) -> str:
        return "a git worktree" if self.source.commit else "a plain copy (no git repository)"

    def hold(self) -> "Tree":
        """It is there from now on until `release`.

        Raises:
            ConfigError: a patch does not apply.
        """
        if self._lock is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(handle, fcntl.LOCK_SH)
            try:
                # Whoever holds it shared has it whole: only where nobody does is it made.
                while not self._whole.is_file():
                    fcntl.flock(handle, fcntl.LOCK_EX)
                    self._make_once()
                    fcntl.flock(handle, fcntl.LOCK_SH)
            except BaseException:
                os.close(handle)
                raise
            self._lock = handle
        return self

    def _make_once(self) -> None:
        try:
            if not self._whole.is_file():
                self._make()
        except BaseException:
            self._remove()
            raise

    def release(self) -> None:
        """Remove it unless another process uses it."""
        if self._lock is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._remove()
        except BlockingIOError:
            pass
        os.close(self._lock)
        self._lock = None

    def changed(self) -> list[str]:
        """Files that the patches have changed, added or removed."""
        now = {p.relative_to(self.path).as_posix(): _hash(p, self.path) for p in _walk_all(self)}
        before = self.source.files
        names = {*now, *before} - set(self.source.links)
        return sorted(name for name in names if now.get(name) != before.get(name))

    def _make(self) -> None:
        self._remove()
        if self.source.commit:
            self._add_worktree(self.source.commit)
        else:
            self.path.mkdir()
        self._fill()
        apply(self.patches, self.path, self.source.below)
        facts = {"commit": self.source.commit, "diff": self.source.diff}
        write_atomically(self._whole, json.dumps(facts) + "\n")

    def _add_worktree(self, commit: str) -> None:
        # Without a checkout and without hooks: the files come from the folder as it is.
        words = ["-c", "core.hooksPath=/dev/null", "worktree", "add", "--force", "--detach"]
        words.append("--no-checkout")
        done = subprocess.run(
            [git(), "-C", str(self.source.root), *words, str(self.path), commit],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ConfigError(f"no git worktree of {self.source.root}: {done.stderr.strip()}")
        # Its index as after a checkout, so that `git status` and `git diff` in it say what is true.
        subprocess.run([git(), "-C", str(self.path), "reset", "--quiet"], capture_output=True)

    def _fill(self) -> None:
        for name in self.source.files:
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in self.source.links:
                target.symlink_to(self.source.links[name])
            else:
                copy_file(self.source.root / name, target, self.source.root)

    def _remove(self) -> None:
        self._whole.unlink(missing_ok=True)
        if not self.path.exists():
            return
        if self.source.commit:  # this one alone: pruning would take worktrees of others along
            _ask(self.source.root, "worktree", "remove", "--force", str(self.path))
        shutil.rmtree(self.path, ignore_errors=True)


def _walk_all(tree: Tree) -> Iterator[Path]:
    return _walk(tree.path, tree.path / TREES, list(tree.source.links), "")


def copy_file(path: Path, target: Path, root: Path) -> None:
    if path.is_symlink():
        target.symlink_to(_target(path, root))
    else:
        shutil.copy2(path, target)


@contextmanager
def copied(tree: Path, into: Path) -> Iterator[Path]:
    """A run's own copy of a tree, gone when the run is over."""
    shutil.rmtree(into, ignore_errors=True)
    try:
        shutil.copytree(tree, into, symlinks=True)
        yield into
    finally:
        shutil.rmtree(into, ignore_errors=True)
