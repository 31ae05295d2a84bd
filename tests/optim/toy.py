"""A small network with one parameter of every role, and a way to train it."""

import torch
from torch import Tensor, nn

from altgrad.optim import Storage, TableGrid
from altgrad.quantization import Format


class ToyModel(nn.Module):
    def __init__(self, *, tied: bool = False, bias: bool = True, dtype=torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.wte = nn.Embedding(11, 8)
        self.up = nn.Linear(8, 24, bias=bias)
        self.norm = nn.LayerNorm(24)
        self.down = nn.Linear(24, 8, bias=bias)
        self.lm_head = nn.Linear(8, 11, bias=False)
        if tied:
            self.lm_head.weight = self.wte.weight
        self.gain = nn.Parameter(torch.ones(1))
        for p in self.parameters():
            p.data = (p.ndim < 2) + 0.3 * torch.randn(p.shape, generator=generator)
        self.to(dtype)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.wte(idx)
        x = x + self.gain * self.down(torch.relu(self.norm(self.up(x))))
        return self.lm_head(x)


def toy_loss(model: nn.Module, step: int = 0) -> Tensor:
    """Predict the next of eleven letters; the batch depends on `step` alone."""
    generator = torch.Generator().manual_seed(step)
    idx = torch.randint(0, 11, (16,), generator=generator)
    return nn.functional.cross_entropy(model(idx), (idx + 1) % 11)


def train(model: nn.Module, optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        optimizer.zero_grad()
        loss = toy_loss(model, step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def weights_of(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def power_of_two_scale(top: float):
    """Weight -> the smallest power of two that brings its largest entry within `top`."""

    def scale_of(weight: Tensor) -> Tensor:
        exponent = torch.ceil(torch.log2(weight.detach().abs().amax() / top))
        return torch.where(exponent.isfinite(), torch.exp2(exponent), 1.0)

    return scale_of


def format_grid(name: str = "e4m3fn") -> TableGrid:
    """A grid of one of quantization's formats, scaled per tensor."""
    fmt = Format.named(name)
    return TableGrid(
        torch.tensor(fmt.values()),
        mantissa_bits=fmt.mantissa_bits,
        uniform=fmt.exponent_bits == 0,
        scale_of=power_of_two_scale(fmt.max),
    )


def toy_storage(model: nn.Module, name: str = "e4m3fn", **settings) -> Storage:
    """Every linear layer's weight in the format, as a precision recipe would have it."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return Storage({layer.weight: format_grid(name) for layer in layers}, **settings)
