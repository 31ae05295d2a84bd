"""Neurons that learn nothing: rows of a weight whose gradient stays below a threshold."""

import torch
from torch import Tensor, nn

from altgrad.training.readout import Metrics, Readout


class DeadNeurons:
    """Counts, per output neuron, the steps in a row in which its whole gradient row was tiny.

    Args:
        threshold: |g| below this is nothing.
        window: steps in a row after which a neuron counts as dead.
    """

    def __init__(self, threshold: float = 1e-8, window: int = 100) -> None:
        self.threshold, self.window = threshold, window
        self.quiet: dict[str, Tensor] = {}

    @torch.no_grad()
    def observe(self, model: nn.Module) -> None:
        """Take in the gradients of one step, without a host synchronisation.

        Embeddings are left out: the row of a token that is not in the batch has no gradient.
        """
        skip = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        for name, parameter in model.named_parameters():
            if parameter.grad is None or parameter.ndim != 2 or id(parameter) in skip:
                continue
            largest = torch.linalg.vector_norm(parameter.grad.detach(), float("inf"), dim=1)
            before = self.quiet.get(name)
            before = torch.zeros_like(largest, dtype=torch.int32) if before is None else before
            self.quiet[name] = torch.where(largest < self.threshold, before + 1, 0)

    def measure(self) -> Metrics:
        """`dead_neurons/NAME`: share of dead neurons; `dead_neurons/max`."""
        readout = Readout()
        self.measure_into(readout)
        return readout.read()

    def measure_into(self, readout: Readout) -> None:
        """`measure`, read later."""
        names = list(self.quiet)
        shares = [(q >= self.window).float().mean() for q in self.quiet.values()]
        readout.add(shares, lambda numbers: _shares(dict(zip(names, numbers, strict=True))))

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.quiet)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.quiet = dict(state)


def _shares(values: Metrics) -> Metrics:
    if not values:
        return {}
    found = {f"dead_neurons/{name}": value for name, value in values.items()}
    return {**found, "dead_neurons/max": max(values.values())}
