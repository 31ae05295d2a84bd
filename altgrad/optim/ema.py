"""An exponential moving average of the weights, swapped in for evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """A <- d A + (1 - d) W after each step, d = min(decay, (1 + t) / (10 + t)) at update t.

    The rising d forgets the initial weights within the first steps instead of the first
    1 / (1 - decay). Costs one copy of the parameters. Buffers are not averaged.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Raises ValueError unless 0 < decay < 1."""
        if not 0.0 < decay < 1.0:
            raise ValueError(f"optim.ema_decay={decay} must be in (0, 1); 0 turns it off")
        self.decay = decay
        self.updates = 0
        self._names = [name for name, _ in model.named_parameters()]
        self._live = [p for _, p in model.named_parameters()]
        self._average = [p.detach().clone() for p in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights; call it after the optimiser's step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._average, [p.detach() for p in self._live], 1.0 - decay)
        self.updates += 1

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside, the model has the averaged weights; afterwards its own, bit for bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        """In place, so that optimisers, tied names and compiled graphs keep their tensors."""
        own = [p.detach().clone() for p in self._live]
        torch._foreach_copy_([p.detach() for p in self._live], self._average)
        torch._foreach_copy_(self._average, own)

    def weights(self) -> dict[str, Tensor]:
        """Parameter name -> averaged tensor of its shape (the average's own storage)."""
        return dict(zip(self._names, self._average, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """`updates` (int) and `weights` (name -> tensor)."""
        return {"updates": self.updates, "weights": self.weights()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError if the names differ from the model's."""
        if set(state["weights"]) != set(self._names):
            different = sorted(set(state["weights"]) ^ set(self._names))
            raise ValueError(f"the saved average does not fit this model: {different[:5]}")
        self.updates = state["updates"]
        torch._foreach_copy_(self._average, [state["weights"][name] for name in self._names])
