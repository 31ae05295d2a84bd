"""The first NaN or infinity of a training step: in which unit, forward, backward or in a weight.

What comes first is told by order alone: values are looked at as units are called, gradients as they
are computed, weights before and after the optimisers move them. A unit is blamed for what it made
out of finite numbers, never for what it was given.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from altgrad.learn.cockpit.calls import GRADIENT_IN, GRADIENT_OUT, OUT, Call, blamed, owner_of
from altgrad.learn.trace import describe_tensor

FIRST = "the first NaN or infinity"


@dataclass(frozen=True)
class Origin:
    """A unit that made no number of numbers, as a sentence, with what was still finite."""

    unit: str
    text: str

    def __str__(self) -> str:
        return f"{self.text} (altgrad learn check {self.unit})"


class FirstBad:
    """Listens to a `Tape`; `origin` is where the first bad number of this pass came from."""

    def __init__(self) -> None:
        self.origin: Origin | None = None
        self._arriving: dict[str, str] = {}  # unit -> the last gradient at an output of it

    def clear(self) -> None:
        self.origin = None
        self._arriving.clear()

    def see(self, call: Call, side: str, tensor: Tensor) -> None:
        if self.origin is not None:
            return
        if is_bad(tensor):
            unit, where = blamed(call, side)
            backward = "going backward, " if side in (GRADIENT_OUT, GRADIENT_IN) else ""
            finite = self._finite_before(call, side, unit)
            self.origin = Origin(unit, f"{backward}{FIRST} {where}{finite}")
        elif side == GRADIENT_OUT:
            self._arriving[call.unit] = describe_tensor(tensor)

    def _finite_before(self, call: Call, side: str, unit: str) -> str:
        if side in (GRADIENT_OUT, GRADIENT_IN):
            return self._finite_gradient(unit)
        maker = call if side == OUT or call.parent is None else call.parent
        given = [describe_tensor(x) for x in maker.inputs if x.is_floating_point()]
        return f"; what it was given is finite ({', '.join(given[:3])})" if given else ""

    def _finite_gradient(self, unit: str) -> str:
        known = self._arriving.get(unit)
        return f"; the gradient that reached its output is finite ({known})" if known else ""

    def see_weight(self, name: str, unit: str, gradient: Tensor) -> None:
        """The gradient of a parameter of this unit, as soon as it is there."""
        if self.origin is None and is_bad(gradient):
            text = (
                f"going backward, {FIRST} comes out of {unit}: the gradient of {name} "
                f"({how_many(gradient)}){self._finite_gradient(unit)}"
            )
            self.origin = Origin(unit, text)


def listen_to_weights(first: FirstBad, model: nn.Module, namespace: dict[str, Any]) -> None:
    """Have `first` see the gradient of every parameter as it is computed."""

    def listen(name: str, unit: str, parameter: nn.Parameter) -> None:
        parameter.register_hook(lambda g: first.see_weight(name, unit, g))

    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            listen(name, owner_of(model, name, namespace), parameter)


def check_start(model: nn.Module, first: FirstBad) -> None:
    """Raises FloatingPointError where a parameter or table is not finite after initialisation."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in tensors.items():
        if is_bad(tensor):
            origin = first.origin or Origin("GPT.init_weights", "no unit handed it out")
            raise no_number(
                f"after initialisation {name} is no number ({how_many(tensor)})", origin
            )


def check_gradients(model: nn.Module, step: int, loss: float, first: FirstBad) -> None:
    """Raises FloatingPointError where the backward pass of this step left NaN or infinity."""
    if any(is_bad(p.grad) for p in model.parameters()):
        what = f"a gradient at step {step} is no number, though the loss is {loss:.4f}"
        raise no_number(what, first.origin)


class Weights:
    """What the weights and their gradients were before a step, to tell what the step broke."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.before = {n: _largest(p) for n, p in model.named_parameters()}
        self.gradients = {n: _norm(p.grad) for n, p in model.named_parameters()}

    def broken_by(self, optimizers: list[Any], unit: str) -> Origin | None:
        """The first parameter that is no longer finite, and which optimiser moved it."""
        for name, parameter in self.model.named_parameters():
            if is_bad(parameter):
                mover = next((type(o).__name__ for o in optimizers if _holds(o, parameter)), "")
                by = f"moved by {mover} of {unit}" if mover else "in no optimiser"
                text = (
                    f"{name} is no number any more ({how_many(parameter)}), {by}; before the step "
                    f"it was finite (max {self.before[name]}), and so was its gradient (norm "
                    f"{self.gradients[name]})"
                )
                return Origin(unit, text)
        return None


def _holds(optimizer: Any, parameter: Tensor) -> bool:
    return any(p is parameter for group in optimizer.param_groups for p in group["params"])


def _largest(x: Tensor) -> str:
    return f"{x.detach().abs().max().item():.3g}" if x.numel() else "of nothing"


def _norm(gradient: Tensor | None) -> str:
    return "of none" if gradient is None else f"{gradient.double().norm().item():.3g}"


def how_many(x: Tensor) -> str:
    """`12 of 16,384 numbers`."""
    return f"{int((~x.isfinite()).sum()):,} of {x.numel():,} numbers"


def is_bad(value: Any) -> bool:
    """Does a tensor hold NaN or infinity?"""
    floating = isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta
    return floating and not bool(value.isfinite().all())


def check_loss(loss: float, what: str, first: FirstBad) -> float:
    """Raises FloatingPointError for a loss that is no number, with the unit it came from."""
    if not math.isfinite(loss):
        raise no_number(f"{what} is {loss}", first.origin)
    return loss


def no_number(what: str, origin: Origin | None) -> FloatingPointError:
    return FloatingPointError(f"{what}; {origin}" if origin else what)
