"""A run's whole birth, in order: machine, tokens, network, trainer."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.fabric import Fabric
from torch import Tensor

from altgrad.data import Metadata, Tokenizer, load_metadata, load_tokenizer, prepare
from altgrad.model import GPT
from altgrad.model.generate import stream
from altgrad.training.checkpoint import CheckpointManager, find_checkpoint, load_into, load_weights
from altgrad.training.config import TrainConfig
from altgrad.training.fabric import make_fabric, pick_compile, pick_compute, pick_device
from altgrad.training.randomness import initialisation_generator
from altgrad.training.recorder import Listener, Recorder
from altgrad.training.run_folder import RunFolder
from altgrad.training.settings import ConfigError
from altgrad.training.trainer import Trainer

Progress = Callable[[int, int], None]
Sampler = Callable[..., str]


def build_run(
    config: TrainConfig,
    *,
    listeners: Sequence[Listener] = (),
    progress: Progress | None = None,
) -> Trainer:
    """From settings to a trainer that can `train()`.

    Raises:
        ValueError: a setting, the corpus or the machine does not allow it; one line.
    """
    config = copy.deepcopy(config)
    # 1 The machine: device, arithmetic, processes.
    device = pick_device(config.device)
    config.device = str(device)
    config.precision.compute = pick_compute(config.precision.compute, device)
    config.compile = pick_compile(config.compile, device)
    fabric = make_fabric(config, device)
    fabric.launch()
    # 2 The tokens, prepared once by the first process; the vocabulary follows the tokenizer.
    data_dir = _prepare_once(fabric, config, progress)
    metadata = load_metadata(data_dir)
    fit_vocabulary(config, metadata)
    # 3 The network, initialised from its own generator.
    model = GPT(config.model, initialisation_generator(config.seed))
    # 4 Who writes down what happens, and who is shown.
    recorder = Recorder(config, enabled=fabric.is_global_zero, listeners=listeners)
    sampler = make_sampler(model, data_dir, config) if metadata.tokenizer else None
    # 5 The run.
    return Trainer(config, model, data_dir, fabric=fabric, recorder=recorder, sampler=sampler)


def resume_run(
    run: Path, *, listeners: Sequence[Listener] = (), progress: Progress | None = None
) -> Trainer:
    """The trainer of a stopped run, at its newest checkpoint; the folder may have been moved."""
    config = read_config(run)
    config.run_dir = str(run)
    checkpoint = find_checkpoint(config.checkpoint_dir or run)
    trainer = build_run(config, listeners=listeners, progress=progress)
    trainer.resume(checkpoint)
    return trainer


def _prepare_once(fabric: Fabric, config: TrainConfig, progress: Progress | None) -> Path:
    if fabric.is_global_zero:
        prepare(config.data, block_size=config.model.block_size, progress=progress)
    fabric.barrier()
    return prepare(config.data, block_size=config.model.block_size)


def fit_vocabulary(config: TrainConfig, metadata: Metadata) -> None:
    """Take the tokenizer's vocabulary size, or refuse one that does not go with it."""
    asked, needed = config.model.vocab_size, metadata.vocab_size
    if asked is None and needed is None:
        raise ConfigError(
            f"{metadata.corpus} does not say how large its vocabulary is; set model.vocab_size."
        )
    if asked is not None and needed is not None and asked < needed:
        raise ConfigError(
            f"model.vocab_size={asked} is less than the {needed} tokens of the data; "
            "leave it out, it follows the tokenizer."
        )
    config.model.vocab_size = needed if asked is None else asked


def make_sampler(model: GPT, data_dir: Path, config: TrainConfig) -> Sampler:
    """`sampler(step, tokens) -> text`, starting from a line break; the same seed every time."""
    tokenizer = load_tokenizer(data_dir)

    def sample(step: int, length: int = config.sample_tokens) -> str:
        start = _prompt_ids(model, tokenizer, "\n")
        made = model.generate(start, length, seed=config.seed, temperature=0.8)
        return tokenizer.decode(made[0, start.shape[1] :].tolist())

    return sample


def _prompt_ids(model: GPT, tokenizer: Tokenizer, prompt: str) -> Tensor:
    device = next(model.parameters()).device
    return torch.tensor([tokenizer.encode(prompt)], dtype=torch.long, device=device)


def stream_text(run: "LoadedRun", prompt: str, tokens: int, **how: Any) -> Iterator[str]:
    """The prompt, then text as it is made; `how` is passed on to `model.generate.stream`.

    Raises:
        ValueError: the prompt has a character that the tokenizer does not know.
    """
    yield prompt
    start = _prompt_ids(run.model, run.tokenizer, prompt)
    ids: list[int] = []
    shown = 0
    for token in stream(run.model, start, max_new_tokens=tokens, **how):
        ids.append(int(token))
        text = run.tokenizer.decode(ids)
        if not text.endswith("\ufffd"):
            yield text[shown:]
            shown = len(text)


@dataclass
class LoadedRun:
    """A finished (or stopped) run, ready to be used."""

    config: TrainConfig
    model: GPT
    tokenizer: Tokenizer
    step: int


def read_config(run: Path) -> TrainConfig:
    """The resolved settings of a run folder.

    Raises:
        ConfigError: missing, or of another version of altgrad.
    """
    path = RunFolder(run).config
    try:
        return TrainConfig.from_dict(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None


def load_run(run: Path, *, which: str = "best") -> LoadedRun:
    """The model of a run with the weights of its `best` or `latest` checkpoint."""
    config = read_config(run)
    manager = CheckpointManager(config.checkpoint_dir or RunFolder(run).checkpoints)
    checkpoint = (manager.best() if which == "best" else None) or find_checkpoint(manager.directory)
    model = GPT(config.model)
    load_into(model, load_weights(checkpoint))
    data_dir = prepare(config.data, block_size=config.model.block_size)
    return LoadedRun(config, model.eval(), load_tokenizer(data_dir), int(checkpoint.name[5:]))
