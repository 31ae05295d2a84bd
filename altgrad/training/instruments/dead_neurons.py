"""Neurons that learn nothing: rows of a weight whose gradient stays below a threshold."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from altgrad.runs import Metrics
from altgrad.training.instruments.instrument import Context, Instrument


class Rows(NamedTuple):
    """Which of the rows of all gradients are neurons: names and sizes of their weights, and where
    the rows lie in `GradientSums.peaks`."""

    names: list[str]
    sizes: list[int]
    places: Tensor


class DeadNeurons(Instrument):
    """`dead_neurons/NAME`: share of output neurons whose whole gradient row has been below
    `diagnostics.dead_neuron_threshold` for `dead_neuron_window` steps in a row;
    `dead_neurons/max`.

    Embeddings are left out: the row of a token that is not in the batch has no gradient.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._quiet: dict[str, Tensor] = {}
        self._flat: Tensor | None = None
        self._rows: Rows | None = None
        self._seen: list[str] = []

    @torch.no_grad()
    def gradients(self) -> None:
        gradients = self.context.gradients
        if not gradients:
            return
        if list(gradients) != self._seen:
            self._watch(gradients)
        assert self._rows is not None
        assert self._flat is not None
        largest = self.context.gradient_sums.peaks[self._rows.places]
        threshold = self.context.diagnostics.dead_neuron_threshold
        self._flat = torch.where(largest < threshold, self._flat + 1, 0)
        if self._rows.names:
            self._add_shares(self._rows, self._flat)

    def _watch(self, gradients: dict[str, Tensor]) -> None:
        """From now on these gradients come; counts of others rest."""
        self._quiet, self._seen = self.state_dict(), list(gradients)
        self._rows = rows = _neuron_rows(self.context.model, gradients)
        device = rows.places.device
        old = [
            self._quiet.get(name, torch.zeros(size, dtype=torch.int32)).to(device)
            for name, size in zip(rows.names, rows.sizes, strict=True)
        ]
        self._flat = torch.cat([*old, torch.zeros(0, dtype=torch.int32, device=device)])

    def _add_shares(self, rows: Rows, quiet: Tensor) -> None:
        so_far = (quiet >= self.context.diagnostics.dead_neuron_window).cumsum(0)
        ends = torch.tensor(rows.sizes, device=so_far.device).cumsum(0) - 1
        counts = so_far[ends].diff(prepend=so_far.new_zeros(1))

        def shares(numbers: list[float]) -> Metrics:
            values = [n / size for n, size in zip(numbers, rows.sizes, strict=True)]
            found = {f"dead_neurons/{n}": v for n, v in zip(rows.names, values, strict=True)}
            return {**found, "dead_neurons/max": max(values)}

        self.context.readout.add([counts], shares)

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> steps in a row, per neuron."""
        if self._flat is None or self._rows is None:
            return dict(self._quiet)
        parts = self._flat.split(self._rows.sizes)
        return {**self._quiet, **dict(zip(self._rows.names, parts, strict=True))}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._quiet, self._seen, self._flat = dict(state), [], None


def _neuron_rows(model: nn.Module, gradients: dict[str, Tensor]) -> Rows:
    skip = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    parameters = dict(model.named_parameters())
    names: list[str] = []
    sizes: list[int] = []
    places: list[int] = []
    start = 0
    for name, gradient in gradients.items():
        rows = gradient.shape[0] if gradient.ndim == 2 else 1
        if gradient.ndim == 2 and id(parameters[name]) not in skip:
            names.append(name)
            sizes.append(rows)
            places += range(start, start + rows)
        start += rows
    device = next(iter(gradients.values())).device
    return Rows(names, sizes, torch.tensor(places, dtype=torch.int64, device=device))
