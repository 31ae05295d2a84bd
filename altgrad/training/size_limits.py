"""Whether a network can be, before one is built: settings out of a file may ask for any size.

A network with `n_layer: 1000000000` would be built layer by layer until the machine dies. What a
file's tensors can hold bounds it; where there is no file yet, the memory does.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields

import torch

from altgrad.model import GPT, GPTConfig
from altgrad.model.position import TABLE_FACTOR
from altgrad.settings import ConfigError
from altgrad.training.checkpoints import available_memory

LAYER_BYTES = 10_000
"""At least, of Python's own objects for one layer."""


def refuse_more_than_stored(
    config: GPTConfig, shapes: Iterable[Sequence[int]], where: object
) -> None:
    """Raises ConfigError if the network has more numbers than the tensors of its own file."""
    sizes = [math.prod(shape) for shape in shapes]
    stored = sum(sizes)
    refuse_more_than_memory(config)
    if ":" in config.network:
        return  # the class says itself how many layers its sizes mean
    if config.n_layer > len(sizes) or _parameters(config, stored) > stored:
        raise ConfigError(
            f"{where}: the settings speak of a network with {config.n_layer:,} layers of width "
            f"{config.n_embd:,}, the file has {len(sizes):,} tensors with {stored:,} numbers: "
            "they do not belong together."
        )


def refuse_more_than_memory(config: GPTConfig) -> None:
    """Raises ConfigError if its weights and tables cannot lie in this machine's memory."""
    available = available_memory()
    needed = 4 * _least(config) + LAYER_BYTES * config.n_layer + 8 * _table_numbers(config)
    if available is not None and needed > available:
        raise ConfigError(
            f"a network of {config.n_layer:,} layers of width {config.n_embd:,} for "
            f"{config.block_size:,} tokens needs more than {needed:,} bytes; this machine has "
            f"{available:,} free."
        )


def _least(config: GPTConfig) -> int:
    """Parameters that no choice of parts avoids, without a number so large that it takes time."""
    if ":" in config.network:
        return 0  # a whole class may be made of anything
    return config.n_layer * config.n_embd**2 + (config.vocab_size or 0) * config.n_embd


def _table_numbers(config: GPTConfig) -> int:
    """Of a rotary position's cosines, or of a learned one's vectors."""
    if config.position == "none":
        return 0
    width = TABLE_FACTOR * config.resolved_head_dim // 2
    return config.block_size * (config.n_embd if config.position == "learned" else width)


def _parameters(config: GPTConfig, stored: int) -> int:
    """Counted on a network without memory; parts of other people may not know that device."""
    least = _least(config)
    if least > stored or any(":" in str(getattr(config, f.name)) for f in fields(config)):
        return least
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        return sum(p.numel() for p in GPT(config, generator).parameters())
