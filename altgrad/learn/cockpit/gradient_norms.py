"""The norms of the weights' gradients by unit, in the order in which they are computed backward.

    lm_head            GPT.forward                      0.713     0.702     0.694
    h.1.mlp            MLP.forward                          0   0.00912    0.0183

Beside them those of the reference, trained from the same weights on the same batch by its own
optimisers: where a row departs while those above it agree, its unit sends another gradient back.
"""

from typing import Any

import torch
from torch import Tensor, nn

from altgrad.learn.cockpit.calls import owner_of
from altgrad.learn.harness import harness_of
from altgrad.learn.proof import same_start
from altgrad.learn.track import Track
from altgrad.learn.transplant import load_reference

Row = tuple[str, str]  # place in the model, the unit that uses the weights there


class Norms:
    """Gradient norms of a model's weights, one column for every `note()`."""

    def __init__(self, model: nn.Module, namespace: dict[str, Any]):
        self.model = model
        self.rows: dict[Row, list[float | None]] = {}
        self._row_of = {n: _row(model, n, namespace) for n, _ in model.named_parameters()}
        self._order: list[str] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.register_hook(lambda g, n=name: self._order.append(n))

    def note(self) -> None:
        """After a backward pass; a row that got no gradient at all has None."""
        parameters = dict(self.model.named_parameters())
        squares: dict[Row, float | None] = {}
        for name in dict.fromkeys([*self._order, *parameters]):
            gradient, row = parameters[name].grad, self._row_of[name]
            so_far = squares.setdefault(row, None)
            if gradient is not None:
                squares[row] = (so_far or 0.0) + gradient.double().square().sum().item()
        for row, square in squares.items():
            self.rows.setdefault(row, []).append(None if square is None else square**0.5)
        self._order.clear()


def _row(model: nn.Module, parameter: str, namespace: dict[str, Any]) -> Row:
    """A block's attention or MLP is one row; what the GPT itself holds has a row each."""
    unit = owner_of(model, parameter, namespace)
    parts = parameter.removeprefix("transformer.").split(".")
    place = ".".join(parts[:3]) if parts[0] == "h" else parts[0]
    return place, unit


def reference_norms(
    track: Track, model: nn.Module, sizes: dict[str, int], batch: tuple[Tensor, Tensor], steps: int
) -> dict[Row, list[float | None]]:
    """The same of the reference from the same weights; empty where they do not correspond."""
    harness, namespace = harness_of(track.name), load_reference(track.path)
    state = torch.get_rng_state()
    theirs = harness.make(namespace, sizes)
    harness.initialise(theirs)
    torch.set_rng_state(state)  # the learner's own draws stay what they are
    try:
        same_start(model, theirs)
    except (ValueError, KeyError):
        return {}
    norms = Norms(theirs, namespace)
    optimizers = harness.optimizers(theirs)
    for _ in range(steps):
        harness.loss(theirs, *batch).backward()
        norms.note()
        for optimizer in optimizers:
            optimizer.step()
        theirs.zero_grad(set_to_none=True)
    return norms.rows


def norm_lines(mine: Norms, theirs: dict[Row, list[float | None]]) -> list[str]:
    """A table in the order of the backward pass: yours at every step, then the reference's."""
    steps = [f"step {k}" for k in range(len(next(iter(mine.rows.values()), [])))]
    head = f"{'gradient norm of the weights':40}{_cells(steps)}"
    lines = [f"{head}  | reference{_cells(steps)[10:]}" if theirs else head]
    for (place, unit), values in mine.rows.items():
        line = f"{place:11}{unit:29}{_cells(map(_shown, values))}"
        other = theirs.get((place, unit))
        lines.append(f"{line}  |{_cells(map(_shown, other))}" if other else line)
    return lines


def _cells(texts: Any) -> str:
    return "".join(f"{text:>9}" for text in texts)


def _shown(norm: float | None) -> str:
    return "none" if norm is None else f"{norm:.3g}"
