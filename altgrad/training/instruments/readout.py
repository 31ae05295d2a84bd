"""Numbers of a step that wait on the device until all of them are read at once."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from altgrad.quantization.rounding import widest_dtype
from altgrad.runs import Metrics

Naming = Callable[[list[float]], Metrics]


def join(found: Metrics, more: Metrics) -> Metrics:
    """`found` with `more` in it, which may not say anew what is there.

    Raises:
        ValueError: two measures of one name; one of them would be lost.
    """
    if both := found.keys() & more.keys():
        raise ValueError(f"metric {min(both)!r} is measured twice: give your own another name")
    found |= more
    return found


class Readout:
    """Instruments add tensors; `read` brings all of them to the host in one transfer."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Naming]] = []
        self._values: list[Tensor] = []

    def add(self, values: Iterable[Tensor], naming: Naming) -> None:
        """`naming` will get the numbers of `values`, each flattened, one after the other."""
        flat = [value.detach().to(widest_dtype(value.device)).flatten() for value in values]
        self._waiting.append((sum(value.numel() for value in flat), naming))
        self._values += flat

    def read(self) -> Metrics:
        """What every naming made of its numbers, in the order they were added; then empty."""
        numbers = torch.cat(self._values).tolist() if self._values else []
        found: Metrics = {}
        start = 0
        for count, naming in self._waiting:
            join(found, naming(numbers[start : start + count]))
            start += count
        self._waiting, self._values = [], []
        return found


def rows_of(names: Iterable[str], numbers: list[float]) -> dict[str, list[float]]:
    """Name -> its equal share of the numbers, in order."""
    names = list(names)
    width = len(numbers) // max(len(names), 1)
    return {name: numbers[i * width : (i + 1) * width] for i, name in enumerate(names)}
