"""Updates that were lost: the optimiser moved a number, what is stored did not change.

Compared on the grid of the recipe's weight format with the scale from before the step, so that a
change of scale alone is neither a flip nor hides a stall. With `precision.storage=master` the
"stored" number is the rounded copy that the layers compute with.
"""

from typing import Any

import torch
from torch import Tensor

from altgrad.quantization.rounding import UpdateCounter, widest_dtype
from altgrad.quantization.weight_grid import grids_of
from altgrad.runs import Metrics
from altgrad.training.instruments.instrument import Context, Instrument, whole


class LostUpdates(Instrument):
    """Looks at the weights before and after an optimiser's step.

    `zero_updates/NAME`: share of entries that kept their value, for every parameter;
    `bit_stall/NAME`, `flips/NAME`: shares of the moved entries (stalled) and of all entries
    (flipped), for every rounded weight; `bit_stall/total`, `flips/total` over this step,
    `bit_stall/so_far` over all observed steps, `zero_updates/mean`. Where nothing was moved (a
    step that was skipped) there is no share of it. A model without a recipe is watched for
    unchanged floats only.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        trained = [(n, p) for n, p in context.model.named_parameters() if p.requires_grad]
        self.names: dict[Tensor, str] = {p: n for n, p in trained}
        self._sizes = [p.numel() for p in self.names]
        self.format_changed()

    def format_changed(self) -> None:
        """The grid is another one: what was lost on the old one is not added to."""
        self.grids = grids_of(self.context.model)
        grids = [self.grids.get(p) for p in self.names]
        codings = [None if grid is None else (grid.format, grid.scaling) for grid in grids]
        self._rounded = [i for i, p in enumerate(self.names) if p in self.grids]
        self._counter = UpdateCounter(list(self.names), codings)
        self._totals: Tensor | None = None

    @torch.no_grad()
    def moved(self) -> None:
        wanted = self.context.wanted
        kept = [whole(p) for p in self.names]
        before = [whole(self.context.weights_before[p]) for p in self.names]
        after = [wanted.get(p, now) for p, now in zip(self.names, kept, strict=True)]
        table = self._counter.count(before, after, kept)
        sums = table[self._rounded].sum(0)[1:].to(widest_dtype(table.device))
        self._totals = sums if self._totals is None else self._totals.to(sums) + sums
        self.context.readout.add([table.t(), self._totals], self._named)

    def _named(self, values: list[float]) -> Metrics:
        """From the columns of the counter's table, and moved and flipped so far."""
        count = len(self._sizes)
        same, moved, flipped = (values[i * count : (i + 1) * count] for i in range(3))
        zero = [number / size for number, size in zip(same, self._sizes, strict=True)]
        names = list(self.names.values())
        found = {f"zero_updates/{n}": share for n, share in zip(names, zero, strict=True)}
        found["zero_updates/mean"] = sum(zero) / max(count, 1)
        if not self._rounded:
            return found
        for i in self._rounded:
            found |= _stall(f"bit_stall/{names[i]}", moved[i], flipped[i])
            found[f"flips/{names[i]}"] = flipped[i] / self._sizes[i]
        all_moved, all_flipped = (sum(c[i] for i in self._rounded) for c in (moved, flipped))
        found |= _stall("bit_stall/total", all_moved, all_flipped)
        found |= _stall("bit_stall/so_far", *values[-2:])
        found["flips/total"] = all_flipped / sum(self._sizes[i] for i in self._rounded)
        return found

    def state_dict(self) -> dict[str, Any]:
        return {} if self._totals is None else {"totals": self._totals}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._totals = state.get("totals")


def _stall(name: str, moved: float, flipped: float) -> Metrics:
    return {name: 1 - flipped / moved} if moved else {}
