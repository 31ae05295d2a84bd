"""What happens to the residual stream before each block: `Residual(config)(x, x0) -> x`.

x0 is the stream as it left the embedding. All variants start as the identity.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from altgrad.model.config import GPTConfig


class PlainResidual(nn.Module):
    """Nothing: x -> x."""

    def __init__(self, config: GPTConfig):
        super().__init__()

    def forward(
        self, x: Float[Tensor, "B T C"], x0: Float[Tensor, "B T C"]
    ) -> Float[Tensor, "B T C"]:
        return x


class MixedResidual(nn.Module):
    """Two learned scalars: x -> lambda_x·x + lambda_x0·x0 (modded-nanogpt, 2024)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.lambda_x = nn.Parameter(torch.empty(1))
        self.lambda_x0 = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.lambda_x)
        nn.init.zeros_(self.lambda_x0)

    def forward(
        self, x: Float[Tensor, "B T C"], x0: Float[Tensor, "B T C"]
    ) -> Float[Tensor, "B T C"]:
        return self.lambda_x * x + self.lambda_x0 * x0


class EmbeddingSkip(nn.Module):
    """A learned gain per channel on the embedding: x -> x + gain ⊙ x0."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.gain = nn.Parameter(torch.empty(config.n_embd))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.gain)

    def forward(
        self, x: Float[Tensor, "B T C"], x0: Float[Tensor, "B T C"]
    ) -> Float[Tensor, "B T C"]:
        return x + self.gain * x0
