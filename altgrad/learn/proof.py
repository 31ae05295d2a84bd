"""The proof before the race: fifty training steps in float64 beside the reference.

Two right implementations stay within about 1e-15 of each other at every step; every mistake shows
by the second. Both start from the same weights, have the same exact rotary tables, see the same
batches, and are moved by the optimisers that each one's own `setup_optimizers` makes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.learn.harness import harness_of
from altgrad.learn.observe import double_stays_double
from altgrad.learn.probes.common import draw_ids
from altgrad.learn.track import Track
from altgrad.learn.transplant import load_file, load_reference
from altgrad.optim.muon import Muon

STEPS, LIMIT = 50, 1e-12
SIZES = {"length": 16, "vocab_size": 37, "n_layer": 3, "n_head": 6, "n_kv_head": 2}
SIZES |= {"n_embd": 48}


@dataclass(frozen=True)
class Proof:
    """How far the losses parted at most, and where the first difference above LIMIT was."""

    steps: int
    largest: float
    parted_at: int | None = None
    tensor: str = ""

    @property
    def holds(self) -> bool:
        return self.parted_at is None

    def sentence(self) -> str:
        if self.holds:
            near = f"within {self.largest:.1e} of" if self.largest else "bit for bit as"
            return (
                f"equal: {self.steps} training steps in float64, {near} the reference at every "
                f"step (limit {LIMIT:g})"
            )
        if self.largest <= LIMIT:
            return f"different from step {self.parted_at} on: the losses agree, not {self.tensor}"
        where = f"; so does {self.tensor}" if self.tensor else ""
        return f"different: at step {self.parted_at} the losses differ by {self.largest:.1e}{where}"


@torch.no_grad()
def same_start(theirs: nn.Module, mine: nn.Module) -> None:
    """Copy the reference's weights. Raises ValueError where the parameters do not correspond."""
    state = theirs.state_dict()
    own = {name: p.shape for name, p in mine.named_parameters()}
    wanted = {name: p.shape for name, p in theirs.named_parameters()}
    if own != wanted:
        wrong = sorted(set(own.items()) ^ set(wanted.items()))
        raise ValueError(f"your model has other parameters than the reference: {wrong[0][0]}")
    for name, parameter in mine.named_parameters():
        parameter.copy_(state[name])


def prove(track: Track, path: Path, *, steps: int = STEPS) -> Proof:
    """Train both; runs the learner's code in this very process."""
    with double_stays_double():
        harness = harness_of(track.name)
        theirs, mine = _pair(track, path)
        movers = [_exact_optimizers(harness.optimizers(m)) for m in (theirs, mine)]
        largest = 0.0
        for step in range(steps):
            idx = draw_ids(f"batch {step}", SIZES["vocab_size"], 4, 17)
            losses = [_loss_and_gradients(harness, m, idx) for m in (theirs, mine)]
            error = abs(losses[0] - losses[1])
            largest = max(largest, error)
            tensor = _first_different_gradient(theirs, mine)
            if not error <= LIMIT or tensor:
                return Proof(steps, error, step, tensor)
            for optimizer in (o for mover in movers for o in mover):
                optimizer.step()
        return Proof(steps, largest)


def _pair(track: Track, path: Path) -> tuple[Any, Any]:
    harness, pair = harness_of(track.name), []
    for namespace in (load_reference(track.path), load_file(path.read_text(), path)):
        torch.manual_seed(0)
        model = harness.make(namespace, SIZES)
        harness.initialise(model)
        pair.append(harness.make_exact(model, SIZES))
    same_start(*pair)
    return pair[0], pair[1]


def _loss_and_gradients(harness: Any, model: Any, idx: Tensor) -> float:
    model.zero_grad(set_to_none=True)
    loss = harness.loss(model, idx[:, :-1].contiguous(), idx[:, 1:].contiguous())
    loss.backward()
    return loss.item()


def _first_different_gradient(theirs: nn.Module, mine: nn.Module) -> str:
    own = dict(mine.named_parameters())
    for name, parameter in theirs.named_parameters():
        a, b = parameter.grad, own[name].grad
        if (a is None) != (b is None):
            return f"the gradient of {name}, which is missing"
        if a is not None and b is not None and not torch.allclose(a, b, rtol=1e-9, atol=1e-12):
            return f"the gradient of {name}"
    return ""


def _exact_optimizers(optimizers: list[Any]) -> list[Any]:
    """Muon's orthogonalisation in float64, whichever Muon the learner took, same settings."""
    return [_exact_muon(o) if "muon" in type(o).__name__.lower() else o for o in optimizers]


def _exact_muon(optimizer: Any) -> Muon:
    names = ("lr", "momentum", "nesterov", "ns_steps", "weight_decay")
    groups = [
        {"params": g["params"], **{n: g[n] for n in names if n in g}}
        for g in optimizer.param_groups
    ]
    return Muon(groups)
