"""Parts with one fault each, as a stranger would bring them."""

import torch
import torch.nn.functional as F
from torch import nn

from altgrad.model.attention import CausalSelfAttention
from altgrad.model.mlp import TanhGELU


class NoMask(nn.Module):
    """Sees the future."""

    def __init__(self, config, layer_idx):
        super().__init__()
        self.n_head = config.n_head
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x, cos_sin=None, kv_cache=None):
        B, T, _ = x.shape
        parts = self.qkv(x).chunk(3, -1)
        q, k, v = (p.view(B, T, self.n_head, -1).transpose(1, 2) for p in parts)
        return self.c_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Raising(TanhGELU):
    """Can be built and not be run."""

    def forward(self, x):
        raise RuntimeError("not today")


class BatchNormed(TanhGELU):
    """Lets the rows of a batch see each other."""

    def forward(self, x):
        return super().forward(x - x.mean(0, keepdim=True))


class AlwaysDropping(TanhGELU):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.5, training=True))


class Detached(TanhGELU):
    """c_fc never learns."""

    def activation(self, x):
        return super().activation(x.detach())


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


class WrongBackward(TanhGELU):
    def activation(self, x):
        return Doubled.apply(super().activation(x))


class Gated(CausalSelfAttention):
    """A novelty with an off switch: a learned gain on the output."""

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.gain = nn.Parameter(torch.full((config.n_embd,), 0.5))

    def switch_off(self):
        self.gain.fill_(1.0)

    def forward(self, x, cos_sin=None, kv_cache=None):
        return self.gain * super().forward(x, cos_sin, kv_cache)


class GatedAndMore(Gated):
    """Its switch leaves something on."""

    def forward(self, x, cos_sin=None, kv_cache=None):
        return 1.001 * super().forward(x, cos_sin, kv_cache)


class OtherNames(nn.Module):
    """A sound MLP whose layers have names of their own."""

    def __init__(self, config):
        super().__init__()
        self.up = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.down = nn.Linear(3 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x):
        return self.down(self.up(x).relu())
