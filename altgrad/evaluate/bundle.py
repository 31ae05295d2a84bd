"""CORE's tasks on disk: the published evaluation bundle, as a folder or as its zip file.

    core.yaml             the tasks: file, number of few-shot examples, kind, delimiter
    eval_meta_data.csv    the accuracy of guessing, in percent, per task
    eval_data/            one JSONL file a task

DCLM (arXiv 2406.11794, section 3.5) defines CORE over the 22 tasks of `CORE_TASKS`.
"""

import csv
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad.data.errors import DataError, refuse_unknown

CORE_TASKS = (
    "hellaswag_zeroshot",
    "jeopardy",
    "bigbench_qa_wikidata",
    "arc_easy",
    "arc_challenge",
    "copa",
    "commonsense_qa",
    "piqa",
    "openbook_qa",
    "lambada_openai",
    "hellaswag",
    "winograd",
    "winogrande",
    "bigbench_dyck_languages",
    "agi_eval_lsat_ar",
    "bigbench_cs_algorithms",
    "bigbench_operators",
    "bigbench_repeat_copy_logic",
    "squad",
    "coqa",
    "boolq",
    "bigbench_language_identification",
)
KINDS = ("multiple_choice", "schema", "language_modeling")
PUBLISHED_AT = "https://karpathy-public.s3.us-west-2.amazonaws.com/eval_bundle.zip"
ENVIRONMENT = "ALTGRAD_CORE"


@dataclass(frozen=True)
class Task:
    """One task: how it is asked, and how often a guess is right."""

    name: str
    kind: str
    file: str
    shots: int
    delimiter: str
    baseline: float


class Bundle:
    """The evaluation bundle at `path`: a folder, or a zip file that holds one.

    Raises DataError when it is neither, or a part of it is missing or damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        self._zip = _open_zip(self.path) if self.path.is_file() else None
        self._names = set(self._zip.namelist()) if self._zip else set()
        self._root = self._find_root()
        baselines = self._baselines()
        self.tasks = {task.name: task for task in self._tasks(baselines)}
        self.present = [name for name, task in self.tasks.items() if self._has(task.file)]

    def select(self, names: list[str]) -> list[Task]:
        """The tasks of these names; `core` stands for all whose file is here."""
        wanted: list[str] = []
        for name in names:
            if name != "core" and name not in self.tasks:
                raise refuse_unknown(name, ["core", *self.tasks], what="task")
            if name != "core" and name not in self.present:
                raise DataError(f"{self.path} has no {self.tasks[name].file}, the task {name}")
            wanted += self.present if name == "core" else [name]
        return [self.tasks[name] for name in dict.fromkeys(wanted)]

    def items(self, task: Task) -> list[dict[str, Any]]:
        """The task's examples in the order of its file."""
        lines = self._read(task.file).splitlines()
        try:
            return [json.loads(line) for line in lines if line.strip()]
        except json.JSONDecodeError as error:
            raise DataError(f"{self.path}: {task.file} is damaged ({error})") from None

    # -- reading -------------------------------------------------------------------------------

    def _find_root(self) -> str:
        """Where `core.yaml` lies: at the top, or in a folder of the published zip file."""
        roots = ["", "eval_bundle/"]
        for root in roots:
            if self._has("core.yaml", root):
                return root
        raise DataError(
            f"{self.path} is no evaluation bundle (no core.yaml); the published one is "
            f"{PUBLISHED_AT}"
        )

    def _has(self, name: str, root: str | None = None) -> bool:
        root = self._root if root is None else root
        return any(self._exists(root + n) for n in (name, f"eval_data/{name}"))

    def _exists(self, name: str) -> bool:
        return name in self._names if self._zip else (self.path / name).is_file()

    def _read(self, name: str) -> str:
        for candidate in (self._root + name, f"{self._root}eval_data/{name}"):
            if self._exists(candidate):
                content = self._zip.read(candidate) if self._zip else _bytes(self.path / candidate)
                return content.decode("utf-8")
        raise DataError(f"{self.path} has no {name}")

    def _tasks(self, baselines: dict[str, float]) -> Iterator[Task]:
        import yaml

        for entry in yaml.safe_load(self._read("core.yaml"))["icl_tasks"]:
            name, kind = entry["label"], entry["icl_task_type"]
            if kind not in KINDS:
                raise DataError(f"{self.path}: task {name} is of the unknown kind {kind!r}")
            if name not in baselines:
                raise DataError(f"{self.path}: eval_meta_data.csv has no baseline of {name}")
            yield Task(
                name=name,
                kind=kind,
                file=entry["dataset_uri"],
                shots=int(entry["num_fewshot"][0]),
                delimiter=entry.get("continuation_delimiter", " "),
                baseline=baselines[name] / 100,
            )

    def _baselines(self) -> dict[str, float]:
        rows = csv.DictReader(io.StringIO(self._read("eval_meta_data.csv")))
        return {row["Eval Task"]: float(row["Random baseline"]) for row in rows}


def find_bundle(path: str | None) -> Bundle:
    """The bundle at `path`, else at `$ALTGRAD_CORE`.

    Raises DataError when neither is given.
    """
    path = path or os.environ.get(ENVIRONMENT)
    if not path:
        raise DataError(
            f"the CORE tasks need the evaluation bundle: download {PUBLISHED_AT} (162 MB) and "
            f"give its path, zipped or not, to --bundle (learn race: --core) or as ${ENVIRONMENT}"
        )
    return Bundle(path)


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is not a whole zip file ({error}); download it again") from None


def _bytes(path: Path) -> bytes:
    return path.read_bytes()
