"""An MLP of your own. As it stands it is GPT-2's: change what is marked.

    altgrad verify model.mlp=mine:MLP
    altgrad train model.mlp=mine:MLP
    altgrad compare model.mlp=gelu,mine:MLP seeds=5

Contract
    __init__(config)   config: the settings `model.*` (n_embd, n_inner, dropout, bias, …)
    forward(x)         x [B, T, C] -> [B, T, C], each position by itself
    c_proj             whatever writes into the stream has this name, and starts smaller
    switch_off()       optional: from then on it computes what the control does
"""

import torch.nn.functional as F
from torch import Tensor, nn

from altgrad.model.config import GPTConfig


class MLP(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        n_inner = config.n_inner or 4 * config.n_embd
        self.c_fc = nn.Linear(config.n_embd, n_inner, bias=config.bias)
        self.c_proj = nn.Linear(n_inner, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        # Yours begins here.
        x = F.gelu(self.c_fc(x))
        # Yours ends here.
        return self.dropout(self.c_proj(x))
