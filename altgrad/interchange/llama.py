"""Llama's format: `config.json` and tensor names, both ways. The tensors are the same."""

from typing import Any

from torch import Tensor

from altgrad.interchange.config_json import Values
from altgrad.model import GPTConfig

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


def from_config(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a `GPTConfig`. Raises DataError for a setting that our parts do not have."""
    given = Values(values, "Llama")
    base = rope_base(given)
    given.choice("hidden_act", "silu", ("silu", "swish"))
    given.only("sliding_window", None)
    given.only("layer_types", None, ["full_attention"] * given.size("num_hidden_layers"))
    given.only("partial_rotary_factor", None, 1.0)
    bias = given.flag("attention_bias", False)
    given.only("mlp_bias", bias)
    return {
        "vocab_size": given.size("vocab_size"),
        "block_size": given.size("max_position_embeddings"),
        "n_layer": given.size("num_hidden_layers"),
        "n_head": given.size("num_attention_heads"),
        "n_kv_head": given.size_or_none("num_key_value_heads"),
        "head_dim": given.size_or_none("head_dim"),
        "n_embd": given.size("hidden_size"),
        "n_inner": given.size("intermediate_size"),
        "dropout": given.number("attention_dropout", 0.0),
        "bias": bias,
        "position": "rope",
        "norm": "rmsnorm",
        "mlp": "swiglu",
        "init": "llama",
        "norm_eps": given.number("rms_norm_eps", 1e-6),
        "rope_base": base,
        "tie_head": given.flag("tie_word_embeddings", False),
    }


def rope_base(given: Values) -> float:
    """The base of the rotary angles, from the places that transformers looks at, in its order."""
    rope = Values(given.table("rope_scaling") or given.table("rope_parameters"), "Llama")
    rope.values.setdefault("rope_type", rope.values.get("type", "default"))
    rope.only("rope_type", "default")
    rope.only("partial_rotary_factor", None, 1.0)
    return rope.number("rope_theta", given.number("rope_theta", 10000.0))


def to_weights(weights: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our tensors under Llama's names."""
    return {_renamed(name, NAMES): tensor.contiguous() for name, tensor in weights.items()}


def from_weights(weights: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Llama's tensors under our names; stored rotary tables are left out."""
    back = {theirs: ours for ours, theirs in NAMES.items()}
    kept = {n: t for n, t in weights.items() if not n.endswith("rotary_emb.inv_freq")}
    return {_renamed(name, back): tensor.contiguous() for name, tensor in kept.items()}


def _renamed(name: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name
