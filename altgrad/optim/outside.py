"""Optimisers of other people (`optim.name=mine:Lion`): what they look like, how they are made.

Two forms are understood, told apart by looking:

    class Lion(torch.optim.Optimizer)      __init__(params, lr=…, …), as torch's own: it gets the
                                           parameter groups (each with lr and weight_decay) and,
                                           of `optim.*`, what its constructor names
    def lion(groups, config, storage)      a maker as in `makers.py`; returns an Optimizer
"""

import inspect
from dataclasses import fields
from typing import Any

from torch.optim import Optimizer

from altgrad.optim.config import OptimConfig

CONTRACT = (
    "write `class Lion(torch.optim.Optimizer)` with `def __init__(self, params, lr=1e-3, "
    "weight_decay=0.0)`, or `def lion(groups, config, storage)` that returns an Optimizer"
)
OURS = ("groups", "config", "storage")
BY_GROUP = ("lr", "weight_decay")
"""What every parameter group brings; the rest is handed to the constructor by name."""


def is_plain(made: Any) -> bool:
    return isinstance(made, type) and issubclass(made, Optimizer)


def arguments_of(plain: type[Optimizer]) -> list[str]:
    """Settings `optim.*` that a plain optimiser's constructor names, but for those of a group."""
    known = {f.name for f in fields(OptimConfig)} - {*BY_GROUP, "name"}
    return [name for name in inspect.signature(plain).parameters if name in known]


def as_maker(name: str, made: Any) -> Any:
    """`made` as a maker of `makers.py`.

    Raises:
        ValueError: outside code of neither form; one line with the contract.
    """
    if ":" not in name:
        return made
    if is_plain(made):
        return _maker_of(name, made)
    if not callable(made) or not _takes(made, *OURS):
        raise ValueError(f"optim.name={name} is no optimiser: {CONTRACT}")
    return made


def _maker_of(name: str, plain: type[Optimizer]) -> Any:
    wanted = {"lr": None} | dict.fromkeys(arguments_of(plain))
    if not _takes(plain, "params", **wanted):
        shown = inspect.signature(plain)
        raise ValueError(f"optim.name={name}: __init__{shown} does not fit; {CONTRACT}")

    def make(groups: list[dict[str, Any]], config: OptimConfig, storage: Any) -> Optimizer:
        how = {argument: getattr(config, argument) for argument in arguments_of(plain)}
        return plain(groups, lr=config.lr, **how)  # type: ignore[call-arg]

    return make


def _takes(made: Any, *positional: Any, **named: Any) -> bool:
    try:
        inspect.signature(made).bind(*positional, **named)
    except (TypeError, ValueError):
        return False
    return True


def checked(name: str, optimizer: Any) -> Optimizer:
    """Raises ValueError where outside code returned something else than an optimiser."""
    if not isinstance(optimizer, Optimizer):
        kind = type(optimizer).__name__
        raise ValueError(f"optim.name={name} returned a {kind}, not an Optimizer; {CONTRACT}")
    return optimizer
