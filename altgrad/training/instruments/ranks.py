"""How many directions a weight matrix uses: stable rank, effective rank, rank for 99 % of energy.

Sources: stable rank |W|_F² / |W|_2² (Rudelson and Vershynin 2007); effective rank, the exponential
of the entropy of the normalised singular values (Roy and Vetterli 2007).
"""

import torch
from torch import Tensor

from altgrad.runs import Metrics
from altgrad.training.instruments.instrument import RANKS, Context, Instrument
from altgrad.training.instruments.readout import rows_of


def stable_rank(singular: Tensor) -> Tensor:
    """From singular values in descending order; 0 for the zero matrix."""
    largest = singular[0].square()
    return torch.where(largest > 0, singular.square().sum() / largest, 0.0)


def effective_rank(singular: Tensor) -> Tensor:
    """exp(-sum p log p) with p the singular values divided by their sum; 0 for the zero matrix."""
    total = singular.sum()
    p = singular / total.clamp_min(torch.finfo(singular.dtype).tiny)
    entropy = -torch.xlogy(p, p).sum()
    return torch.where(total > 0, entropy.exp(), 0.0)


def rank_for_energy(singular: Tensor, share: float = 0.99) -> Tensor:
    """Fewest singular values whose squares make up `share` of the sum of all squares."""
    energy = singular.square()
    total = energy.sum()
    needed = (energy.cumsum(0) < share * total).sum() + 1
    return torch.where(total > 0, needed, 0)


class Ranks(Instrument):
    """`stable_rank/NAME`, `effective_rank/NAME`, `rank99/NAME`, `rank_loss/NAME`, `rank_loss/max`.

    `rank_loss` is the share of effective rank lost since this run's own first look, so that a
    collapse shows in a short run too: 0.5 means that half of it is gone.
    """

    when = (RANKS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.first: dict[str, float] = {}

    @torch.no_grad()
    def moved(self) -> None:
        weights = self.context.model.named_parameters()
        rows = {n: _ranks(p) for n, p in weights if p.ndim == 2}
        values = [value for row in rows.values() for value in row]
        self.context.readout.add(values, lambda numbers: self._metrics(rows_of(rows, numbers)))

    def _metrics(self, table: dict[str, list[float]]) -> Metrics:
        found: Metrics = {}
        for name, (stable, effective, energy) in table.items():
            start = self.first.setdefault(name, effective)
            found[f"stable_rank/{name}"] = stable
            found[f"effective_rank/{name}"] = effective
            found[f"rank99/{name}"] = energy
            found[f"rank_loss/{name}"] = 1 - effective / start if start else 0.0
        losses = [found[f"rank_loss/{name}"] for name in table]
        return {**found, "rank_loss/max": max(losses, default=0.0)}

    def state_dict(self) -> dict[str, float]:
        return dict(self.first)

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.first = dict(state)


def _ranks(weight: Tensor) -> list[Tensor]:
    weight = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
    singular = torch.linalg.svdvals(weight.detach().float())
    return [f(singular) for f in (stable_rank, effective_rank, rank_for_energy)]
