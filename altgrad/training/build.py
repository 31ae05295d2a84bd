"""A run's whole birth, in order: machine, tokens, network, trainer."""

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from altgrad.compiler import prepare_compiler
from altgrad.data import (
    DataError,
    Metadata,
    Tokenizer,
    document_token,
    load_metadata,
    load_tokenizer,
    load_tokens,
    prepare,
)
from altgrad.data.config import cache_root
from altgrad.data.errors import UnknownCharacters
from altgrad.data.special_tokens import END_OF_TEXT, continuation, opening, prompt_ids
from altgrad.model import GPT
from altgrad.runs import RunFolder, accept_code, resolve_run, run_status
from altgrad.settings import ConfigError
from altgrad.training.checkpoints import CheckpointError, CheckpointManager, read_shapes
from altgrad.training.config import TrainConfig
from altgrad.training.finetune import check_start
from altgrad.training.loading import (
    LoadedRun,
    kept_vocabulary,
    load_run,
    make_network,
    read_config,
    settle_base,
)
from altgrad.training.machine import keep_freed_memory, launch, make_fabric, settle
from altgrad.training.recording import Listener, Recorder
from altgrad.training.resume import rate_jump, refuse_changes, settings_to_go_on_with
from altgrad.training.size_limits import refuse_more_than_stored
from altgrad.training.token_hashes import other_text, require_same_tokens
from altgrad.training.trainer import Trainer
from altgrad.training.unread_settings import settle_storage, settle_width_rule

NO_BF16 = (
    "this processor has no bf16 instructions: computing in fp32, which takes longer per step "
    "(docs/evidence/speed.md)"
)
LOSES_TEXT = (
    "the tokenizer loses text: what it gives back is not what it was given, so bits per byte are "
    "not measured, and losses compare with those of the same tokenizer only"
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
    like: Path | None = None,
    check_data: Callable[[Path], None] = lambda _: None,
) -> Trainer:
    """From settings to a trainer that can `train()`: the one way, for one run and for arms.

    Everything is seeded by `config.seed`. `compare` settles its arms by the same `settle` and
    `settle_data`, before any of them runs.

    Args:
        like: a run whose tokenizer the text is read with, where this one goes on with it.
        check_data: may refuse the folder of tokens.

    Raises:
        ValueError: a setting, the corpus or the machine does not allow it; one line.
    """
    # 0 The settings: a copy, ours to complete. What can be refused at once is refused before a
    #   process starts, and no outside code runs that was not accepted.
    config = copy.deepcopy(config)
    check_start(config)
    accept_code(config.to_dict())
    if like is None:  # a run that goes on stores as it began
        settle_storage(config)
    settle_width_rule(config)
    # 1 The machine: device, arithmetic, processes. `auto` is asked for before it is replaced.
    left_to_us = config.precision.compute == "auto"
    device = settle(config)
    if device.type == "cpu":
        keep_freed_memory()
        if config.compile:
            prepare_compiler()
    fabric = make_fabric(config, device)
    launch(fabric)
    # 2 The tokens, prepared once by the first process (the others find them ready), and what
    #   follows from them: the size of the vocabulary, before there is a network.
    if fabric.is_global_zero:
        settle_data(copy.deepcopy(config), progress, like=like)
    fabric.barrier()
    data_dir = settle_data(config, like=like)
    check_data(data_dir)
    metadata = load_metadata(data_dir)
    # 3 The network, initialised from its own generator, or from another run's weights.
    model = make_network(config)
    # 4 Who writes down what happens, and who is shown. Nothing is on the disk before `train()`.
    recorder = Recorder(config, enabled=fabric.is_global_zero, listeners=listeners)
    sampler = make_sampler(model, data_dir, config) if metadata.tokenizer else None
    # 5 The run, and what a person should know of it that only this function knows.
    trainer = Trainer(config, model, data_dir, fabric=fabric, recorder=recorder, sampler=sampler)
    if left_to_us and device.type == "cpu" and config.precision.compute == "32-true":
        trainer.remarks.append(NO_BF16)
    if sum(info.lost or 0 for info in metadata.splits.values()):
        trainer.remarks.append(LOSES_TEXT)
    return trainer


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
    config, changes = settings_to_go_on_with(own, config, run)
    refuse_changes(changes, allow)
    if run_status(run) == "finished" and not changes:
        raise ConfigError(
            f"{run} is finished ({own.max_steps} steps); to go on: altgrad resume {run} "
            f"max_steps={2 * own.max_steps} 'resume.allow=[max_steps]'."
        )
    wished_base = config.init_from  # put back below: the run's settings name it
    if config.finetune.name == "none":
        config.init_from = None  # all weights are in the checkpoint; the base may be gone
    _refuse_other_size(config, run)
    same_tokens = partial(require_same_tokens, run, changed=changes)
    trainer = build_run(
        config, listeners=listeners, progress=progress, like=run, check_data=same_tokens
    )
    trainer.config.init_from = wished_base
    trainer.recorder.resumed_at = 0
    trainer.recorder.changes = changes
    _load_newest(trainer, lenient=bool(changes))
    trainer.remarks += rate_jump(own, trainer.config, trainer.step)
    return trainer


def _refuse_other_size(config: TrainConfig, run: Path) -> None:
    """Before a network is built: one that its newest checkpoint cannot fill never existed."""
    newest = CheckpointManager(config.checkpoint_dir or RunFolder(run).checkpoints).latest()
    if newest is None or config.finetune.name != "none":
        return
    with suppress(CheckpointError):  # a damaged one is skipped later, by name
        refuse_more_than_stored(config.model, read_shapes(newest), newest)


def _load_newest(trainer: Trainer, *, lenient: bool) -> None:
    found = trainer.checkpoint_manager.load_newest(trainer.recorder.require_whole_metrics)
    if found is None:
        trainer.remarks.append("no checkpoint yet: the run starts again from its first step")
        return
    path, saved, skipped = found
    trainer.remarks += [f"skipped {s.path.name}: {s.reason}" for s in skipped]
    try:
        trainer.remarks += trainer.load(saved, lenient=lenient)
    except MISFITS as error:
        raise CheckpointError(f"{path} is whole, but no state of this run: {error!r}.") from error


def settle_data(
    config: TrainConfig, progress: Progress | None = None, *, like: Path | None = None
) -> Path:
    """Prepare the tokens, fill in what follows from them and from the run to start from.

    Raises:
        ValueError: no text, or one that the model, or the run named by `init_from`, cannot read.
    """
    base = None if config.init_from is None else resolve_run(config.init_from)
    try:
        data_dir = prepare(
            config.data,
            block_size=config.model.block_size,
            progress=progress,
            vocabulary=next(filter(None, map(kept_vocabulary, filter(None, (like, base)))), None),
        )
    except UnknownCharacters as error:
        if like:
            raise other_text(like, error) from None
        raise ConfigError(
            f"init_from={base}: {error}; leave them out of the text, or start from a run that "
            "reads any text: one trained with data.tokenizer=byte or gpt2"
        ) from None
    except DataError as error:
        raise ConfigError(f"init_from={base}: {error}" if base else str(error)) from None
    metadata = load_metadata(data_dir)
    fit_vocabulary(config, metadata)
    fit_documents(config, data_dir)
    settle_base(config, metadata)
    return data_dir


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
    metadata.refuse_too_large(asked or needed or 0)
    config.model.vocab_size = needed if asked is None else asked


def fit_documents(config: TrainConfig, data_dir: Path) -> None:
    """With `data.mask_documents`, tell the network which token opens a document."""
    if config.data.mask_documents and config.model.document_token is None:
        config.model.document_token = document_token(data_dir, cache=cache_root(config.data))


def make_sampler(model: GPT, data_dir: Path, config: TrainConfig) -> Sampler:
    """`sampler(step, tokens) -> text`: each of `sample_prompts` continued, with the same seed.

    Of a single prompt the text is its continuation alone; of several, each stands below its own.
    Where the tokenizer does not know the usual prompt, a line break, the text says what it began
    from instead.

    Raises:
        ValueError: a prompt has no token, or a character that the tokenizer does not know.
    """
    tokenizer = load_tokenizer(data_dir, cache=cache_root(config.data))
    prompts = config.sample_prompts
    if prompts == TrainConfig().sample_prompts:
        shown, ids = opening(tokenizer, int(load_tokens(data_dir, "val")[0]))
        starts = {shown or END_OF_TEXT: ids}
    else:
        starts = {prompt: prompt_ids(tokenizer, prompt) for prompt in prompts}
    alone = list(starts) == prompts and len(prompts) == 1

    def sample(step: int, length: int = config.sample_tokens) -> str:
        texts = {
            prompt: _continued(model, tokenizer, ids, length, config.seed)
            for prompt, ids in starts.items()
        }
        if alone:
            return next(iter(texts.values()))
        return "\n\n".join(f"[{prompt}]{text}" for prompt, text in texts.items())

    return sample


def _continued(model: GPT, tokenizer: Tokenizer, ids: list[int], length: int, seed: int) -> str:
    how = {"seed": seed, "temperature": 0.8, "vocab_size": tokenizer.vocab_size}
    start = torch.tensor([ids], dtype=torch.long, device=next(model.parameters()).device)
    made = model.generate(start, length, **how)
    return continuation(tokenizer, made[0, len(ids) :].tolist())


__all__ = [
    "LoadedRun",
    "build_run",
    "load_run",
    "read_config",
    "resume_run",
    "settle",
    "settle_data",
]
