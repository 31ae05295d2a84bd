"""Normed queries and keys keep what rotary positions promise: scores hang on distances alone."""

import pytest
import torch

from altgrad.model.attention import CausalSelfAttention
from altgrad.model.norm import PlainRMSNorm
from altgrad.model.parts import PARTS
from tests.model.tiny import awake, tiny_config, tokens

T = 6


def attention(norm: str):
    """The first block's of a network whose gains and biases are not those of the start."""
    model = awake(tiny_config(qk_norm=True, norm=norm, position="rope", block_size=16))
    return model.transformer, model.transformer.h[0].attn


@torch.no_grad()
@pytest.mark.parametrize("norm", PARTS["norm"])
def test_a_shift_moves_nothing(norm):
    trunk, attn = attention(norm)
    x, near = trunk.wpe(trunk.wte(tokens(1, T)), 0)
    _, far = trunk.wpe(trunk.wte(tokens(1, T)), 7)
    assert not torch.equal(near[0], far[0])
    torch.testing.assert_close(attn(x, far), attn(x, near), rtol=1e-5, atol=1e-6)
    assert (attn(x, near) - attn(x, None)).abs().max() > 1e-3


def test_a_plain_norm_stays_where_nanochat_has_it():
    heads = {name: attention(name)[1] for name in PARTS["norm"]}
    after = [name for name, attn in heads.items() if not attn.norm_first]
    assert after == [n for n, attn in heads.items() if isinstance(attn.q_norm, PlainRMSNorm)]
    assert isinstance(heads["rmsnorm_plain"], CausalSelfAttention)
