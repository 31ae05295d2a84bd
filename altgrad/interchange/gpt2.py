"""GPT-2's format: `config.json` and tensor names, both ways.

Its matrices are stored input first and the three of attention side by side (`c_attn`); only the
layout differs, so nothing is rounded either way. A model without biases travels with zeros.
"""

import re
from typing import Any

import torch
from torch import Tensor

from altgrad.interchange.shapes import GPT2_ACTIVATIONS
from altgrad.model import GPTConfig

ACTIVATIONS = {theirs: ours for ours, theirs in GPT2_ACTIVATIONS.items()} | {
    "gelu_pytorch_tanh": "gelu_tanh"
}
FIXED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
}
"""Settings of GPT-2's that we have no other value for."""
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


def from_config(values: dict[str, Any]) -> GPTConfig:
    """Raises ValueError for a setting that our parts do not have."""
    for name, only in FIXED.items():
        if values.get(name, only) != only:
            raise ValueError(f"GPT-2 with {name}={values[name]} cannot be imported: only {only}")
    activation = values.get("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"GPT-2 with activation_function={activation} cannot be imported: only "
            f"{', '.join(ACTIVATIONS)}"
        )
    return GPTConfig(
        vocab_size=values["vocab_size"],
        block_size=values["n_positions"],
        n_layer=values["n_layer"],
        n_head=values["n_head"],
        n_embd=values["n_embd"],
        n_inner=values.get("n_inner"),
        dropout=values.get("resid_pdrop", 0.1),
        mlp=ACTIVATIONS[activation],
        norm_eps=values.get("layer_norm_epsilon", 1e-5),
        tie_head=values.get("tie_word_embeddings", True),
    )


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
    if config.tie_head:
        ours.pop("lm_head.weight", None)
    return ours if config.bias else without_zero_biases(ours)


def with_zero_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A bias of zeros beside every weight of a Linear or LayerNorm."""
    full = dict(weights)
    for name, tensor in weights.items():
        if name.endswith(".weight") and not re.search(r"\.wte\.|\.wpe\.|^lm_head", name):
            full[name.removesuffix("weight") + "bias"] = tensor.new_zeros(tensor.shape[0])
    return full


def without_zero_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse. Raises ValueError if a bias is not zero: it would be lost."""
    for name, tensor in weights.items():
        if name.endswith(".bias") and bool(tensor.any()):
            raise ValueError(f"{name} is not zero, but the model is to have no biases")
    return {name: tensor for name, tensor in weights.items() if not name.endswith(".bias")}
