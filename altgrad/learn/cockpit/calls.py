"""Every call of a learner's unit in one pass, with what goes through it forward and backward.

A unit's tensors are handed on as views of their own, so that the gradient seen at an input is what
this very call gave it, before the gradients of other uses of the same tensor are added.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from altgrad.learn.observe import version_of
from altgrad.learn.source import find_units
from altgrad.learn.track import Track

IN, OUT, GRADIENT_OUT, GRADIENT_IN = "in", "out", "gradient at the output", "gradient at an input"
"""Where a tensor was seen, in the order in which a call meets them."""


@dataclass(eq=False)
class Call:
    """One call of a unit; `place` is the module it belongs to, such as `h.0.mlp`."""

    unit: str
    place: str
    parent: "Call | None"
    number: int  # among the calls of this unit at this place
    inputs: list[Tensor] = field(default_factory=list)
    views: list[Tensor] = field(default_factory=list)  # of inputs, as the unit was given them
    changed: bool = False  # did it write into an input?

    @property
    def name(self) -> str:
        return f"{self.unit} ({self.place})" if self.place else self.unit


Seen = Callable[[Call, str, Tensor], None]


def maker(call: Call, side: str) -> Call:
    """The call in whose lines a tensor was made that was first seen here; see `blamed`."""
    return call if side in (OUT, GRADIENT_IN) or call.parent is None else call.parent


def blamed(call: Call, side: str) -> tuple[str, str]:
    """Whose lines made the first odd tensor, if this is where it was first seen, and in words.

    What enters a unit was made by its caller, unless another unit handed it out before. Backward
    the same holds for a gradient that arrives at a unit's output.
    """
    if side in (OUT, GRADIENT_IN):
        return call.unit, f"comes out of {call.name}"
    if call.parent is None:
        what = "what is done with the result of" if side == GRADIENT_OUT else "what is given to"
        return call.unit, f"comes out of {what} {call.name}"
    if side == IN:
        return call.parent.unit, f"comes out of {call.parent.name}, which hands it to {call.unit}"
    how = f"in what it does with the result of {call.unit}"
    return call.parent.unit, f"comes out of {call.parent.name}, {how}"


class Tape:
    """Tells `seen` of every tensor that enters or leaves a unit, and of its gradient."""

    def __init__(self, seen: Seen):
        self.seen, self.places = seen, dict[int, str]()
        self._open: list[Call] = []
        self._counts = Counter[tuple[str, str]]()

    def name_places(self, model: nn.Module) -> None:
        """From now on calls of methods say which module of the model they belong to."""
        for name, module in model.named_modules():
            self.places[id(module)] = name.removeprefix("transformer.")

    def clear(self) -> None:
        """A new pass begins: calls are counted from zero again."""
        self._counts.clear()

    def run(self, unit: str, function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        """`function(*args, **kwargs)`, looked at."""
        call = self._begin(unit, args)
        self._open.append(call)
        try:
            args = tuple(self._entering(call, a) for a in args)
            kwargs = {name: self._entering(call, a) for name, a in kwargs.items()}
            versions = [version_of(x) for x in call.inputs]
            result = function(*args, **kwargs)
            call.changed = versions != [version_of(x) for x in call.inputs]
            if any(result is x for x in call.views):  # handed back: its gradient arrives first
                result = result.view_as(result)
            for tensor in tensors_in(result):
                self._leaving(call, tensor)
        finally:
            self._open.pop()
        return result

    def _begin(self, unit: str, args: tuple) -> Call:
        parent = self._open[-1] if self._open else None
        place = self.places.get(id(args[0]) if args else 0, parent.place if parent else "")
        call = Call(unit, place, parent, self._counts[unit, place])
        self._counts[unit, place] += 1
        return call

    def _entering(self, call: Call, value: Any) -> Any:
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return type(value)(self._entering(call, v) for v in value)
        if not isinstance(value, Tensor):
            return value
        call.inputs.append(value)
        self.seen(call, IN, value)
        # Parameters are passed on as they are: a view of one is no leaf.
        if not value.requires_grad or value.is_leaf:
            return value
        own = value.view_as(value)
        if own.requires_grad:  # not so under no_grad
            own.register_hook(lambda g: self.seen(call, GRADIENT_IN, g))
        call.views.append(own)
        return own

    def _leaving(self, call: Call, tensor: Tensor) -> None:
        self.seen(call, OUT, tensor)
        if tensor.requires_grad and not tensor.is_leaf:
            tensor.register_hook(lambda g: self.seen(call, GRADIENT_OUT, g))


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Those of a value, in lists and tuples too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def wrap_units(
    namespace: dict[str, Any], track: Track, wrap: Callable[[str, Callable], Callable]
) -> None:
    """Put `wrap(unit, function)` in the place of every unit that the namespace has."""
    for unit in find_units(ast.parse(track.source)):
        owner, _, method = unit.partition(".")
        if owner not in namespace:
            continue
        if not method and callable(namespace[owner]) and not isinstance(namespace[owner], type):
            namespace[owner] = wrap(unit, namespace[owner])
        elif method and method in vars(namespace[owner]):
            setattr(namespace[owner], method, wrap(unit, vars(namespace[owner])[method]))


def taped(tape: Tape) -> Callable[[str, Callable], Callable]:
    """For `wrap_units`: every call goes through the tape."""

    def wrap(unit: str, function: Callable) -> Callable:
        return lambda *args, **kwargs: tape.run(unit, function, args, kwargs)

    return wrap


def owner_of(model: nn.Module, parameter: str, namespace: dict[str, Any]) -> str:
    """The unit that uses a parameter: `forward` of the class that is the learner's around it."""
    place = parameter.rpartition(".")[0]
    while place:
        module = model.get_submodule(place)
        if namespace.get(type(module).__name__) is type(module):
            return f"{type(module).__name__}.forward"
        place = place.rpartition(".")[0]
    return f"{type(model).__name__}.forward"
