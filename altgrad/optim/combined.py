"""Several optimisers behind one `torch.optim.Optimizer`."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class CombinedOptimizer(Optimizer):
    """Each part moves its own parameter groups; outside it is one ordinary optimiser.

    The parts share the `state` and the group dictionaries of the whole, so a learning-rate
    schedule, a gradient scaler, `state_dict`/`load_state_dict` and sharded checkpoints see one
    optimiser and need to know nothing of the parts.
    """

    def __init__(self, parts: list[Optimizer]) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        self._share()

    def _share(self) -> None:
        first = 0
        for part in self.parts:
            count = len(part.param_groups)
            part.param_groups = self.param_groups[first : first + count]
            part.state = self.state
            first += count

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"parts": self.parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Called at the end of `load_state_dict` too, which replaces state and groups."""
        super().__setstate__(state)
        self._share()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        assert not hasattr(self, "parts"), "groups belong to the parts; add them there"
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss
