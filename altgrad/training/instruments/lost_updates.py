"""Updates that were lost: the optimiser moved a number, what is stored did not change.

Compared on the grid of the recipe's weight format with the scale from before the step, so that a
change of scale alone is neither a flip nor hides a stall. With `precision.storage=master` the
"stored" number is the rounded copy that the layers compute with.
"""

from typing import Any

import torch
from torch import Tensor, nn

from altgrad.quantization.rounding import UpdateCounter, widest_dtype
from altgrad.quantization.weight_grid import grids_of
from altgrad.runs import Metrics
from altgrad.training.instruments.readout import Readout


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
        self._copies: list[Tensor] = []
        self._totals: Tensor | None = None
        self._sizes = [p.numel() for p in self.names]
        self._rounded = [i for i, p in enumerate(self.names) if p in self.grids]
        grids = [self.grids.get(p) for p in self.names]
        codings = [None if grid is None else (grid.format, grid.scaling) for grid in grids]
        self._counter = UpdateCounter(list(self.names), codings)

    @torch.no_grad()
    def before(self) -> None:
        """Remember the weights."""
        parameters = list(self.names)
        if self._copies:
            torch._foreach_copy_(self._copies, parameters)
        else:
            self._copies = [p.detach().clone() for p in parameters]
        self.weights_before = dict(zip(parameters, self._copies, strict=True))
        if self.storing is not None:
            self.storing.wanted = {}

    def after(self) -> Metrics:
        """Compare; one host synchronisation.

        Returns:
            `zero_updates/NAME`: share of entries that kept their value, for every parameter;
            `bit_stall/NAME`, `flips/NAME`: shares of the moved entries (stalled) and of all
            entries (flipped), for every rounded weight; `bit_stall/total` over this step,
            `bit_stall/so_far` over all observed steps, `zero_updates/mean`. Where nothing was
            moved (a step that was skipped) there is no such share.
        """
        readout = Readout()
        self.after_into(readout)
        return readout.read()

    @torch.no_grad()
    def after_into(self, readout: Readout) -> None:
        """`after`, read later."""
        wanted: dict[Tensor, Tensor] = self.storing.wanted if self.storing is not None else {}
        kept = [_whole(p) for p in self.names]
        before = [_whole(p) for p in self.weights_before.values()]
        after = [wanted.get(p, now) for p, now in zip(self.names, kept, strict=True)]
        table = self._counter.count(before, after, kept)
        self.weights_before = {}
        if self.storing is not None:
            self.storing.wanted = None
        sums = table[self._rounded].sum(0)[1:].to(widest_dtype(table.device))
        self._totals = sums if self._totals is None else self._totals.to(sums) + sums
        readout.add([table.t(), self._totals], self._named)

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


def _whole(p: Tensor) -> Tensor:
    """All of a tensor that may be sharded."""
    return p.full_tensor() if hasattr(p, "full_tensor") else p.detach()
