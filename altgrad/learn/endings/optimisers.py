"""What two optimisers are for: a small GPT is trained; and beside torch's and altgrad's own."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.learn.endings.common import mark, small_gpt, train
from altgrad.learn.probes.common import draw
from altgrad.optim.muon import Muon

STEPS, LIMIT = 50, 1e-12
BFLOAT16_LIMIT = 0.05  # of a step: torch's Muon multiplies in bfloat16
ADAMW = {"lr": 3e-3, "betas": (0.8, 0.95), "weight_decay": 0.1}


def run(ns: dict[str, Any], flow: Any) -> None:
    """A steep valley, then a GPT of 2 layers for 30 steps."""
    flow.stage("AdamW in a valley that is a hundred times steeper on one side")
    flow.note(f"distance from its bottom after 60 steps: {_valley(ns['AdamW']):.4f} (began at 1.4)")
    flow.stage("Muon's orthogonal matrix")
    values = torch.linalg.svdvals(ns["newton_schulz"](draw("svd", 16, 48)))
    flow.note(f"singular values {values.min():.3f} … {values.max():.3f}")
    flow.stage("which parameter goes where")
    model = small_gpt()
    muon, adamw = ns["split_parameters"](model)
    flow.note(f"{len(muon)} matrices for Muon, {len(adamw)} tensors for AdamW")
    flow.stage("training")
    losses = train(model, [ns["Muon"](muon), ns["AdamW"](adamw, **ADAMW)], 30)
    flow.note(f"loss {losses[0]:.4f} at step 0, {losses[-1]:.4f} at step {len(losses) - 1}")


def _valley(kind: Any) -> float:
    place = nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = kind([place], lr=0.05, weight_decay=0.0)
    for _ in range(60):
        place.grad = None
        (place[0] ** 2 + 100 * place[1] ** 2).backward()
        optimizer.step()
    return place.detach().norm().item()


def beside(ns: dict[str, Any]) -> Iterator[str | bool]:
    """Fifty steps of each in float64 beside the known ones, then two trainings side by side."""
    known: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "torch.optim.AdamW": (ns["AdamW"], torch.optim.AdamW, ADAMW),
        "altgrad's Muon": (ns["Muon"], Muon, {"lr": 0.02, "weight_decay": 0.1}),
    }
    holds = True
    for name, (mine, theirs, how) in known.items():
        error = _parted(mine, theirs, how)
        holds &= error <= LIMIT
        yield f"{mark(error <= LIMIT)} {STEPS} steps in float64 beside {name}: {error:.1e} apart"
    near = _one_step_of_torch_muon(ns["Muon"])
    holds &= near <= BFLOAT16_LIMIT
    yield (
        f"{mark(near <= BFLOAT16_LIMIT)} one step beside torch.optim.Muon, which multiplies in "
        f"bfloat16: {near:.1%} of the step apart"
    )
    yield from _side_by_side(ns)
    yield holds


def _parted(mine: Any, theirs: Any, how: dict[str, Any]) -> float:
    """The largest difference of any parameter at any of the steps."""
    pair = [
        [nn.Parameter(draw(n, *s)) for n, s in (("w", (16, 48)), ("u", (48, 16)))] for _ in "ab"
    ]
    optimizers = [make(params, **how) for make, params in zip((mine, theirs), pair, strict=True)]
    largest = 0.0
    for step in range(STEPS):
        for params, optimizer in zip(pair, optimizers, strict=True):
            for i, p in enumerate(params):
                p.grad = draw(f"{i} {step}", *p.shape)
            optimizer.step()
        apart = [(a - b).abs().max().item() for a, b in zip(*pair, strict=True)]
        largest = max(largest, *(x if x == x else float("inf") for x in apart))
    return largest


def _one_step_of_torch_muon(mine: Any) -> float:
    start = draw("w", 16, 48).float()
    moved = []
    for make in (mine, torch.optim.Muon):
        p = nn.Parameter(start.clone())
        p.grad = draw("g", 16, 48).float()
        make([p], lr=0.1, weight_decay=0.0).step()
        moved.append(p.detach() - start)
    return ((moved[0] - moved[1]).norm() / moved[1].norm()).item()


def _side_by_side(ns: dict[str, Any]) -> Iterator[str]:
    yield f"a GPT of 2 layers, {STEPS} steps: loss"
    yield f"{'step':>6}  {'yours':>8}  {'known':>8}"
    split = ns["split_parameters"]
    own = _trained(split, ns["Muon"], ns["AdamW"])
    known = _trained(split, Muon, torch.optim.AdamW)
    for step in (0, 10, 20, 30, 40, STEPS - 1):
        yield f"{step:6}  {own[step]:8.4f}  {known[step]:8.4f}"


def _trained(
    split: Callable[[Any], tuple[list[Tensor], ...]], muon: Any, adamw: Any
) -> list[float]:
    model = small_gpt()
    first, second = split(model)
    return train(model, [muon(first), adamw(second, **ADAMW)], STEPS)
