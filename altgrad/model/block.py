"""One layer: attention, then the MLP, each reading a normalised stream and adding to it."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig
from altgrad.model.norm import build_norm
from altgrad.model.parts import resolve
from altgrad.model.position import CosSin


class Block(nn.Module):
    """x += attn(norm(x)); x += mlp(norm(x)). With both `c_proj` at zero it is the identity.

    What is added is multiplied by `model.branch_scale`.
    """

    def __init__(self, config: GPTConfig, layer_idx: int):
        super().__init__()
        self.branch_scale = config.branch_scale
        self.ln_1 = build_norm(config, config.n_embd)
        self.attn = resolve("attention", config.attention)(config, layer_idx)
        self.ln_2 = build_norm(config, config.n_embd)
        self.mlp = resolve("mlp", config.mlp)(config)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        cos_sin: CosSin | None = None,
        kv_cache: KVCache | None = None,
        **extra: Any,
    ) -> Float[Tensor, "B T C"]:
        x = x + self._scaled(self.attn(self.ln_1(x), cos_sin, kv_cache, **extra))
        return x + self._scaled(self.mlp(self.ln_2(x)))

    def _scaled(self, branch: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        return branch if self.branch_scale == 1.0 else self.branch_scale * branch


class ShiftBlock(Block):
    """`Block` that first adds what each channel held one position earlier: x_t += mix ⊙ x_{t-1}.

    A learned number per channel, zero at the start. Pairs of neighbouring positions are thus there
    from the first layer on, and three, four … further up, without spending a head on them.
    Source: the token shift of RWKV (Peng et al. 2023, arXiv 2305.13048), here on the stream.
    """

    def __init__(self, config: GPTConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.layer_idx = layer_idx
        self.mix = nn.Parameter(torch.empty(config.n_embd))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.mix)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        cos_sin: CosSin | None = None,
        kv_cache: KVCache | None = None,
        **extra: Any,
    ) -> Float[Tensor, "B T C"]:
        before = None if kv_cache is None else kv_cache.swap_last(self.layer_idx, x)
        first = torch.zeros_like(x[:, :1]) if before is None else before
        shifted = torch.cat((first, x[:, :-1]), dim=1)
        if (documents := extra.get("documents")) is not None:
            shifted = shifted.masked_fill(documents.first, 0.0)
        x = x + self.mix * shifted
        return super().forward(x, cos_sin, kv_cache, **extra)


class ConvBlock(Block):
    """`Block` that first adds a short causal convolution of its input, one per channel:
    x_t += sum over k < 4 of w_k ⊙ norm(x)_{t-k}.

    Four learned numbers per channel, zero at the start: `ShiftBlock` with a longer view, of a
    normalised stream. Source: the short convolutions of H3 and Canon layers (Fu et al.,
    arXiv 2212.14052; Allen-Zhu 2025), without their gates.
    """

    taps = 4

    def __init__(self, config: GPTConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.layer_idx = layer_idx
        self.ln_conv = build_norm(config, config.n_embd)
        self.conv = nn.ParameterList([torch.empty(config.n_embd) for _ in range(self.taps)])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for weight in self.conv:
            nn.init.zeros_(weight)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        cos_sin: CosSin | None = None,
        kv_cache: KVCache | None = None,
        **extra: Any,
    ) -> Float[Tensor, "B T C"]:
        h, T, back = self.ln_conv(x), x.size(1), self.taps - 1
        before = None if kv_cache is None else kv_cache.swap_last(self.layer_idx, h, keep=back)
        joined = h if before is None else torch.cat((before, h), dim=1)
        joined = F.pad(joined, (0, 0, back + T - joined.size(1), 0))  # [B, back + T, C]
        documents = extra.get("documents")
        for k, weight in enumerate(self.conv):
            earlier = joined[:, back - k : back - k + T]
            if documents is not None and k:
                earlier = earlier.masked_fill(documents.near_first(k), 0.0)
            x = x + weight * earlier
        return super().forward(x, cos_sin, kv_cache, **extra)
