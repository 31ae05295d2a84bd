"""Llama's format: `config.json` and tensor names, both ways. The tensors are the same."""

from typing import Any

from torch import Tensor

from altgrad.model import GPTConfig
from altgrad.model.config import known

NAMES = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ln_f.": "model.norm.",
    "transformer.h.": "model.layers.",
    ".ln_1.": ".input_layernorm.",
    ".ln_2.": ".post_attention_layernorm.",
    ".attn.c_q.": ".self_attn.q_proj.",
    ".attn.c_k.": ".self_attn.k_proj.",
    ".attn.c_v.": ".self_attn.v_proj.",
    ".attn.c_proj.": ".self_attn.o_proj.",
    ".mlp.c_gate.": ".mlp.gate_proj.",
    ".mlp.c_fc.": ".mlp.up_proj.",
    ".mlp.c_proj.": ".mlp.down_proj.",
}
"""Our piece of a name -> theirs."""


def to_config(config: GPTConfig) -> dict[str, Any]:
    """The content of `config.json`; the rotary base in the old place and the new."""
    config = config.resolved()
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.block_size,
        "hidden_size": config.n_embd,
        "intermediate_size": config.n_inner or -(-8 * config.n_embd // 96) * 32,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tie_head,
    }


def from_config(values: dict[str, Any]) -> GPTConfig:
    """Raises ValueError for a setting that our parts do not have."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    bias = bool(values.get("attention_bias", False))
    refuse(kind != "default", f"rope_type={kind}", "default")
    refuse(values.get("hidden_act", "silu") != "silu", "another hidden_act", "silu")
    refuse(bool(values.get("mlp_bias", False)) != bias, "biases in one part only", "all or none")
    return GPTConfig(
        vocab_size=values["vocab_size"],
        block_size=values["max_position_embeddings"],
        n_layer=values["num_hidden_layers"],
        n_head=values["num_attention_heads"],
        n_kv_head=values.get("num_key_value_heads"),
        head_dim=values.get("head_dim"),
        n_embd=values["hidden_size"],
        n_inner=values["intermediate_size"],
        dropout=values.get("attention_dropout", 0.0),
        bias=bias,
        position="rope",
        norm="rmsnorm",
        mlp="swiglu",
        init="llama",
        norm_eps=values.get("rms_norm_eps", 1e-6),
        rope_base=float(rope.get("rope_theta", values.get("rope_theta", 10000.0))),
        tie_head=values.get("tie_word_embeddings", False),
    )


def refuse(wrong: bool, what: str, only: str) -> None:
    if wrong:
        raise ValueError(f"Llama with {what} cannot be imported: only {only}")


def to_weights(weights: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our tensors under Llama's names."""
    return {_renamed(name, NAMES): tensor.contiguous() for name, tensor in weights.items()}


def from_weights(weights: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Llama's tensors under our names; stored rotary tables are left out."""
    back = {theirs: ours for ours, theirs in NAMES.items()}
    kept = {n: t for n, t in weights.items() if not n.endswith("rotary_emb.inv_freq")}
    if known(config.vocab_size) and config.tie_head:
        kept.pop("lm_head.weight", None)
    return {_renamed(name, back): tensor.contiguous() for name, tensor in kept.items()}


def _renamed(name: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name
