"""Batches out of a memory-mapped token file.

Training batch number k is a pure function of (seed, k): k is the counter of a Philox generator
keyed by the seed. So the position is one integer, a resume needs nothing else, and neither the
model nor the evaluation can change what is read next.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from altgrad.data.errors import DataError
from altgrad.data.metadata import check_block
from altgrad.data.tokens import load_tokens

IGNORE = -1
"""Target of a padded position: `cross_entropy(..., ignore_index=-1)` leaves it out."""


class BatchSource:
    """Random blocks of `tokens`, reproducible and resumable; see the module's first lines.

    Batch k of `rank` is the global micro-batch k * world_size + rank, so two processes read
    together exactly what one process reads alone with twice the accumulation.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        block_size: int,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ):
        check_block(len(tokens), block_size, what="the training split")
        if not 0 <= seed < 2**64:
            raise DataError(f"seed={seed}: must lie between 0 and 2**64 - 1")
        assert 0 <= rank < world_size
        self.tokens, self.block_size, self.batch_size = tokens, block_size, batch_size
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.position = 0

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets, each int64 (B, T) on the CPU; targets are one token further."""
        batch = self.batch_at(self.position + self.rank)
        self.position += self.world_size
        return batch

    def batch_at(self, index: int) -> tuple[Tensor, Tensor]:
        """The global micro-batch number `index`, without moving the position.

        Its places follow from the index alone: another batch size needs nothing else.
        """
        # The counter's low word counts draws within a batch; the index sits above it.
        philox = np.random.Philox(key=self.seed, counter=[0, index, 0, 0])
        drawn = philox.random_raw(self.batch_size)
        starts = drawn % np.uint64(len(self.tokens) - self.block_size)
        return gather(self.tokens, starts.astype(np.int64), self.block_size)

    def state_dict(self) -> dict[str, int]:
        """The number of global micro-batches read so far, by all processes together."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if state["position"] % self.world_size:
            raise DataError(
                f"position {state['position']} cannot be shared by {self.world_size} processes; "
                "resume with a number of processes that divides it"
            )
        self.position = state["position"]


def gather(tokens: np.ndarray, starts: np.ndarray, block_size: int) -> tuple[Tensor, Tensor]:
    """Read the blocks at `starts` (B,) in one go: inputs and targets, int64 (B, T)."""
    windows = np.lib.stride_tricks.sliding_window_view(tokens, block_size + 1)
    return as_batch(windows[starts])


def as_batch(blocks: np.ndarray) -> tuple[Tensor, Tensor]:
    """Blocks of T + 1 tokens, (B, T+1), as inputs and targets, int64 (B, T)."""
    block = torch.from_numpy(blocks.astype(np.int64))
    return block[:, :-1].contiguous(), block[:, 1:].contiguous()


def evaluation_batches(
    tokens: np.ndarray, block_size: int, *, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The whole split in order: every token but the first is a target exactly once.

    Each pair is int64 (B, T), the same shape every time. What is missing from the last batch is
    padded, inputs with 0 and targets with -1. So the exact mean over the split weighs each
    batch's mean loss (`ignore_index=-1`) with its number of targets: `(y >= 0).sum()`.
    """
    if len(tokens) < 2:
        raise DataError(f"{len(tokens)} tokens cannot be evaluated: at least 2 are needed")
    per_batch = batch_size * block_size
    for start in range(0, len(tokens) - 1, per_batch):
        span = np.asarray(tokens[start : start + per_batch + 1], dtype=np.int64)
        x = np.zeros(per_batch, dtype=np.int64)
        y = np.full(per_batch, IGNORE, dtype=np.int64)
        x[: len(span) - 1], y[: len(span) - 1] = span[:-1], span[1:]
        shape = (batch_size, block_size)
        yield torch.from_numpy(x).view(shape), torch.from_numpy(y).view(shape)


def get_batch(
    split: str,
    data_dir: str | Path,
    block_size: int,
    batch_size: int,
    device: str | torch.device = "cpu",
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Random blocks of a split as nanoGPT's function of this name: int64 (B, T) on `device`.

    Draws from torch's global generator unless `generator` is given; runs use `BatchSource`.
    """
    tokens = load_tokens(data_dir, split)
    check_block(len(tokens), block_size, what=f"the {split} split of {data_dir}")
    starts = torch.randint(len(tokens) - block_size, (batch_size,), generator=generator)
    x, y = gather(tokens, starts.numpy(), block_size)
    if torch.device(device).type == "cuda":
        # Pinned memory lets the copy to the GPU run beside the computation.
        x, y = x.pin_memory(), y.pin_memory()
    return x.to(device, non_blocking=True), y.to(device, non_blocking=True)
