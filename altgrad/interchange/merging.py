"""A run of adapters -> a run of its own: the merged network, which needs neither base nor peft."""

import dataclasses
from pathlib import Path

from altgrad.interchange.run_writer import write_run
from altgrad.interchange.tokenizer import kept_files
from altgrad.runs import RunFolder, read_json
from altgrad.settings import ConfigError
from altgrad.training.build import load_run
from altgrad.training.finetune import FinetuneConfig


def merge_run(run: Path, out: Path, *, which: str = "best") -> Path:
    """Write the run `out` with every adapter of `run` added to its weight.

    Raises:
        ConfigError: the run has no adapters. DataError: `out` exists.
    """
    loaded = load_run(run, which=which)
    config = loaded.config
    if config.finetune.name == "none":
        raise ConfigError(f"{run} has no adapters to merge.")
    settings = dataclasses.replace(
        config, finetune=FinetuneConfig(), init_from=None, run_dir=None, checkpoint_dir=None
    )
    data = read_json(RunFolder(run).data)
    origin = f"{config.finetune.name} of {run.name} merged into {config.init_from}"
    files = kept_files(loaded.tokenizer)
    return write_run(
        out, settings, loaded.model, data, step=loaded.step, origin=origin, files=files
    )
