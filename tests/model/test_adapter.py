"""Classes in nanoGPT's and nanochat's form: taken with their weights' names, or refused."""

import copy
import sys
from pathlib import Path

import pytest
import torch

from altgrad.model import GPT, GPTConfig
from altgrad.model.parts import resolve

MINE = """
import math
import torch
from torch import nn
from torch.nn import functional as F
from altgrad.model.position import apply_rotary_emb


class NanoGPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.n_head, self.n_embd, self.dropout = config.n_head, config.n_embd, config.dropout

    def forward(self, x):
        B, T, C = x.size()
        parts = self.c_attn(x).split(self.n_embd, dim=2)
        q, k, v = (p.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class NanoChat(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx, self.n_head = layer_idx, config.n_head
        self.c_q, self.c_k, self.c_v, self.c_proj = (
            nn.Linear(config.n_embd, config.n_embd, bias=False) for _ in range(4)
        )

    def forward(self, x, cos_sin, kv_cache):
        q, k, v = (f(x).unflatten(-1, (self.n_head, -1)) for f in (self.c_q, self.c_k, self.c_v))
        cos, sin = cos_sin
        q, k = apply_rotary_emb(q, cos, sin), apply_rotary_emb(k, cos, sin)
        q, k, v = (h.transpose(1, 2) for h in (q, k, v))
        if kv_cache is not None:
            k, v = kv_cache.insert_kv(self.layer_idx, k, v)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=q.size(2) == k.size(2))
        return self.c_proj(y.transpose(1, 2).flatten(2))


class Newer(NanoChat):
    def forward(self, x, ve, cos_sin, window_size, kv_cache): ...


class Norm(nn.Module):
    def __init__(self, ndim, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(ndim))
        self.bias = nn.Parameter(torch.zeros(ndim)) if bias else None

    def reset_parameters(self):
        nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input):
        return F.layer_norm(input, self.weight.shape, self.weight, self.bias, 1e-5)


class RMS(nn.Module):
    def __init__(self, ndim):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(ndim))

    def reset_parameters(self):
        nn.init.ones_(self.gain)

    def forward(self, x):
        return x * x.pow(2).mean(-1, keepdim=True).rsqrt() * self.gain


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1, self.attn = Norm(config.n_embd, config.bias), NanoGPT(config)

    def forward(self, x):
        return x + self.attn(self.ln_1(x))
"""
IDS = torch.arange(8).view(1, 8) % 5
SMALL = {"vocab_size": 7, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 16}


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nano_mine", raising=False)
    Path("nano_mine.py").write_text(MINE)


def build(**settings) -> GPT:
    return GPT(GPTConfig(**SMALL, **settings), torch.Generator().manual_seed(0)).eval()


@torch.no_grad()
def test_nanogpts_attention_computes_what_ours_does_with_the_same_weights():
    ours, theirs = build(bias=True), build(bias=True, attention="nano_mine:NanoGPT")
    state = ours.state_dict()
    for i in range(2):
        where = f"transformer.h.{i}.attn."
        for leaf in ("weight", "bias"):
            three = [state.pop(f"{where}c_{part}.{leaf}") for part in "qkv"]
            state[f"{where}c_attn.{leaf}"] = torch.cat(three)
    theirs.load_state_dict(state)
    torch.testing.assert_close(theirs(IDS)[0], ours(IDS)[0], rtol=0, atol=1e-6)
    assert (
        theirs.generate(IDS[:, :3], 4, seed=1).tolist()
        == ours.generate(IDS[:, :3], 4, seed=1).tolist()
    )


@torch.no_grad()
def test_nanochats_attention_rotates_and_fills_the_cache():
    how = {"position": "rope", "bias": False}
    ours, theirs = build(**how), build(**how, attention="nano_mine:NanoChat")
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(theirs(IDS)[0], ours(IDS)[0], rtol=0, atol=1e-6)
    theirs.generate(IDS[:, :3], 4, use_cache=True)


@torch.no_grad()
def test_norms_and_blocks_in_nanogpts_form():
    ours, theirs = build(bias=False), build(bias=False, norm="nano_mine:Norm")
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(theirs(IDS)[0], ours(IDS)[0], rtol=0, atol=1e-6)
    assert "transformer.ln_f.bias" in build(bias=True, norm="nano_mine:Norm").state_dict()
    assert build(norm="nano_mine:RMS")(IDS)[0].isfinite().all()
    assert build(block="nano_mine:Block")(IDS)[0].isfinite().all()


def test_a_copy_and_a_second_model_have_the_same_class():
    model = build(attention="nano_mine:NanoGPT")
    assert type(copy.deepcopy(model).transformer.h[0].attn) is type(model.transformer.h[1].attn)
    assert resolve("attention", "nano_mine:NanoGPT").__name__ == "NanoGPT"


def test_what_it_would_miss_is_refused_with_the_lines_to_add():
    with pytest.raises(ValueError, match=r"apply_rotary_emb\(q, \*cos_sin\)"):
        build(position="rope", attention="nano_mine:NanoGPT")
    with pytest.raises(ValueError, match=r"choose model\.position=rope"):
        build(position="learned", attention="nano_mine:NanoChat")
    with pytest.raises(
        ValueError, match=r"must be `def forward\(self, x, cos_sin=None, kv_cache=None\)`"
    ):
        build(position="rope", attention="nano_mine:Newer")
