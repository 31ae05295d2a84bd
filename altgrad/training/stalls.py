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
from altgrad.training.readout import Metrics, Readout, widest_dtype


class StallWatch:
    """Looks at the weights before and after an optimiser's step.

    Args:
        model: with its recipe, if any; a model without one is watched for unchanged floats only.
        optimizer: asked what it wanted, where it stores something else (`wanted`).

    Attributes:
        weights_before: parameter -> copy, between `before` and `after`.
    """

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self.names: dict[Tensor, str] = {
            p: n for n, p in model.named_parameters() if p.requires_grad
        }
        self.grids = grids_of(model)
        self.storing = optimizer if hasattr(optimizer, "wanted") else None
        self.weights_before: dict[Tensor, Tensor] = {}
        self._totals: Tensor | None = None

    @torch.no_grad()
    def before(self) -> None:
        """Remember the weights."""
        parameters = list(self.names)
        copies = torch._foreach_mul(parameters, 1.0)
        self.weights_before = dict(zip(parameters, copies, strict=True))
        if self.storing is not None:
            self.storing.wanted = {}

    def after(self) -> Metrics:
        """Compare; one host synchronisation.

        Returns:
            `zero_updates/NAME`: share of entries that kept their value, for every parameter;
            `bit_stall/NAME`, `flips/NAME`: shares of the moved entries (stalled) and of all
            entries (flipped), for every rounded weight; `bit_stall/total` over this step,
            `bit_stall/so_far` over all observed steps, `zero_updates/mean`.
        """
        readout = Readout()
        self.after_into(readout)
        return readout.read()

    @torch.no_grad()
    def after_into(self, readout: Readout) -> None:
        """`after`, read later."""
        wanted = self.storing.wanted if self.storing is not None else {}
        unchanged = torch.stack(
            [(p == old).float().mean() for p, old in self.weights_before.items()]
        )
        counts = [self._count(p, wanted.get(p)) for p in self.grids if p in self.weights_before]
        wide = widest_dtype(unchanged.device)
        pairs = [v.to(wide) for count in counts for v in (count.updates, count.flips)]
        table = torch.stack(pairs) if pairs else unchanged.new_zeros(0, dtype=wide)
        self.weights_before = {}
        if self.storing is not None:
            self.storing.wanted = None
        sums = table.view(-1, 2).sum(0)
        self._totals = sums if self._totals is None else self._totals.to(sums) + sums
        count = len(unchanged)
        readout.add([unchanged, table, self._totals], lambda numbers: self._named(numbers, count))

    def _count(self, p: Tensor, wanted: Tensor | None) -> StallCount:
        old, grid = self.weights_before[p], self.grids[p]
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
