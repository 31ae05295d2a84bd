"""Where runs on nodes without a shared disk leave their state meanwhile: a path or fsspec address.

    ADDRESS/RUN/step_00000040.json    the files of the run folder at this checkpoint: sha256, bytes
                files/<sha256>        their contents; one that did not change is there once

The list is put last and carries its own digest: a state without one, or with a torn one, does not
exist, and every file is held against its sha256 when it is fetched. The two newest states stay.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from altgrad.compare.launching.parcel import files_of, inside, step_in
from altgrad.runs import PIECE_BYTES, Disk, RunFolder
from altgrad.settings import ConfigError

LOOK_S = 0.5
"""How often a run is asked for a new checkpoint."""
STATES = 2
"""States of a run that stay."""

Listing = dict[str, dict[str, Any]]
"""File of the run folder -> its sha256 and bytes."""


class Storage:
    """States of runs, by the names of their folders.

    Raises:
        ConfigError: the address cannot be used: a package is missing, or it is none.
    """

    def __init__(self, address: str) -> None:
        from fsspec.core import url_to_fs

        self.address = address
        try:
            self.fs, root = url_to_fs(address, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"storage={address}: {error}.") from None
        self.root = str(root).rstrip("/")

    def check(self) -> None:
        """Whether it takes a file and gives it back.

        Raises:
            ConfigError: it does not, and what it said.
        """
        probe, content = f"{self.root}/.probe", b"altgrad"
        try:
            self._put(probe, content)
            found = self.fs.cat_file(probe)
            self.fs.rm_file(probe)
        except Exception as error:  # every file system has errors of its own
            raise ConfigError(f"storage={self.address} cannot be used: {_said(error)}.") from None
        if found != content:
            raise ConfigError(f"storage={self.address} gives back other bytes than it was given.")

    # -- one run -------------------------------------------------------------------------------

    def keep(self, run: Path) -> None:
        """The folder as it is, with its newest checkpoint.

        Raises:
            FileNotFoundError: a checkpoint was removed meanwhile; look again.
        """
        # Listed before anything is read: the metrics then reach at least as far as the checkpoint.
        names = files_of(run)
        step = max((step_in(name) for name in names), default=-1)
        if step < 0:
            return
        place = self._place(run.name)
        listing = {name: self._keep_file(run, name, place) for name in names}
        self._put(f"{place}/step_{step:08d}.json", _dump(listing))
        self._forget_older(place)

    def _keep_file(self, run: Path, name: str, place: str) -> dict[str, Any]:
        path = run / name
        if not name.startswith("checkpoints/"):  # it grows: what is hashed is what is put
            content = path.read_bytes()
            entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            self._put_new(place, entry, lambda target: self._put(target, content))
            return entry
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        entry = {"sha256": sha256, "bytes": path.stat().st_size}
        self._put_new(place, entry, lambda target: self._put_file(path, target))
        return entry

    def _put_new(self, place: str, entry: dict[str, Any], put: Any) -> None:
        target = f"{place}/files/{entry['sha256']}"
        if not self.fs.exists(target) or self.fs.size(target) != entry["bytes"]:
            put(target)

    def _put_file(self, path: Path, target: str) -> None:
        self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        self.fs.put_file(str(path), target)

    def _put(self, target: str, content: bytes) -> None:
        self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        self.fs.pipe_file(target, content)

    def newest_step(self, name: str) -> int:
        """Of the states of a run; -1 without any that is whole."""
        return max((step for step, _ in self._states(self._place(name))), default=-1)

    def bring(self, name: str, into: Path) -> bool:
        """Fetch the newest state of a run that is whole; whether there was one. `into` is made."""
        place = self._place(name)
        for _, listing in self._states(place):
            Disk().remove(into)
            if all(self._fetch(place, file, entry, into) for file, entry in listing.items()):
                return True
        Disk().remove(into)
        return False

    def _fetch(self, place: str, name: str, entry: dict[str, Any], into: Path) -> bool:
        """Whether the file is what was put."""
        path = into / inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.fs.open(f"{place}/files/{entry['sha256']}", "rb") as file:
                pieces = iter(lambda: file.read(PIECE_BYTES), b"")
                return Disk().write(path, pieces)["sha256"] == entry["sha256"]
        except FileNotFoundError:
            return False

    def forget(self, name: str) -> None:
        """Remove all states of a run that has come home."""
        if self.fs.exists(self._place(name)):
            self.fs.rm(self._place(name), recursive=True)

    # -- its lists -------------------------------------------------------------------------------

    def _place(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _states(self, place: str) -> list[tuple[int, Listing]]:
        """Step and files of each state whose list is whole, newest first."""
        found = [(_step(path), self._listing(path)) for path in self._lists(place)]
        whole = [(step, listing) for step, listing in found if listing is not None]
        return sorted(whole, key=lambda state: state[0], reverse=True)

    def _lists(self, place: str) -> list[str]:
        try:
            paths = [str(path) for path in self.fs.ls(place, detail=False, refresh=True)]
        except FileNotFoundError:
            return []
        return [path for path in paths if _step(path) >= 0]

    def _listing(self, path: str) -> Listing | None:
        try:
            content = json.loads(self.fs.cat_file(path))
            files = content["files"]
            return files if _dump(files) == _dump(files, content["digest"]) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _forget_older(self, place: str) -> None:
        """The lists first: a list whose files are gone would only cost whoever fetches it time."""
        states = self._states(place)
        for step, _ in states[STATES:]:
            self.fs.rm_file(f"{place}/step_{step:08d}.json")
        kept = {e["sha256"] for _, files in states[:STATES] for e in files.values()}
        for path in self.fs.ls(f"{place}/files", detail=False, refresh=True):
            if str(path).rpartition("/")[2] not in kept:
                self.fs.rm_file(path)


def _dump(files: Listing, digest: str | None = None) -> bytes:
    text = json.dumps(files, sort_keys=True)
    made = digest or hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({"files": files, "digest": made}, sort_keys=True).encode()


def _step(path: str) -> int:
    """`…/step_00000040.json` -> 40; -1 of another file."""
    name = path.rpartition("/")[2]
    number = name.removeprefix("step_").removesuffix(".json")
    return int(number) if name.startswith("step_") and number.isdigit() else -1


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")


@contextmanager
def kept_meanwhile(run: Path, storage: Storage | None) -> Iterator[None]:
    """While the run is made, each new checkpoint of it goes into the storage."""
    if storage is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_keep_until, args=(over, run, storage), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _keep_until(over: threading.Event, run: Path, storage: Storage) -> None:
    """A storage that fails costs no run: it is told once, and tried again at each checkpoint."""
    seen, told = -1, False
    while not over.wait(LOOK_S):
        step = max((step_in(name) for name in files_of(run)), default=-1)
        if step == seen:
            continue
        try:
            storage.keep(run)
            seen = step
        except FileNotFoundError:  # a checkpoint gave way to a newer one: look again
            continue
        except Exception as error:
            seen = step
            if not told:
                RunFolder(run).event("trouble", what="storage", error=_said(error))
            told = True
