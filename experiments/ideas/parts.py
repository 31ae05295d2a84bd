"""Parts for the forty ideas: some only draw other random numbers, some are broken."""

import torch.nn.functional as F
from torch import Tensor, nn

from altgrad.model import GPTConfig
from altgrad.model.dropout import build_dropout


class Renamed(nn.Module):
    """The usual MLP under another name: every weight is drawn from a stream named after it, so a
    new name is a new seed for this part, and nothing else."""

    layer = "c_fc"

    def __init__(self, config: GPTConfig):
        super().__init__()
        width = 4 * config.n_embd
        self.add_module(self.layer, nn.Linear(config.n_embd, width, bias=config.bias))
        self.c_proj = nn.Linear(width, config.n_embd, bias=config.bias)
        self.dropout = build_dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.get_submodule(self.layer)(x), approximate="tanh")
        return self.dropout(self.c_proj(x))


class Seed1(Renamed):
    layer = "c_fc_1"


class Seed2(Renamed):
    layer = "c_fc_2"


class Seed3(Renamed):
    layer = "c_fc_3"


class Seed4(Renamed):
    layer = "c_fc_4"


class Seed5(Renamed):
    layer = "c_fc_5"


class Seed6(Renamed):
    layer = "c_fc_6"


class Raises(Renamed):
    """A mistake that shows at the first step."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("this part was never finished")


class NotANumber(Renamed):
    """0 / 0."""

    def forward(self, x: Tensor) -> Tensor:
        zero = 0 * super().forward(x)
        return zero / zero


class Leaks(Renamed):
    """Sees the next token: a loss that no honest model has."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + x.roll(-1, 1))
