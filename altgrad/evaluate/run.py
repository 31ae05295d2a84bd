"""One run evaluated: its model on a device, the tasks that were asked for, a report."""

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from altgrad.data import DataError, load_metadata, prepare
from altgrad.evaluate.bundle import find_bundle
from altgrad.evaluate.core import Aggregate, TaskResult, aggregate, evaluate_tasks
from altgrad.evaluate.corpus import CorpusResult, evaluate_file, evaluate_split
from altgrad.model import GPT
from altgrad.model.attention import CausalSelfAttention
from altgrad.runs import json_text, write_atomically
from altgrad.training.build import LoadedRun
from altgrad.training.machine import has_fast_bf16, pick_device
from altgrad.training.token_hashes import tokens_again

LOSS = "loss"
HARNESS = "lm-eval:"
DTYPES = ("auto", "fp32", "bf16")
FOLDER = "evaluations"


@dataclass
class Report:
    """Everything one `altgrad eval` found."""

    step: int
    dtype: str
    corpora: list[CorpusResult] = field(default_factory=list)
    tasks: list[TaskResult] = field(default_factory=list)
    harness: dict[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> Aggregate | None:
        return aggregate(self.tasks) if self.tasks else None

    def to_dict(self) -> dict[str, Any]:
        total = self.total
        return {
            "step": self.step,
            "dtype": self.dtype,
            "corpora": [c.to_dict() for c in self.corpora],
            "tasks": [t.to_dict() for t in self.tasks],
            "total": vars(total) if total else None,
            "lm_eval": self.harness,
        }


@dataclass(frozen=True)
class Wishes:
    """What to evaluate, and how.

    tasks: `loss`, `core`, names of CORE's tasks, `lm-eval:NAME`.
    texts: files, or folders of tokens, whose loss is wanted.
    """

    tasks: Sequence[str] = (LOSS,)
    texts: Sequence[Path] = ()
    bundle: str | None = None
    max_per_task: int = -1
    unknown: str = "refuse"
    device: str = "auto"
    dtype: str = "auto"
    batch_tokens: int = 8192


class Watcher:
    """Watches an evaluation; by default it does nothing."""

    def corpus(self, result: CorpusResult) -> None: ...

    def task(self, result: TaskResult) -> None: ...

    def progress(self, done: int, total: int) -> None:
        """Of a text."""

    def remaining(self, seconds: float) -> None:
        """Of all tasks, estimated; told before `task` too."""


def evaluate_run(run: LoadedRun, wishes: Wishes, watcher: Watcher | None = None) -> Report:
    """Evaluate what `wishes` names; every name is checked before any work.

    Raises:
        DataError: an unknown task, no bundle, a text that does not fit the tokenizer.
    """
    watcher = watcher or Watcher()
    device = pick_device(wishes.device)
    dtype = pick_dtype(wishes.dtype, device)
    report = Report(run.step, str(dtype).removeprefix("torch."))
    names = [t for t in wishes.tasks if t != LOSS and not t.startswith(HARNESS)]
    bundle = find_bundle(wishes.bundle) if names else None
    tasks = bundle.select(names) if bundle else []
    harness = [t.removeprefix(HARNESS) for t in wishes.tasks if t.startswith(HARNESS)]

    model = run.model.to(device).eval()
    for result in _corpora(run, model, wishes, device, watcher.progress):
        report.corpora.append(result)
        watcher.corpus(result)
    if bundle:
        report.tasks = evaluate_tasks(
            in_dtype(model, dtype),
            run.tokenizer,
            bundle,
            tasks,
            max_per_task=wishes.max_per_task,
            unknown=wishes.unknown,
            batch_tokens=wishes.batch_tokens,
            finished=watcher.task,
            remaining=watcher.remaining,
        )
    if harness:
        from altgrad.evaluate.harness import run_harness

        limit = None if wishes.max_per_task == -1 else wishes.max_per_task
        report.harness = run_harness(in_dtype(model, dtype), run.tokenizer, harness, limit=limit)
    return report


def _corpora(
    run: LoadedRun,
    model: GPT,
    wishes: Wishes,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> list[CorpusResult]:
    """In the arithmetic the run was trained in, so that the numbers are the run's own."""
    compute = run.config.precision.compute
    how: dict[str, Any] = {"batch_size": run.config.data.batch_size, "progress": progress}
    results = []
    with arithmetic(compute, device):
        if LOSS in wishes.tasks:
            folder = _own_tokens(run)
            results.append(evaluate_split(model, folder, **how))
        for path in wishes.texts:
            if path.is_dir():
                check_same_tokenizer(path, run)
                results.append(evaluate_split(model, path, **how))
            else:
                results.append(
                    evaluate_file(model, run.tokenizer, path, config=run.config.data, **how)
                )
    return results


def _own_tokens(run: LoadedRun) -> Path:
    """Where the run's validation split lies; checked where the run has a folder that says."""
    how: dict[str, Any] = {
        "block_size": run.config.model.block_size,
        "vocabulary": run.tokenizer.describe().get("vocabulary"),
    }
    if run.folder is None:
        return prepare(run.config.data, **how)
    return tokens_again(run.folder, run.config.data, splits=["val"], **how)


def check_same_tokenizer(folder: Path, run: LoadedRun) -> None:
    """Raises DataError for a folder of tokens that another tokenizer made."""
    theirs, ours = load_metadata(folder).tokenizer, run.tokenizer.describe()
    if theirs is not None and theirs != ours:
        raise DataError(
            f"{folder} was cut with the tokenizer {theirs['name']}, this model reads "
            f"{ours['name']} of its own; prepare the text with that one"
        )


def arithmetic(compute: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which a run of this `precision.compute` computes."""
    if compute == "bf16-mixed":
        return torch.autocast(device.type, torch.bfloat16)
    if compute == "16-mixed":
        return torch.autocast(device.type, torch.float16)
    return nullcontext()


def pick_dtype(wish: str, device: torch.device) -> torch.dtype:
    """`auto` is bf16 where the device multiplies it fast."""
    if wish not in DTYPES:
        raise DataError(f"dtype={wish!r}: allowed are {', '.join(DTYPES)}")
    if wish == "auto":
        wish = "bf16" if has_fast_bf16(device) else "fp32"
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[wish]


def in_dtype(model: GPT, dtype: torch.dtype) -> GPT:
    """A copy whose weights and activations are `dtype`, with the attention that is fastest so."""
    model = copy.deepcopy(model).to(dtype)
    on_cpu = next(model.parameters()).device.type == "cpu"
    for module in model.modules():
        if on_cpu and isinstance(module, CausalSelfAttention):
            module.backend = "blocks"
    return model


def keep_report(folder: Path, report: Report) -> Path:
    """Write the report into the run folder, under a name of its own.

    Raises:
        DataError: the disk refuses; the report is lost, but for what was printed.
    """
    name = f"step_{report.step:08d}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path = folder / FOLDER / name
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json_text(report.to_dict(), indent=1) + "\n")
    except OSError as error:
        raise DataError(f"what stands above could not be kept: {path}: {error.strerror}") from error
    return path


def check_place(folder: Path) -> None:
    """Before anything is measured: a report can be written there.

    Raises:
        DataError: it cannot.
    """
    place = folder / FOLDER
    try:
        place.mkdir(exist_ok=True)
        write_atomically(place / ".room", " " * 65536)
        (place / ".room").unlink()
    except OSError as error:
        raise DataError(
            f"the report cannot be kept in {place}: {error.strerror}; "
            "--keep=no only prints what was measured"
        ) from error
