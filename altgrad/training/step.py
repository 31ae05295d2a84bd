"""One optimiser step: forward and backward over the micro-batches, then judge, then move.

Fabric supplies what depends on the machine: device, autocast, gradient scaler, several processes.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from altgrad.optim import clip_gradients
from altgrad.training.health import FaultConfig, Finding


@dataclass
class StepOutcome:
    """Values of one step, on the host. `loss` is the mean over all micro-batches and processes."""

    loss: float
    grad_norm: float
    finding: Finding


class StepObserver(Protocol):
    """Looks at a step without changing it."""

    def before(self, step: int) -> None: ...

    def gradients(self, x: Tensor, y: Tensor) -> None: ...

    def moved(self) -> None: ...


class TrainingStep:
    """Callable `(x, y, step) -> StepOutcome`; `x`, `y` are `(accumulation·B, T)` token ids.

    Args:
        fabric: machine, precision, strategy.
        network: the module Fabric has set up; `network(x, y) -> (logits, loss)`.
        optimizer: the optimiser Fabric has set up.
        accumulation: micro-batches that `x` and `y` are cut into along the batch.
        grad_clip: largest L2 norm of the whole gradient; 0 = no clipping.
        judge: decides from (loss, grad_norm) whether the optimiser may move.
        observer: told when the gradients are there and when the weights have moved.
        faults: put into the step on purpose.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: Any,
        optimizer: Any,
        *,
        accumulation: int,
        grad_clip: float,
        judge: Callable[[float, float], Finding],
        observer: StepObserver | None = None,
        faults: FaultConfig | None = None,
    ) -> None:
        self.fabric = fabric
        self.network = network
        self.optimizer = optimizer
        self.accumulation = accumulation
        self.grad_clip = grad_clip
        self.judge = judge
        self.observer = observer
        self.faults = faults or FaultConfig()

    def __call__(self, x: Tensor, y: Tensor, step: int = 0) -> StepOutcome:
        """Take step number `step` (from 1; only faults and observers look at it)."""
        if self.observer is not None:
            self.observer.before(step)
        self.network.train()
        # To None, not to zeros: a parameter without a gradient stays one, and memory is saved.
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.faults.spoil_loss(self._accumulate_gradients(x, y), step)
        # Unscale first: instruments, the clipping norm and the judge need the true gradients.
        self._unscale(step)
        # Look before clipping, which scales them.
        if self.observer is not None:
            self.observer.gradients(x, y)
        # Clip, then judge: the norm is the step's only other number, so both cost one host read.
        # A norm that is not finite spoils the gradients, but such a step is not taken.
        outcome = self._judge(loss, clip_gradients(self._parameters(), self.grad_clip))
        if outcome.finding.action == "continue":
            self.optimizer.step()
        else:
            self._end_unscaling()
        if self.observer is not None:
            self.observer.moved()
        return outcome

    def _accumulate_gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Backward through every micro-batch; gradients are those of the mean loss."""
        pieces = list(zip(x.chunk(self.accumulation), y.chunk(self.accumulation), strict=True))
        assert len(pieces) == self.accumulation, "the batch does not split into micro-batches"
        losses = []
        for i, (x_i, y_i) in enumerate(pieces):
            with self._sync_only_on_the_last(i == len(pieces) - 1):
                _, loss = self.network(x_i, y_i)
                # Divided before backward: gradients add up to those of the mean, in any format.
                self.fabric.backward(loss / len(pieces))
            losses.append(loss.detach().float())  # a float, not a number: reading it would wait
        return torch.stack(losses).mean()

    def _sync_only_on_the_last(self, last: bool) -> AbstractContextManager[None]:
        """Processes average sums of micro-batches once, not every micro-batch."""
        if last or self.fabric.world_size == 1:
            return nullcontext()
        return self.fabric.no_backward_sync(self.network)

    def _unscale(self, step: int) -> None:
        """Gradients as they are, where a scaler is in use; and then the faults asked for."""
        self.fabric.strategy.precision.unscale_gradients(self.optimizer.optimizer)
        self.faults.spoil_gradients(self._parameters(), step)

    def _end_unscaling(self) -> None:
        """A scaler refuses to unscale twice: a step that is not taken must still be ended."""
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if scaler is not None:
            scaler.update()

    def _parameters(self) -> list[Tensor]:
        groups = self.optimizer.optimizer.param_groups
        return [p for group in groups for p in group["params"]]

    def _judge(self, loss: Tensor, norm: Tensor) -> StepOutcome:
        """The step's only host synchronisation."""
        if self.fabric.world_size > 1:
            loss = cast(Tensor, self.fabric.all_reduce(loss, reduce_op="mean"))
        loss_value, norm_value = torch.stack([loss, norm.to(loss)]).tolist()
        return StepOutcome(loss_value, norm_value, self.judge(loss_value, norm_value))
