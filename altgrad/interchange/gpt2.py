"""GPT-2's format: `config.json` and tensor names, both ways.

Its matrices are stored input first and the three of attention side by side (`c_attn`); only the
layout differs, so nothing is rounded either way. A model without biases travels with zeros.
"""

import re
from typing import Any

import torch
from torch import Tensor

from altgrad.data import DataError
from altgrad.interchange.config_json import Values
from altgrad.interchange.shapes import GPT2_ACTIVATIONS
from altgrad.model import GPTConfig

ACTIVATIONS = {theirs: ours for ours, theirs in GPT2_ACTIVATIONS.items()} | {
    "gelu_pytorch_tanh": "gelu_tanh"
}
FIXED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
"""Settings of GPT-2's that we have no other value for."""
ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
MATRIX = re.compile(r"\.(attn|mlp)\.c_(attn|proj|fc)\.weight$")
BUFFERS = re.compile(r"\.attn\.(bias|masked_bias)$")


def to_config(config: GPTConfig) -> dict[str, Any]:
    """The content of `config.json`."""
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": config.n_inner or 4 * config.n_embd,
        "activation_function": GPT2_ACTIVATIONS[config.mlp],
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "tie_word_embeddings": config.tie_head,
        **FIXED,
    }


def from_config(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a `GPTConfig`. Raises DataError for a setting that our parts do not have."""
    given = Values(values, "GPT-2", ALIASES)
    for name, only in FIXED.items():
        given.only(name, only)
    dropouts = {name: given.number(name, 0.1) for name in DROPOUTS}
    if len(set(dropouts.values())) > 1:
        raise DataError(
            f"GPT-2 with {', '.join(f'{n}={p}' for n, p in dropouts.items())} cannot be imported: "
            "here they are one setting; make them equal in config.json (only training reads them)"
        )
    return {
        "vocab_size": given.size("vocab_size"),
        "block_size": given.size("n_positions"),
        "n_layer": given.size("n_layer"),
        "n_head": given.size("n_head"),
        "n_kv_head": None,
        "head_dim": None,
        "n_embd": given.size("n_embd"),
        "n_inner": given.size_or_none("n_inner"),
        "dropout": dropouts["resid_pdrop"],
        "mlp": ACTIVATIONS[given.choice("activation_function", "gelu_new", tuple(ACTIVATIONS))],
        "norm_eps": given.number("layer_norm_epsilon", 1e-5),
        "tie_head": given.flag("tie_word_embeddings", True),
    }


def to_weights(weights: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our tensors under GPT-2's names and in its layout."""
    full = weights if config.bias else with_zero_biases(weights)
    theirs = {}
    for name, tensor in full.items():
        if ".attn.c_q." in name:
            parts = [full[name.replace("c_q", c)] for c in ("c_q", "c_k", "c_v")]
            name, tensor = name.replace("c_q", "c_attn"), torch.cat(parts)
        elif ".attn.c_k." in name or ".attn.c_v." in name:
            continue
        theirs[name] = (tensor.t() if MATRIX.search(name) else tensor).contiguous()
    return theirs


def from_weights(weights: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """GPT-2's tensors, with or without the prefix `transformer.`, under our names."""
    ours = {}
    for name, tensor in weights.items():
        if BUFFERS.search(name):
            continue
        if not name.startswith(("transformer.", "lm_head.")):
            name = f"transformer.{name}"
        tensor = tensor.t() if MATRIX.search(name) else tensor
        if ".attn.c_attn." in name:
            for part, piece in zip(("c_q", "c_k", "c_v"), tensor.chunk(3), strict=True):
                ours[name.replace("c_attn", part)] = piece.contiguous()
        else:
            ours[name] = tensor.contiguous()
    return ours if config.bias else without_zero_biases(ours)


def with_zero_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A bias of zeros beside every weight of a Linear or LayerNorm."""
    full = dict(weights)
    for name, tensor in weights.items():
        if name.endswith(".weight") and not re.search(r"\.wte\.|\.wpe\.|^lm_head", name):
            full[name.removesuffix("weight") + "bias"] = tensor.new_zeros(tensor.shape[0])
    return full


def without_zero_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse; all biases stay where one of them has been trained since."""
    if any(name.endswith(".bias") and bool(tensor.any()) for name, tensor in weights.items()):
        return weights
    return {name: tensor for name, tensor in weights.items() if not name.endswith(".bias")}
