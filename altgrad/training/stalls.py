"""Updates that were lost: the optimiser moved a number, what is stored did not change.

Compared on the grid of the recipe's weight format with the scale from before the step, so that a
change of scale alone is neither a flip nor hides a stall. With `precision.storage=master` the
"stored" number is the rounded copy that the layers compute with.
"""

from typing import Any

import torch
from torch import Tensor, nn

from altgrad.quantization.diagnostics import StallCount, count_stalls
from altgrad.quantization.weight_grid import grids_of

Metrics = dict[str, float]


class StallWatch:
    """Looks at the weights before and after an optimiser's step.

    Args:
        model: with its recipe, if any; a model without one is watched for unchanged floats only.
        optimizer: asked what it wanted, where it stores something else (`wanted`).
    """

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self.names: dict[Tensor, str] = {
            p: n for n, p in model.named_parameters() if p.requires_grad
        }
        self.grids = grids_of(model)
        self.storing = optimizer if hasattr(optimizer, "wanted") else None
        self._before: dict[Tensor, Tensor] = {}
        self._totals: Tensor | None = None

    @torch.no_grad()
    def before(self) -> None:
        """Remember the weights."""
        parameters = list(self.names)
        copies = torch._foreach_mul(parameters, 1.0)
        self._before = dict(zip(parameters, copies, strict=True))
        if self.storing is not None:
            self.storing.wanted = {}

    @torch.no_grad()
    def after(self) -> Metrics:
        """Compare; one host synchronisation.

        Returns:
            `zero_updates/NAME`: share of entries that kept their value, for every parameter;
            `bit_stall/NAME`, `flips/NAME`: shares of the moved entries (stalled) and of all
            entries (flipped), for every rounded weight; `bit_stall/total` over this step,
            `bit_stall/so_far` over all observed steps, `zero_updates/mean`.
        """
        wanted = self.storing.wanted if self.storing is not None else {}
        unchanged = torch.stack([(p == old).double().mean() for p, old in self._before.items()])
        counts = [self._count(p, wanted.get(p)) for p in self.grids if p in self._before]
        pairs = [v.double() for count in counts for v in (count.updates, count.flips)]
        table = torch.stack(pairs) if pairs else unchanged.new_zeros(0)
        self._before = {}
        if self.storing is not None:
            self.storing.wanted = None
        sums = table.view(-1, 2).sum(0)
        self._totals = sums if self._totals is None else self._totals.to(sums) + sums
        values = torch.cat([unchanged, table, self._totals]).tolist()
        return self._named(values, len(unchanged))

    def _count(self, p: Tensor, wanted: Tensor | None) -> StallCount:
        old, grid = self._before[p], self.grids[p]
        stored = None if wanted is None else p
        after = p if wanted is None else wanted
        return count_stalls(old, after, grid.format, scale=grid.scale(old), stored=stored)

    def _named(self, values: list[float], parameters: int) -> Metrics:
        zero = dict(zip(self.names.values(), values[:parameters], strict=True))
        found = {f"zero_updates/{name}": value for name, value in zero.items()}
        found["zero_updates/mean"] = sum(zero.values()) / max(len(zero), 1)
        *pairs, all_updates, all_flips = values[parameters:]
        updates, flips = pairs[0::2], pairs[1::2]
        for p, moved, flipped in zip(self.grids, updates, flips, strict=True):
            found[f"bit_stall/{self.names[p]}"] = 1 - flipped / moved if moved else 0.0
            found[f"flips/{self.names[p]}"] = flipped / p.numel()
        if updates:
            moved = sum(updates)
            found["bit_stall/total"] = 1 - sum(flips) / moved if moved else 0.0
            found["bit_stall/so_far"] = 1 - all_flips / all_updates if all_updates else 0.0
            found["flips/total"] = sum(flips) / sum(p.numel() for p in self.grids)
        return found

    def state_dict(self) -> dict[str, Any]:
        return {} if self._totals is None else {"totals": self._totals}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._totals = state.get("totals")
