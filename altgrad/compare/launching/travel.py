"""Runs on machines that share no disk with this one: what they need goes there, they come back.

The package and one's own parts (as far as `outside` follows their imports) travel as files on
Python's path, tokens and what a run already has as parcels, settings in the task. There the run is
made in a folder of its own and comes back as a parcel, failed or finished; its checkpoints go
into the storage meanwhile, if there is one. None of it changes a number: settings, code and tokens
are those of this machine.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import altgrad
from altgrad.compare.launching.launch import Task
from altgrad.compare.launching.parcel import Parcel, arrive, pack, put_back, unpack
from altgrad.compare.launching.storage import Storage, kept_meanwhile
from altgrad.data import DataConfig, load_metadata, prepare, use_tokens
from altgrad.data.config import cache_root
from altgrad.programs import is_program
from altgrad.runs import RunFolder, keep_sources
from altgrad.settings import ConfigError, from_dict


@dataclass(frozen=True)
class Tokens:
    """What the settings `data` stand for on this machine. tokenizer: the published files it is
    made of, which a node might not be able to fetch."""

    folder: Parcel
    tokenizer: Parcel = field(default_factory=Parcel)


def lay_code(tasks: Sequence[Task], folder: Path) -> None:
    """Put altgrad and the own parts of all tasks into `folder`, as Python imports them.

    Raises:
        ValueError: there is no source for a name.
    """
    package = Path(altgrad.__file__).parent
    shutil.copytree(package, folder / "altgrad", ignore=shutil.ignore_patterns("__pycache__"))
    for settings in _distinct([task.settings for task in tasks if not is_program(task.settings)]):
        keep_sources(settings, folder)


def _distinct(found: Sequence[dict]) -> list[dict]:
    """Settings of one arm name the same code for every seed."""
    return list(
        {repr({**settings, "seed": 0, "run_dir": ""}): settings for settings in found}.values()
    )


def refuse_what_stays(tasks: Sequence[Task], why: str) -> None:
    """Raises ConfigError for runs that need files of this machine besides code and tokens."""
    for task in tasks:
        needs = _needs(task)
        if needs:
            raise ConfigError(
                f"{task.label} needs {needs}, which lies on this machine alone, and {why}. Give "
                "runs= a folder on a disk that all nodes share, at the same path."
            )


def _needs(task: Task) -> str:
    if is_program(task.settings):
        return "the folder of its program (program=)"
    if task.code is not None:
        return "the patched altgrad (patch=)"
    return f"init_from={task.settings['init_from']}" if task.settings.get("init_from") else ""


class NoSharedDisk:
    """Tokens and begun runs are sent as parcels, run folders come back as such.

    Args:
        put: makes of an object what a task takes for it, so that each is sent once (`ray.put`).
    """

    def __init__(self, put: Callable[[Any], Any], storage: Storage | None) -> None:
        self.put, self.storage = put, storage
        self.call = make_away
        self._tokens: dict[str, Any] = {}

    def sent(self, task: Task) -> tuple[Any, ...]:
        """The arguments of `make_away`."""
        run = Path(task.run)
        put_back(run)
        begun = self.put(pack(run)) if run.is_dir() else None
        return task, self._sent_tokens(task), begun, self.storage.address if self.storage else ""

    def _sent_tokens(self, task: Task) -> Any:
        """Arms read the same text, as a rule: then it is read and sent once."""
        config = _data_config(task)
        if (key := repr(config)) not in self._tokens:
            self._tokens[key] = self.put(_tokens_of(config))
        return self._tokens[key]

    def take(self, task: Task, result: Parcel | None) -> None:
        """Put the run in its place; only then it leaves the storage.

        Raises:
            DamagedParcel: it did not arrive as it was sent.
        """
        if result is None:
            return
        arrive(result, Path(task.run))
        if self.storage is not None:
            with suppress(Exception):  # what stays there costs room, no run
                self.storage.forget(Path(task.run).name)


def _tokens_of(config: DataConfig) -> Tokens:
    folder = prepare(config)
    name = (load_metadata(folder).tokenizer or {}).get("name")
    files = cache_root(config) / "tokenizers" / str(name)
    return Tokens(pack(folder), pack(files))


def _data_config(task: Task) -> DataConfig:
    return from_dict(DataConfig, task.settings["data"])


# -- there ----------------------------------------------------------------------------------------


def make_away(task: Task, tokens: Tokens, begun: Parcel | None, storage: str) -> Parcel:
    """Make the run of a task on this machine, or go on with it, and pack its folder.

    begun: what there is of it at home.

    Raises:
        Exception: what stopped it before it had a folder.
    """
    from altgrad.compare.launching.worker import run_task

    place = Path(tempfile.mkdtemp(prefix="altgrad-"))
    try:
        there, kept = _task_at(place, task), Storage(storage) if storage else None
        run = Path(there.run)
        _lay_tokens(there, tokens, place / "tokens")
        _take_up(run, begun, kept)
        with kept_meanwhile(run, kept):
            try:
                run_task(there)
            except Exception:
                # What stopped it is written into its folder, which comes home all the same.
                if not RunFolder(run).config.is_file():
                    raise
        return pack(run)
    finally:
        os.chdir("/")
        shutil.rmtree(place, ignore_errors=True)


def _task_at(place: Path, task: Task) -> Task:
    """The same run with this machine's paths; a cache that was named is a folder of another one."""
    run = place / "runs" / Path(task.run).name
    data = {**task.settings["data"], "cache_dir": None}
    settings = {**task.settings, "run_dir": str(run), "data": data}
    return replace(task, run=str(run), settings=settings, cwd=str(place))


def _lay_tokens(task: Task, tokens: Tokens, folder: Path) -> None:
    unpack(tokens.folder, folder)
    config = _data_config(task)
    use_tokens(config, folder)
    name = (load_metadata(folder).tokenizer or {}).get("name")
    files = cache_root(config) / "tokenizers" / str(name)
    if tokens.tokenizer.contents and not files.exists():
        unpack(tokens.tokenizer, files)


def _take_up(run: Path, begun: Parcel | None, storage: Storage | None) -> None:
    """Go on from the storage or from home, whichever got further."""
    run.parent.mkdir(parents=True)
    if storage is not None:
        step = begun.newest_step if begun else -1
        with suppress(Exception):  # not reached, in words of its own: go on with what came along
            if storage.newest_step(run.name) > step and storage.bring(run.name, run):
                return
        shutil.rmtree(run, ignore_errors=True)
    if begun is not None:
        unpack(begun, run)
