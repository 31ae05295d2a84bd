"""A run's whole birth, in order: machine, tokens, network, trainer."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

from altgrad.data import (
    Metadata,
    Tokenizer,
    document_token,
    load_metadata,
    load_tokenizer,
    prepare,
    split_hashes,
)
from altgrad.model import GPT
from altgrad.model.generate import stream
from altgrad.training.checkpoint import CheckpointError, CheckpointManager
from altgrad.training.checkpoint_files import read_shapes
from altgrad.training.config import TrainConfig
from altgrad.training.fabric import launch, make_fabric, pick_compile, pick_compute, pick_device
from altgrad.training.finetune import check_start
from altgrad.training.loading import LoadedRun, load_run, make_network, read_config
from altgrad.training.memory import keep_freed_memory
from altgrad.training.reading import read_json
from altgrad.training.recorder import Listener, Recorder
from altgrad.training.resuming import Changes, changed_settings, refuse_changes
from altgrad.training.room import refuse_more_than_stored
from altgrad.training.run_folder import RunFolder, run_status
from altgrad.training.settings import ConfigError
from altgrad.training.trainer import Trainer

NO_BF16 = (
    "this processor has no bf16 instructions: computing in fp32, which takes longer per step "
    "(docs/speed.md)"
)

MISFITS = (KeyError, IndexError, TypeError, AttributeError, OverflowError, RuntimeError)
"""What the parts of a run throw at a state that another program made up."""

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
    check_start(config)
    # 1 The machine: device, arithmetic, processes.
    left_to_us = config.precision.compute == "auto"
    device = settle(config)
    if device.type == "cpu":
        keep_freed_memory()
    fabric = make_fabric(config, device)
    launch(fabric)
    # 2 The tokens, prepared once by the first process; the vocabulary follows the tokenizer.
    data_dir = _prepare_once(fabric, config, progress)
    metadata = load_metadata(data_dir)
    fit_vocabulary(config, metadata)
    fit_documents(config, data_dir)
    # 3 The network, initialised from its own generator, or from another run's weights.
    model = make_network(config, metadata)
    # 4 Who writes down what happens, and who is shown.
    recorder = Recorder(config, enabled=fabric.is_global_zero, listeners=listeners)
    sampler = make_sampler(model, data_dir, config) if metadata.tokenizer else None
    # 5 The run.
    trainer = Trainer(config, model, data_dir, fabric=fabric, recorder=recorder, sampler=sampler)
    if left_to_us and device.type == "cpu" and config.precision.compute == "32-true":
        trainer.remarks.append(NO_BF16)
    return trainer


def settle(config: TrainConfig) -> torch.device:
    """Replace every `auto` that the machine decides; returns the device.

    Raises:
        ConfigError: the machine does not have what was asked for.
    """
    device = pick_device(config.device)
    config.device = str(device)
    config.precision.compute = pick_compute(config.precision.compute, device)
    wish = config.compile if config.finetune.base == "float" else False
    config.compile = pick_compile(wish, device)
    return device


def resume_run(
    run: Path,
    *,
    config: TrainConfig | None = None,
    allow: Sequence[str] = (),
    listeners: Sequence[Listener] = (),
    progress: Progress | None = None,
) -> Trainer:
    """The trainer of a stopped run, at its newest checkpoint that verifies.

    The folder may have been moved. A run that was stopped before its first save starts anew.

    Args:
        config: settings to continue with, by default the run's own.
        allow: names of settings (or groups) in which `config` may differ from the run's own.

    Raises:
        ValueError: it is finished, other settings differ, its data is not what it was, or none of
            its checkpoints can be used.
    """
    own = read_config(run)
    config, changes = _settings_to_go_on_with(own, config, run)
    refuse_changes(changes, allow)
    if run_status(run) == "finished" and not changes:
        raise ConfigError(
            f"{run} is finished ({own.max_steps} steps); to go on: altgrad resume {run} "
            f"max_steps={2 * own.max_steps} 'resume.allow=[max_steps]'."
        )
    if config.finetune.name == "none":
        config.init_from = None  # all weights are in the checkpoint; the base may be gone
    _refuse_other_size(config, run)
    trainer = build_run(config, listeners=listeners, progress=progress)
    _refuse_other_data(run, trainer.data_dir, changes)
    trainer.recorder.resumed_at = 0
    trainer.recorder.changes = changes
    _load_newest(trainer, lenient=bool(changes))
    return trainer


def _settings_to_go_on_with(
    own: TrainConfig, wished: TrainConfig | None, run: Path
) -> tuple[TrainConfig, Changes]:
    config = copy.deepcopy(wished or own)
    settle(config)
    if config.model.vocab_size is None:
        config.model.vocab_size = own.model.vocab_size
    if config.model.document_token is None and config.data.mask_documents:
        config.model.document_token = own.model.document_token
    config.checkpoint_dir = _moved(own.checkpoint_dir, own.run_dir, run)
    config.run_dir = str(run)
    return config, changed_settings(own, config)


def _refuse_other_size(config: TrainConfig, run: Path) -> None:
    """Before a network is built: one that its newest checkpoint cannot fill never existed."""
    newest = CheckpointManager(config.checkpoint_dir or RunFolder(run).checkpoints).latest()
    if newest is None or config.finetune.name != "none":
        return
    with suppress(CheckpointError):  # a damaged one is skipped later, by name
        refuse_more_than_stored(config.model, read_shapes(newest), newest)


def _moved(checkpoint_dir: str | None, old_run: str | None, run: Path) -> str | None:
    """Checkpoints that lay in the run's folder moved along with it."""
    if checkpoint_dir is None or old_run is None:
        return checkpoint_dir
    if not Path(checkpoint_dir).is_relative_to(old_run):
        return checkpoint_dir
    return str(run / Path(checkpoint_dir).relative_to(old_run))


def _refuse_other_data(run: Path, data_dir: Path, changes: Changes) -> None:
    """Raises ConfigError unless the tokens are those the run was trained on so far."""
    recorded = recorded_hashes(run)
    if any(name.startswith("data.") for name in changes) or recorded is None:
        return
    found = split_hashes(data_dir)
    different = [split for split in recorded if recorded[split] != found.get(split)]
    if different:
        raise ConfigError(
            f"the {different[0]} split in {data_dir} is not the one {run} was trained on "
            "(its sha256 differs from data.json); bring the original data back."
        )


def recorded_hashes(run: Path) -> dict[str, str] | None:
    """Split -> sha256, out of `data.json`; None if a run was killed before it was written."""
    try:
        return dict(read_json(RunFolder(run).data)["sha256"])
    except (ValueError, KeyError, TypeError):
        return None


def _load_newest(trainer: Trainer, *, lenient: bool) -> None:
    found = trainer.checkpoint_manager.load_newest()
    if found is None:
        trainer.remarks.append("no checkpoint yet: the run starts again from its first step")
        return
    path, saved, skipped = found
    trainer.remarks += [f"skipped {s.path.name}: {s.reason}" for s in skipped]
    try:
        trainer.remarks += trainer.load(saved, lenient=lenient)
    except MISFITS as error:
        raise CheckpointError(f"{path} is whole, but no state of this run: {error!r}.") from error


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


def fit_documents(config: TrainConfig, data_dir: Path) -> None:
    """With `data.mask_documents`, tell the network which token opens a document."""
    if config.data.mask_documents and config.model.document_token is None:
        config.model.document_token = document_token(data_dir)


def make_sampler(model: GPT, data_dir: Path, config: TrainConfig) -> Sampler:
    """`sampler(step, tokens) -> text`: each of `sample_prompts` continued, with the same seed.

    Of a single prompt the text is its continuation alone; of several, each stands below its own.

    Raises:
        ValueError: a prompt has a character that the tokenizer does not know.
    """
    tokenizer = load_tokenizer(data_dir)
    prompts = config.sample_prompts
    for prompt in prompts if prompts != TrainConfig().sample_prompts else []:
        tokenizer.encode(prompt)  # refuses here, not at the first evaluation

    def sample(step: int, length: int = config.sample_tokens) -> str:
        texts = {p: _continued(model, tokenizer, p, length, config.seed) for p in prompts}
        if len(texts) == 1:
            return next(iter(texts.values()))
        return "\n\n".join(f"[{prompt}]{text}" for prompt, text in texts.items())

    return sample


def _continued(model: GPT, tokenizer: Tokenizer, prompt: str, length: int, seed: int) -> str:
    start = _prompt_ids(model, tokenizer, prompt)
    made = model.generate(start, length, seed=seed, temperature=0.8)
    return tokenizer.decode(made[0, start.shape[1] :].tolist())


def _prompt_ids(model: GPT, tokenizer: Tokenizer, prompt: str) -> Tensor:
    device = next(model.parameters()).device
    return torch.tensor([tokenizer.encode(prompt)], dtype=torch.long, device=device)


def stream_text(run: LoadedRun, prompt: str, tokens: int, **how: Any) -> Iterator[str]:
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


__all__ = [
    "LoadedRun",
    "build_run",
    "load_run",
    "read_config",
    "resume_run",
    "settle",
    "stream_text",
]
