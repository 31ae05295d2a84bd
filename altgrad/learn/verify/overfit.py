"""The smoke benchmark: one batch of 256 tokens must be learned by heart, by the real trainer."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from altgrad.learn.verify.result import Check, require
from altgrad.learn.verify.subject import Subject

ROWS, LENGTH, VOCABULARY, WIDTH_PER_HEAD = 8, 32, 29, 16
TARGET_LOSS, MAX_STEPS, MAX_SECONDS = 0.01, 2000, 50.0


def overfits(s: Subject) -> str:
    with tempfile.TemporaryDirectory() as folder:
        trainer, tokens = small_trainer(s, Path(folder))
        start, loss, step = time.perf_counter(), float("inf"), 0
        best = loss
        while step < MAX_STEPS and time.perf_counter() - start < MAX_SECONDS:
            loss = float(trainer.train_step(tokens[:, :-1], tokens[:, 1:])["loss"])
            best, step = min(best, loss), step + 1
            if loss < TARGET_LOSS:
                break
        seconds = time.perf_counter() - start
    require(
        loss < TARGET_LOSS,
        f"loss {loss:.4f} after {step} steps and {seconds:.0f} s (best {best:.4f}), expected below "
        f"{TARGET_LOSS}",
    )
    return f"{ROWS * LENGTH} tokens learned to loss {loss:.4f} in {step} steps, {seconds:.1f} s"


def small_trainer(s: Subject, folder: Path, **settings: Any) -> tuple[Any, Tensor]:
    """A trainer of the configured parts in `folder`, and one batch, `ROWS` x (`LENGTH` + 1)."""
    from altgrad.model import GPT
    from altgrad.training import Trainer

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(VOCABULARY, (ROWS, LENGTH + 1), generator=generator)
    tokens[:, 0] = torch.arange(ROWS)  # rows that begin alike could not be told apart
    config = _settings(s, folder, **settings)
    data = folder / "tokens"
    data.mkdir()
    for split in ("train", "val"):
        tokens.numpy().astype(np.uint16).tofile(data / f"{split}.bin")
    model = GPT(config.model, torch.Generator().manual_seed(0))
    return Trainer(config, model, data, "cpu"), tokens


def _settings(s: Subject, folder: Path, **settings: Any) -> Any:
    from altgrad.optim import ScheduleConfig
    from altgrad.training import TrainConfig
    from altgrad.training.trackers import TrackerConfig

    small = s.model_config
    model = replace(
        small,
        vocab_size=VOCABULARY,
        block_size=LENGTH,
        n_embd=small.n_head * WIDTH_PER_HEAD,
        windows=[w if w == -1 else LENGTH // 2 for w in small.windows],
    )
    schedule = ScheduleConfig(name="constant", warmup_steps=0)
    return TrainConfig(
        model=model,
        optim=s.config.optim,
        precision=replace(s.config.precision, compute="32-true"),
        schedule=schedule,
        tracker=TrackerConfig(),
        batch_size=ROWS,
        max_steps=MAX_STEPS,
        eval_interval=-1,
        device="cpu",
        compile=False,
        run_dir=str(folder / "run"),
        **settings,
    )


CHECKS = [
    Check(
        "over-fits one batch",
        "network, loss, precision and optimiser together can learn",
        "optim.lr, precision, the part itself",
        overfits,
    )
]
