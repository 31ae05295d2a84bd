"""The common set-up of the experiments: a small nanochat GPT on Tiny Shakespeare.

C=128, L=3, H=4, T=128, B=8; Muon for the matrices, AdamW for embedding and head at nanochat's
rates, which fall to zero over the second half; the metric is validation bits per byte. Seeds are
paired: arms of one seed see the same batches and start from the same weights.

The loop is written out, because an experiment reaches into the model before, between and after its
steps (`tune`, `measure`); networks, optimisers and schedule are those of every run. Evaluation is
on 96 blocks, not on the whole split: up to twelve trainings are to take minutes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from altgrad.data.batches import gather
from altgrad.model import GPT, preset
from altgrad.optim import OptimConfig, ScheduleConfig, Storage, build_optimizer, build_schedule
from altgrad.optim.makers import Groups, muon

T, B, STEPS = 128, 8, 300
SIZES = {"n_layer": 3, "n_head": 4, "n_kv_head": 4, "n_embd": 128, "block_size": T}
NOISE = 0.01
"""Bits per byte; with two seeds a smaller difference means nothing."""
EVALUATION_BLOCKS = 96
SCHEDULE = ScheduleConfig("trapezoid", min_lr_fraction=0.0, decay_fraction=0.5)
Progress = Callable[[int, int], None]
Measure = Callable[[GPT], dict[str, float]]


@dataclass(frozen=True)
class Arm:
    """One way of building and training; `tune` changes the new model in place."""

    label: str
    model: dict[str, Any] = field(default_factory=dict)
    head_lr: float = 0.004
    embedding_lr: float = 0.2
    matrix_lr: float = 0.02
    optimizer: str = "muon"
    steps: int = STEPS
    tune: Callable[[GPT], None] | None = None
    measure: Measure | None = None


@dataclass
class Trained:
    """What came of one arm and seed."""

    arm: Arm
    seed: int
    losses: list[float]
    bits_per_byte: float
    parameters: int
    measured: dict[str, float]


class Ours:
    """Makes the models of an experiment: altgrad's own GPT. (`mine.py` has a learner's.)"""

    def make(self, vocab_size: int, settings: dict[str, Any], seed: int) -> Any:
        config = preset("nanochat", vocab_size=vocab_size, **settings)
        return GPT(config, torch.Generator().manual_seed(seed))

    def tables(self, model: Any) -> Any:
        """What holds cos and sin, (1, T, 1, D/2)."""
        return model.transformer.wpe

    def table_error(self, model: Any) -> float:
        """How far bfloat16 puts cos from what it is."""
        table = model.transformer.wpe.cos[:, :T]
        return (table.bfloat16().float() - table).abs().max().item()

    def head_rate(self, width: int) -> float:
        """The head's learning rate at this width, by nanochat's rule."""
        return 0.004 * (width / 768) ** -0.5


OURS = Ours()


def train(
    arm: Arm,
    tokens: dict[str, np.ndarray],
    seed: int,
    tick: Callable[[], None],
    maker: Any = OURS,
) -> Trained:
    """Train one arm; `tick` is called after every step."""
    vocab_size = int(max(t.max() for t in tokens.values())) + 1
    model = maker.make(vocab_size, SIZES | arm.model, seed)
    if arm.tune:
        arm.tune(model)
    optimizer = optimizer_of(model, arm)
    factor = build_schedule(SCHEDULE, arm.steps)
    generator = np.random.default_rng(seed)
    losses = []
    for step in range(arm.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor(step)
        loss = model(*batch(tokens["train"], generator))[1]
        loss.backward()
        optimizer.step()
        model.zero_grad(set_to_none=True)
        losses.append(loss.item())
        tick()
    measured = arm.measure(model) if arm.measure else {}
    bits = evaluate(model, tokens["val"]) / math.log(2)
    return Trained(arm, seed, losses, bits, model.num_parameters(), measured)


def optimizer_of(model: Any, arm: Arm) -> torch.optim.Optimizer:
    """As `conf/optim/nanochat.yaml` has it, with the arm's rates."""
    config = OptimConfig(
        name=arm.optimizer,
        matrix_lr=arm.matrix_lr,
        embedding_lr=arm.embedding_lr,
        head_lr=arm.head_lr,
        scalar_lr=arm.head_lr * (model.config.n_embd / 768) ** -0.5,
        width_scaling=True,
        betas=[0.8, 0.95],
        eps=1e-10,
        weight_decay=0.0,
    )
    return build_optimizer(model, config)


def muon_for_embedding(
    groups: Groups, config: OptimConfig, storage: Storage
) -> torch.optim.Optimizer:
    """A custom optimiser (`optim.name`): Muon treats the embedding as one more matrix."""
    matrix = {"name": "matrix", "lr": config.matrix_lr}
    return muon([g | matrix if g["name"] == "embedding" else g for g in groups], config, storage)


def batch(tokens: np.ndarray, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    return gather(tokens, generator.integers(0, len(tokens) - T - 1, B), T)


@torch.no_grad()
def evaluate(model: Any, tokens: np.ndarray) -> float:
    generator = np.random.default_rng(12345)
    losses = [model(*batch(tokens, generator))[1] for _ in range(EVALUATION_BLOCKS // B)]
    return float(torch.stack(losses).mean())


def run_arms(
    arms: list[Arm],
    tokens: dict[str, np.ndarray],
    seeds: int,
    progress: Progress | None,
    maker: Any,
) -> dict[str, list[Trained]]:
    """Label -> one result per seed; arms take turns within each seed."""
    total, done = sum(a.steps for a in arms) * seeds, 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    results: dict[str, list[Trained]] = {arm.label: [] for arm in arms}
    for seed in range(seeds):
        for arm in arms:
            results[arm.label].append(train(arm, tokens, seed, tick, maker))
    return results


class ScoreProbe:
    """The largest |q·k|/sqrt(D) over all layers and heads of one forward pass."""

    def __init__(self, tokens: np.ndarray):
        self.tokens = tokens

    @torch.no_grad()
    def __call__(self, model: Any) -> dict[str, float]:
        ids = batch(self.tokens, np.random.default_rng(1))[0]
        scores = model.scores(ids) if hasattr(model, "scores") else self._scores(model, ids)
        return {"largest score": max(s.abs().max().item() for s in scores)}

    def _scores(self, model: GPT, ids: Tensor) -> list[Tensor]:
        kept: list[Tensor] = []
        hooks = [
            getattr(block.attn, name).register_forward_hook(lambda *a: kept.append(a[2]))
            for block in model.transformer.h
            for name in ("q_norm", "k_norm")
        ]
        model(ids)
        for hook in hooks:
            hook.remove()
        pairs = zip(kept[0::2], kept[1::2], strict=True)
        return [torch.einsum("bthd,bshd->bhts", q, k) / q.size(-1) ** 0.5 for q, k in pairs]


class LogitProbe:
    """The largest logit before the softcap, and the worst loss among a few batches."""

    def __init__(self, tokens: np.ndarray):
        self.tokens = tokens

    @torch.no_grad()
    def __call__(self, model: GPT) -> dict[str, float]:
        kept: list[Tensor] = []
        hook = model.lm_head.register_forward_hook(lambda *a: kept.append(a[2]))
        generator = np.random.default_rng(1)
        losses = [model(*batch(self.tokens, generator))[1].item() for _ in range(8)]
        hook.remove()
        return {
            "largest raw logit": max(k.abs().max().item() for k in kept),
            "worst loss": max(losses),
        }


def zero_share(tokens: np.ndarray) -> Measure:
    """Share of the MLP's activations that are exactly zero."""

    @torch.no_grad()
    def measure(model: GPT) -> dict[str, float]:
        kept: list[Tensor] = []
        hooks = [
            block.mlp.c_proj.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
            for block in cast(Any, model.transformer.h)
        ]
        model(*batch(tokens, np.random.default_rng(1)))
        for hook in hooks:
            hook.remove()
        return {
            "activations at zero (%)": 100
            * float(torch.stack([(k == 0).float().mean() for k in kept]).mean())
        }

    return measure


def _embedding(model: GPT) -> nn.Embedding:
    return cast(nn.Embedding, model.transformer.wte)


def rescale_embedding(factor: float) -> Callable[[GPT], None]:
    def tune(model: GPT) -> None:
        with torch.no_grad():
            _embedding(model).weight.mul_(factor)

    return tune


def tie(std: float) -> Callable[[GPT], None]:
    """Share the embedding's matrix with the head, starting at this spread."""

    def tune(model: GPT) -> None:
        with torch.no_grad():
            _embedding(model).weight.mul_(std)
        model.lm_head.weight = _embedding(model).weight

    return tune


class PlainReLU(nn.Module):
    """max(x, 0) between the MLP's two matrices: the control of relu²."""

    def __init__(self, config: Any):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.c_fc(x).relu())
