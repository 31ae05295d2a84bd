"""How weights sit on the grid of their number format, and how steps and gradients relate to it.

Looked at every `diagnostics.rank_every_steps` at which updates are counted too: each of these reads
the weights once or twice more than training does.
"""

import torch
from torch import Tensor

from altgrad.quantization.diagnostics import code_utilisation
from altgrad.quantization.weight_grid import WeightGrid, grids_of
from altgrad.runs import Metrics
from altgrad.training.instruments.instrument import COUNTS, RANKS, Instrument
from altgrad.training.instruments.readout import rows_of

NAMES = ("code_use", "grid_distance", "ulps_moved", "grad_ulp_corr")


class CodeUse(Instrument):
    """`code_use/NAME`, `grid_distance/NAME`, `ulps_moved/NAME`, `grad_ulp_corr/NAME`, `…/mean`."""

    when = (COUNTS, RANKS)

    @torch.no_grad()
    def moved(self) -> None:
        before = self.context.weights_before
        names: dict[Tensor, str] = {p: n for n, p in self.context.model.named_parameters()}
        grids = grids_of(self.context.model)
        rows = {names[p]: _row(p, grid, before[p]) for p, grid in grids.items() if p in before}
        values = [value for row in rows.values() for value in row]
        self.context.readout.add(values, lambda numbers: _named(rows_of(rows, numbers)))


def _row(p: Tensor, grid: WeightGrid, before: Tensor) -> list[Tensor]:
    weight, ulp = p.detach(), grid.ulp(before)
    share = (weight - grid.round(weight)).abs() / grid.ulp(weight)
    return [
        code_utilisation(weight, grid.format, scale=grid.scale(weight)),
        share.mean(),
        ((weight - before).abs() / ulp).mean(),
        log_correlation(p.grad, ulp),
    ]


def log_correlation(gradient: Tensor | None, ulp: Tensor) -> Tensor:
    """Pearson correlation of log2 |gradient| and log2 ulp where the gradient is not zero; 0 where
    either is constant."""
    if gradient is None:
        return ulp.new_zeros(())
    there = gradient != 0
    a = torch.where(there, gradient.detach().float().abs().log2(), 0.0)
    b = torch.where(there, ulp.float().log2(), 0.0)
    count = there.sum().clamp_min(1)
    a = torch.where(there, a - a.sum() / count, 0.0)
    b = torch.where(there, b - b.sum() / count, 0.0)
    spread = a.norm() * b.norm()
    return torch.where(spread > 0, (a * b).sum() / spread, 0.0)


def _named(table: dict[str, list[float]]) -> Metrics:
    found = {
        f"{metric}/{name}": value
        for name, row in table.items()
        for metric, value in zip(NAMES, row, strict=True)
    }
    means = {
        f"{metric}/mean": sum(column) / len(column)
        for metric, column in zip(NAMES, zip(*table.values(), strict=True), strict=False)
    }
    return {**found, **means}
