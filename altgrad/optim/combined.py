"""Optimisers made of optimisers, which look like one from outside."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class CombinedOptimizer(Optimizer):
    """Each part moves its own parameter groups; outside it is one ordinary optimiser.

    The parts share the `state` and the group dictionaries of the whole, so a learning-rate
    schedule, a gradient scaler, `state_dict`/`load_state_dict` and sharded checkpoints see one
    optimiser and need to know nothing of the parts. A subclass overrides `move`.
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
            if isinstance(part, CombinedOptimizer):
                part._share()

    def __getstate__(self) -> dict[str, Any]:
        """For copies: every attribute but torch's own bookkeeping (schedulers wrap `step`)."""
        own = {name: value for name, value in self.__dict__.items() if name[0] != "_"}
        own.pop("step", None)
        return own

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Called at the end of `load_state_dict` too, which replaces state and groups."""
        super().__setstate__(state)
        self._share()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        assert not hasattr(self, "parts"), "groups belong to the parts; add them there"
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient; returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.move()
        return loss

    def move(self) -> None:
        for part in self.parts:
            part.step()

    def moving(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Every parameter that has a gradient, of any shape, with its group."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    yield p, group

    def updates_of_parts(self, params: list[Tensor]) -> list[Tensor]:
        """What the parts would add to `params`, shape by shape, weight decay apart; others move.

        The parts step from weights of zero, where decay adds nothing and no digit is lost, and
        the weights are put back. Exact for rules whose step does not read the weights.
        """
        kept = [p.clone() for p in params]
        for p in params:
            p.zero_()
        for part in self.parts:
            part.step()
        updates = [p.clone() for p in params]
        for p, weight in zip(params, kept, strict=True):
            p.copy_(weight)
        return updates
