"""What a training loop is for: a small GPT; beside torch's own parts, one large batch, no break."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.learn.endings.common import SIZES, TEXT, mark, small_gpt
from altgrad.learn.probes.common import draw
from altgrad.learn.probes.training import even, found, seeded, toy, uneven, values

LIMIT = 1e-12
STEPS, STOP = 40, 15


class Logits(nn.Module):
    """altgrad's GPT as this track calls a model: ids -> logits; with dropout on the way."""

    def __init__(self, dropout: float = 0.1):
        super().__init__()
        self.gpt = small_gpt()
        self.drop = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        return self.drop(self.gpt(ids)[0])


class Parts:
    """Model, optimiser and batches of a new run, always the same ones."""

    def __init__(self, ns: dict[str, Any]):
        tokens = torch.tensor(list(TEXT.read_bytes()))
        self.ns, self.model = ns, Logits()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3)
        self.batches = ns["Batches"](tokens, 2, SIZES["block_size"], 0)

    @property
    def three(self) -> tuple[Any, ...]:
        return self.model, self.optimizer, self.batches

    def train(self, settings: Any, start: int, stop: int) -> list[float]:
        return self.ns["train"](*self.three, settings, start, stop)


def run(ns: dict[str, Any], flow: Any) -> None:
    """The schedule, one step, a run that is stopped and goes on."""
    settings = ns["Settings"](max_steps=STEPS, warmup_steps=5)
    flow.stage("the rate")
    asked = (0, 4, 20, STEPS)
    how = (settings.warmup_steps, settings.max_steps, settings.floor)
    rates = [ns["rate_factor"](step, *how) for step in asked]
    shown = ", ".join(f"{r:.2f} at step {s}" for s, r in zip(asked, rates, strict=True))
    flow.note(f"values of the schedule: {shown}")
    with seeded():
        parts = Parts(ns)
        flow.stage("evaluation before training")
        held_out = [Parts(ns).batches.next_batch() for _ in range(3)]
        flow.note(f"loss {ns['evaluate'](parts.model, held_out):.4f}, ln 256 = 5.5452")
        flow.stage("training")
        losses = parts.train(settings, 0, STOP)
        flow.note(f"loss {losses[0]:.4f} at step 0, {losses[-1]:.4f} at step {STOP - 1}")
        flow.stage("stopping and going on")
        state = ns["checkpoint"](*parts.three, STOP)
        losses = parts.train(settings, STOP, STEPS)
        again = Parts(ns)
        same = again.train(settings, ns["resume"](state, *again.three), STEPS)
        flow.note(f"loss {losses[-1]:.4f} at step {STEPS - 1}, resumed {same[-1]:.4f}")
        flow.note(f"loss after it, without dropout {ns['evaluate'](parts.model, held_out):.4f}")


def beside(ns: dict[str, Any]) -> Iterator[str | bool]:
    """Each part beside somebody else's, or beside the equation."""
    holds = True
    for what, error in (
        ("norms and clipped gradients beside torch.nn.utils.clip_grad_norm_", _clipping(ns)),
        ("the rates of 60 steps beside torch.optim.lr_scheduler", _schedule(ns)),
        ("gradients of equal micro-batches beside one large batch", _large_batch(ns, even())),
        (
            "gradients of uneven ones beside torch's mean over all tokens",
            _large_batch(ns, uneven()),
        ),
        ("a run in two pieces beside one without a break", _two_pieces(ns)),
    ):
        holds &= error <= LIMIT
        yield f"{mark(error <= LIMIT)} {what}: {error:.1e} apart"
    yield holds


def _apart(mine: Any, theirs: Any) -> float:
    """The largest difference of two lists of tensors; infinity for NaN."""
    pairs = zip(mine, theirs, strict=True)
    errors = [(a.detach() - b.detach()).abs().max().item() for a, b in pairs]
    return max(e if e == e else float("inf") for e in errors)


def _clipping(ns: dict[str, Any]) -> float:
    worst = 0.0
    for scale in (1e-3, 1.0, 100.0):
        sides = []
        for clip in (ns["clip_gradients"], torch.nn.utils.clip_grad_norm_):
            params = [nn.Parameter(draw(n, 16, 48)) for n in "abc"]
            for name, p in zip("abc", params, strict=True):
                p.grad = scale * draw(f"grad {name}", 16, 48)
            norm = torch.as_tensor(clip(iter(params), 1.0), dtype=torch.float64)
            sides.append([norm / scale, *(p.grad for p in params if p.grad is not None)])
        worst = max(worst, _apart(*sides))
    return worst


def _schedule(ns: dict[str, Any]) -> float:
    """LinearLR, then CosineAnnealingLR, on two groups."""
    warmup, total, floor = 10, 60, 0.1
    mine, theirs = (_two_groups() for _ in "ab")
    up = torch.optim.lr_scheduler.LinearLR(theirs, 1 / warmup, total_iters=warmup - 1)
    worst = 0.0
    for step in range(total):
        ns["set_rates"](mine, ns["rate_factor"](step, warmup, total, floor))
        wanted = [g["lr"] for g in theirs.param_groups]
        if step >= warmup:  # torch's has one floor for all groups, so it is asked for each
            wanted = [
                _cosine(g["initial_lr"], step - warmup, total - warmup, floor)
                for g in theirs.param_groups
            ]
        rates = [g["lr"] for g in mine.param_groups]
        worst = max(worst, *(abs(a - b) for a, b in zip(rates, wanted, strict=True)))
        theirs.step()
        up.step()
    return worst


def _two_groups() -> torch.optim.Optimizer:
    params = [nn.Parameter(draw(n, 5)) for n in "ab"]
    groups: list[dict[str, Any]] = [{"params": params[:1]}, {"params": params[1:], "lr": 0.02}]
    return torch.optim.SGD(groups, lr=0.3)


def _cosine(peak: float, step: int, steps: int, floor: float) -> float:
    optimizer = torch.optim.SGD([nn.Parameter(draw("p", 5))], lr=peak)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, floor * peak)
    for _ in range(step):
        optimizer.step()
        annealing.step()
    return optimizer.param_groups[0]["lr"]


def _large_batch(ns: dict[str, Any], micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    """In float64 beside the mean that cross_entropy takes over all tokens at once."""
    model, whole = toy(), toy()
    ns["accumulate"](model, micro_batches)
    logits = torch.cat([whole(ids).flatten(0, 1) for ids, _ in micro_batches])
    targets = torch.cat([targets.flatten() for _, targets in micro_batches])
    nn.functional.cross_entropy(logits, targets, ignore_index=-1).backward()
    return _apart(found(model).values(), found(whole).values())


def _two_pieces(ns: dict[str, Any]) -> float:
    settings = ns["Settings"](max_steps=20, warmup_steps=5)
    with seeded():
        whole = Parts(ns)
        whole.train(settings, 0, 8)
        state = ns["checkpoint"](*whole.three, 8)
        whole.train(settings, 8, 20)
        torch.rand(100)
        again = Parts(ns)
        again.train(settings, ns["resume"](state, *again.three), 20)
    return _apart(values(whole.model).values(), values(again.model).values())
