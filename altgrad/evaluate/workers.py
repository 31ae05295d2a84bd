"""Independent batches on all cores: on a CPU each core takes batches of its own.

Two cores that share every operation of a small model wait for each other at its end; two that take
turns at the batches do not. A batch is always computed by one core, so that the numbers do not
depend on how many there are.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_turns(
    work: Callable[[Item], Result], items: Iterable[Item], device: torch.device
) -> Iterator[Result]:
    """`map(work, items)` in inference mode: on the device, or a batch for each core of a CPU."""
    if device.type != "cpu":
        yield from (_inferred(work, item) for item in items)
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(lambda item: _inferred(work, item), items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


@torch.inference_mode()
def _inferred(work: Callable[[Item], Result], item: Item) -> Result:
    return work(item)
