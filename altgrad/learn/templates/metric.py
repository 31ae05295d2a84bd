"""A measure of your own. As it stands it gives the size of a step: change what is marked.

    altgrad verify 'diagnostics.own=[mine:Metric]'
    altgrad train 'diagnostics.own=[mine:Metric]' 'guards.limits={own_step/max: 0.5}'
    altgrad compare optim=muon,adamw seeds=3 'diagnostics.own=[mine:Metric]' primary=own_step/max

Contract
    a subclass of Instrument with one or more of
        before(step)   before the forward pass of step number `step`, from 1
        gradients()    after the backward pass, before gradients are clipped
        moved()        after the optimiser's step
    self.context       what may be looked at and must not be changed: model, gradients (name ->
                       tensor), weights_before (parameter -> copy), layers (rounded ones), x, y
    self.context.readout.add(tensors, naming)
                       naming(numbers) -> {metric: number}; all tensors of a step are read from
                       the device at once, so do not call .item() yourself
    state_dict(), load_state_dict(state)   what a resumed run must find again; usually nothing
"""

import torch

from altgrad.training.instruments import Instrument


class Metric(Instrument):
    """`own_step/NAME`: norm of the step / norm of the weight before it; `own_step/max`."""

    @torch.no_grad()
    def moved(self) -> None:
        before = self.context.weights_before
        moved = {n: p for n, p in self.context.model.named_parameters() if p in before}
        # Yours begins here.
        sizes = [(p - before[p]).norm() / before[p].norm().clamp_min(1e-12) for p in moved.values()]

        def named(numbers: list[float]) -> dict[str, float]:
            found = {f"own_step/{name}": v for name, v in zip(moved, numbers, strict=True)}
            return {**found, "own_step/max": max(numbers)}

        # Yours ends here.
        self.context.readout.add(sizes, named)
