"""A small GPT and something to learn, for the endings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from altgrad.model import GPT, preset

SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 32, "vocab_size": 256}
BATCH = 8
TEXT = Path(__file__).parents[1] / "reference" / "nanochat.py"  # 10 kB, there on every machine


def small_gpt(seed: int = 0) -> GPT:
    """altgrad's own GPT over bytes; the same weights for the same seed."""
    return GPT(preset("nanochat", **SIZES), torch.Generator().manual_seed(seed))


def batches(number: int, seed: int = 0, text: Path = TEXT) -> Iterator[tuple[Tensor, Tensor]]:
    """(ids, targets), each (BATCH, T), from random places of the text."""
    data = torch.tensor(list(text.read_bytes()))
    generator, length = torch.Generator().manual_seed(seed), SIZES["block_size"]
    for _ in range(number):
        starts = torch.randint(len(data) - length - 1, (BATCH,), generator=generator).tolist()
        rows = torch.stack([data[s : s + length + 1] for s in starts])
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def train(model: Any, optimizers: list[Any], steps: int, seed: int = 0) -> list[float]:
    """The loss before every step."""
    losses = []
    for ids, targets in batches(steps, seed):
        loss = loss_of(model, ids, targets)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses


def loss_of(model: Any, ids: Tensor, targets: Tensor) -> Tensor:
    return model(ids, targets)[1]


def mark(right: bool) -> str:
    return "✓" if right else "✗"
