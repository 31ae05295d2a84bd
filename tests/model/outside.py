"""Parts as a stranger would bring them: `model.attention=tests.model.outside:NoCacheAttention`."""

from torch import nn


class NoCacheAttention(nn.Module):
    """Averages all positions so far: causal, but deaf to the KV cache."""

    def __init__(self, config, layer_idx):
        super().__init__()
        self.c_v = nn.Linear(config.n_embd, config.n_head * config.head_dim, bias=False)
        self.c_proj = nn.Linear(config.n_head * config.head_dim, config.n_embd, bias=False)

    def forward(self, x, cos_sin=None, kv_cache=None):
        v = self.c_v(x)
        steps = v.new_ones(v.size(1)).cumsum(0)[:, None]
        return self.c_proj(v.cumsum(1) / steps)


class NotAModule:
    pass
