"""What a trained model's linear layers multiply: how the operands lie in their number formats.

One batch of the run's own corpus goes forward and back through the checkpoint; of each rounded
layer the weight, the input and the gradient of the output are counted by magnitude, divided by the
scale that rounding would give them.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from altgrad.data import load_tokens
from altgrad.quantization.convert import quant_layers, rounded_roles
from altgrad.quantization.formats import Format
from altgrad.quantization.linear import QuantLinear

BELOW = 8
"""Octaves counted below the smallest number of a format; what is smaller still counts there."""


@dataclass
class Spread:
    """One operand. `shares[i]`: share of its numbers with a magnitude, in units of the scale, from
    2^(lowest + i) to twice that. `zero`: share of exact zeros."""

    layer: str
    role: str
    format: Format
    lowest: int
    shares: list[float]
    zero: float


def operand_spreads(model: nn.Module, x: Tensor, y: Tensor, *, compute: str) -> list[Spread]:
    """Of every rounded layer and role, for one batch (B, T) of token ids; layers in order."""
    seen: dict[str, dict[str, Tensor]] = {}
    hooks = []
    for name, layer in quant_layers(model).items():
        seen[name] = {"weight": layer.weight.detach()}
        hooks.append(_watch(layer, seen[name]))
    mixed = torch.autocast("cpu", torch.bfloat16) if compute == "bf16-mixed" else nullcontext()
    with mixed:
        _, loss = model(x, y)
    loss.backward()
    for hook in hooks:
        hook.remove()
    return [
        _spread(name, role, seen[name][role], layer)
        for name, layer in quant_layers(model).items()
        for role in rounded_roles(layer)
    ]


def _watch(layer: QuantLinear, into: dict[str, Tensor]) -> RemovableHandle:
    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        into["input"] = inputs[0].detach()
        output.register_hook(lambda gradient: into.update(grad_output=gradient))

    return layer.register_forward_hook(look)


def _spread(name: str, role: str, operand: Tensor, layer: QuantLinear) -> Spread:
    cast = getattr(layer.recipe, role)
    f: Format = cast.format
    rows = operand.reshape(-1, operand.shape[-1]).float()
    scaling = cast.make_scaling()
    if scaling is not None:
        rows = rows / scaling.expand(scaling.scales(rows, f), rows)
    lowest = math.frexp(f.smallest_subnormal)[1] - 1 - BELOW
    highest = f.max_exponent + 1
    octave = (torch.frexp(rows)[1] - 1).clamp(lowest, highest)[rows != 0].long()
    counts = torch.bincount(octave - lowest, minlength=highest - lowest + 1)
    shares = (counts / rows.numel()).tolist()
    return Spread(name, role, f, lowest, shares, (rows == 0).float().mean().item())


def first_batch(data_dir: Path, *, block_size: int, batch_size: int) -> tuple[Tensor, Tensor]:
    """The first windows of the validation split, as in an evaluation."""
    tokens = load_tokens(data_dir, "val")
    number = min(batch_size, (len(tokens) - 1) // block_size)
    flat = torch.from_numpy(tokens[: number * block_size + 1].astype("int64"))
    return flat[:-1].view(number, block_size), flat[1:].view(number, block_size)
