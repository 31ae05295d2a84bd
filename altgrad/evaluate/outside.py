"""CORE's tasks asked of a model that is not altgrad's: all that is needed are its logits."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from altgrad.data.errors import DataError
from altgrad.evaluate.bundle import Bundle, Task
from altgrad.evaluate.core import NothingToAsk, TaskResult, evaluate_tasks
from altgrad.model import GPT, GPTConfig


class LogitsModel(nn.Module):
    """Looks to the scoring like a `GPT` whose trunk already gives the logits; it has no KV cache.

    Args:
        logits: (B, T) ids -> (B, T, V).
        block_size: the longest sequence `logits` is given; longer questions lose their beginning.
    """

    def __init__(self, logits: Callable[[Tensor], Tensor], block_size: int):
        super().__init__()
        self.logits = logits
        self.config = GPTConfig(block_size=block_size)
        self.device_of = nn.Parameter(torch.empty(0), requires_grad=False)

    def hidden(self, idx: Tensor, cache: None = None) -> Tensor:
        return self.logits(idx)

    def head(self, hidden: Tensor) -> Tensor:
        return hidden.float()


def judge(
    logits: Callable[[Tensor], Tensor],
    tokenizer: Any,
    *,
    bundle: Bundle,
    tasks: Sequence[Task],
    block_size: int,
    max_per_task: int = -1,
) -> list[TaskResult]:
    """Accuracy of the model behind `logits`, which is on the CPU, on each task it can be asked.

    Examples with characters that the tokenizer does not know are left out, and with them tasks
    that have no other.

    Raises:
        DataError: no task is left, or the bundle is damaged.
    """
    model = cast(GPT, LogitsModel(logits, block_size))
    how: dict[str, Any] = {"max_per_task": max_per_task, "unknown": "skip", "share": False}
    results: list[TaskResult] = []
    for task in tasks:
        with contextlib.suppress(NothingToAsk):
            results += evaluate_tasks(model, tokenizer, bundle, [task], **how)
    if not results:
        raise DataError("no CORE task has an example that this tokenizer can write")
    return results
