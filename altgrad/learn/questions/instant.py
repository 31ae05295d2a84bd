"""The experiments that need little or no training."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from altgrad.learn.questions.bench import SIZES, Arm, batch, optimizer_of
from altgrad.learn.questions.finding import Bench, Experiment, Finding

DRIFT_STEPS = 100
WIDTHS = (64, 128, 256, 512, 1024, 2048)


def _model(bench: Bench, seed: int = 0) -> Any:
    vocab_size = int(bench.tokens["train"].max()) + 1
    return bench.maker.make(vocab_size, SIZES | {"rope_dtype": "float32"}, seed)


def rotary_buffers(bench: Bench) -> Finding:
    """Train the tables like any parameter and watch cos² + sin²."""
    model, steps = _model(bench), DRIFT_STEPS
    saved = len(model.state_dict())
    optimizers = [optimizer_of(model, Arm("tables as parameters"))]  # while they are none yet
    position = bench.maker.tables(model)
    cos, sin = position.cos.clone(), position.sin.clone()
    del position.cos, position.sin
    position.cos, position.sin = nn.Parameter(cos), nn.Parameter(sin)
    optimizers.append(torch.optim.AdamW([position.cos, position.sin], lr=0.02))
    generator, drift = np.random.default_rng(0), []
    for step in range(steps):
        model(*batch(bench.tokens["train"], generator))[1].backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        used = position.cos[:, :128] ** 2 + position.sin[:, :128] ** 2
        drift.append((used - 1).abs().max().item())
        if bench.progress:
            bench.progress(step + 1, steps)
    extra = position.cos.numel() + position.sin.numel()
    rows = [
        {
            "tables": "buffers",
            "largest |cos²+sin²-1|": 0.0,
            "parameters": 0,
            "saved tensors": saved,
        },
        {
            "tables": "parameters",
            "largest |cos²+sin²-1|": drift[-1],
            "parameters": extra,
            "saved tensors": len(model.state_dict()),
        },
    ]
    verdict = f"after {steps} steps trained tables are off the circle by {drift[-1]:.2f}"
    curve = (list(map(float, range(1, steps + 1))), drift)
    return Finding(
        rows, verdict, curves={"trained tables": curve}, x_label="step", y_label="|cos² + sin² - 1|"
    )


def accumulation(bench: Bench) -> Finding:
    """Gradients of one batch of 32 against four of 8."""
    generator = np.random.default_rng(0)
    pieces = [batch(bench.tokens["train"], generator) for _ in range(4)]
    ids, targets = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    masked = targets.clone()
    masked[:8, :120] = -1
    rows = []
    for label, wanted, divide in (
        ("divided by 4", targets, 4.0),
        ("not divided", targets, 1.0),
        ("divided, 15 of 16 targets of one ignored", masked, 4.0),
    ):
        whole, parts = _gradient(bench, [(ids, wanted)], 1.0), None
        parts = _gradient(bench, list(zip(ids.split(8), wanted.split(8), strict=True)), divide)
        error = ((parts - whole).norm() / whole.norm()).item()
        rows.append({"four micro-batches": label, "relative error of the gradient": error})
    errors = [row["relative error of the gradient"] for row in rows]
    verdict = (
        f"divided: exact to {errors[0]:.0e}; not divided: the gradient is "
        f"{1 + errors[1]:.1f} times too large; with unequal counts of targets: {errors[2]:.0%} off"
    )
    bars = {r["four micro-batches"]: [e] for r, e in zip(rows, errors, strict=True)}
    return Finding(rows, verdict, bars, y_label="relative error", log_y=True)


def _gradient(bench: Bench, pieces: list[tuple[Tensor, Tensor]], divide: float) -> Tensor:
    model = _model(bench)
    with torch.no_grad():  # awake, so that every tensor has a gradient
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=_generator()))
    for ids, targets in pieces:
        (model(ids, targets)[1] / divide).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return torch.cat([g.flatten() for g in gradients])


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def lr_scaling(bench: Bench) -> Finding:
    """One sign step on the head, as Adam's first, and how far it moves the logits."""
    rows, curves = [], {}
    moves: dict[str, list[float]] = {"fixed rate": [], "rate × (C/768)^-½": []}
    for width in WIDTHS:
        x, gradient = _head_gradient(width)
        by_rule = bench.maker.head_rate(width)
        for label, rate in (("fixed rate", 0.004), ("rate × (C/768)^-½", by_rule)):
            step = -rate * gradient.sign()
            moves[label].append((x @ step.T).square().mean().sqrt().item())
        rows.append({"width C": width, **{label: m[-1] for label, m in moves.items()}})
    for label, values in moves.items():
        curves[label] = (list(map(float, WIDTHS)), values)
    grown = {label: m[-1] / m[0] for label, m in moves.items()}
    verdict = (
        f"from C={WIDTHS[0]} to C={WIDTHS[-1]} one step moves the logits "
        f"{grown['fixed rate']:.1f} times further with a fixed rate, "
        f"{grown['rate × (C/768)^-½']:.1f} times with the rule"
    )
    return Finding(
        rows,
        verdict,
        curves=curves,
        x_label="width C",
        y_label="RMS change of logits",
        log_x=True,
        log_y=True,
    )


def _head_gradient(width: int) -> tuple[Tensor, Tensor]:
    """Inputs of the head, which share a direction as a normalised stream's do, and the gradient of
    a head that starts at zero: (p - y)ᵀ x for frequent and rare targets."""
    generator = _generator()
    x = torch.randn(512, width, generator=generator) + torch.randn(width, generator=generator)
    x = x / x.square().mean(-1, keepdim=True).sqrt()
    odds = 1 / torch.arange(1, 66, dtype=torch.float32)
    targets = torch.multinomial(odds, 512, replacement=True, generator=generator)
    error = torch.full((512, 65), 1 / 65) - nn.functional.one_hot(targets, 65)
    return x, error.T @ x / 512


def bfloat16(bench: Bench) -> Finding:
    """N(0, 1) weights kept in bfloat16, moved by one step of size lr: how many stay put?"""
    weights = torch.randn(200_000, generator=_generator()).bfloat16()
    signs = torch.randn(200_000, generator=_generator()).sign()
    rates = [0.49, 0.2, 0.05, 0.01, 0.004, 0.002, 0.001, 0.0005, 0.0003]
    stuck = [
        100 * ((weights.float() + lr * signs).bfloat16() == weights).float().mean().item()
        for lr in rates
    ]
    rows = [{"learning rate": lr, "unmoved (%)": s} for lr, s in zip(rates, stuck, strict=True)]
    error = bench.maker.table_error(_model(bench))
    verdict = (
        f"at the embedding's rate 0.49 {stuck[0]:.0f} % of the weights do not move, at 0.001 "
        f"{stuck[6]:.0f} %; the tables are off by at most {error:.4f}"
    )
    return Finding(
        rows,
        verdict,
        curves={"bfloat16": (rates, stuck)},
        x_label="learning rate",
        y_label="weights that do not move (%)",
        log_x=True,
    )


INSTANT: dict[str, Experiment] = {
    "rotary-buffers": rotary_buffers,
    "accumulation": accumulation,
    "lr-scaling": lr_scaling,
    "bfloat16": bfloat16,
}
