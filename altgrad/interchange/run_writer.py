"""A run folder for a model that was not trained here step by step: imported, or merged."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from altgrad.data import DataError, Metadata
from altgrad.model import GPT
from altgrad.runs import LAYOUT_VERSION, RunFolder, write_atomically
from altgrad.runs.environment import describe_environment
from altgrad.training import TrainConfig
from altgrad.training.checkpoints import CheckpointManager


def write_run(
    run: Path,
    settings: TrainConfig,
    model: GPT,
    data: dict[str, Any],
    *,
    step: int,
    origin: str,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """The folder `run`, whole or not at all: settings, `data.json`, one checkpoint; and `files`,
    name -> content.

    `origin` is the event that says where the model comes from. Raises DataError if `run` exists.
    """
    if run.exists():
        raise DataError(f"{run} exists already; choose another --out")
    unfinished = run.with_name(f".{run.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    folder = RunFolder(unfinished)
    unfinished.mkdir(parents=True)
    try:
        write_atomically(folder.config, yaml.safe_dump(settings.to_dict(), sort_keys=False))
        folder.write_json(folder.environment, describe_environment())
        folder.write_json(folder.data, data)
        for name, content in (files or {}).items():
            (unfinished / name).write_bytes(content)
        CheckpointManager(folder.checkpoints).save(step, model, config=settings)
        folder.event("started", step=step, layout=LAYOUT_VERSION)
        folder.event("finished", step=step, origin=origin)
        unfinished.rename(run)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return run


def data_facts(metadata: Metadata) -> dict[str, Any]:
    """What `data.json` says of a model without a folder of tokens."""
    return {"data_dir": None, **asdict(metadata)}
