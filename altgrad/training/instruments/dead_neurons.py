"""Neurons that learn nothing: rows of a weight whose gradient stays below a threshold."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from altgrad.quantization.rounding import gradient_sums
from altgrad.runs import Metrics
from altgrad.training.instruments.gradients import gradients_of
from altgrad.training.instruments.readout import Readout


class Rows(NamedTuple):
    """Which of the rows of all gradients are neurons: names and sizes of their weights, and where
    the rows lie in `GradientSums.peaks`."""

    names: list[str]
    sizes: list[int]
    places: Tensor


class DeadNeurons:
    """Counts, per output neuron, the steps in a row in which its whole gradient row was tiny.

    Args:
        threshold: |g| below this is nothing.
        window: steps in a row after which a neuron counts as dead.
    """

    def __init__(self, threshold: float = 1e-8, window: int = 100) -> None:
        self.threshold, self.window = threshold, window
        self._quiet: dict[str, Tensor] = {}
        self._flat: Tensor | None = None
        self._rows: Rows | None = None
        self._seen: list[str] = []

    @torch.no_grad()
    def observe(
        self,
        model: nn.Module,
        gradients: dict[str, Tensor] | None = None,
        peaks: Tensor | None = None,
    ) -> None:
        """Take in the gradients of one step, without a host synchronisation.

        `gradients` and the `peaks` of their `gradient_sums`, where they are at hand. Embeddings are
        left out: the row of a token that is not in the batch has no gradient.
        """
        gradients = gradients_of(model) if gradients is None else gradients
        if not gradients:
            return
        if peaks is None:
            peaks = gradient_sums(list(gradients.values()), self.threshold).peaks
        if list(gradients) != self._seen:
            self._watch(model, gradients)
        assert self._rows is not None
        assert self._flat is not None
        largest = peaks[self._rows.places]
        self._flat = torch.where(largest < self.threshold, self._flat + 1, 0)

    def _watch(self, model: nn.Module, gradients: dict[str, Tensor]) -> None:
        """From now on these gradients come; counts of others rest."""
        self._quiet, self._seen = self.state_dict(), list(gradients)
        self._rows = rows = _neuron_rows(model, gradients)
        device = rows.places.device
        old = [
            self._quiet.get(name, torch.zeros(size, dtype=torch.int32)).to(device)
            for name, size in zip(rows.names, rows.sizes, strict=True)
        ]
        self._flat = torch.cat([*old, torch.zeros(0, dtype=torch.int32, device=device)])

    def measure(self) -> Metrics:
        """`dead_neurons/NAME`: share of dead neurons; `dead_neurons/max`."""
        readout = Readout()
        self.measure_into(readout)
        return readout.read()

    def measure_into(self, readout: Readout) -> None:
        """`measure`, read later."""
        if self._flat is None or self._rows is None or not self._rows.names:
            return
        names, sizes = self._rows.names, self._rows.sizes
        so_far = (self._flat >= self.window).cumsum(0)
        ends = torch.tensor(sizes, device=so_far.device).cumsum(0) - 1
        counts = so_far[ends].diff(prepend=so_far.new_zeros(1))

        def shares(numbers: list[float]) -> Metrics:
            values = [n / size for n, size in zip(numbers, sizes, strict=True)]
            found = {f"dead_neurons/{n}": v for n, v in zip(names, values, strict=True)}
            return {**found, "dead_neurons/max": max(values)}

        readout.add([counts], shares)

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
