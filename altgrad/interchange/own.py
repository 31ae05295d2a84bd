"""Any other model: our own names, with a `modeling_altgrad.py` beside them that reads them."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from altgrad.interchange.config_json import Values
from altgrad.interchange.shapes import OWN_PARTS
from altgrad.model import GPTConfig

MODELING = Path(__file__).parent / "templates" / "modeling_altgrad.py"
# Not asked of the network once it is trained.
TRAINING_ONLY = (
    *("dropout", "init", "init_width", "init_depth"),
    *("network", "attention", "attention_backend", "tie_head", "mtp_heads", "mtp_weight"),
)

SIZES = (
    *("vocab_size", "block_size", "n_layer", "n_head", "n_kv_head", "n_embd", "head_dim"),
    "n_inner",
)


def to_config(config: GPTConfig) -> dict[str, Any]:
    """The content of `config.json`: every size in full, for a reader that has no defaults."""
    config = config.resolved()
    values = {k: v for k, v in asdict(config).items() if k not in TRAINING_ONLY}
    return {
        "model_type": "altgrad",
        "architectures": ["AltgradForCausalLM"],
        "auto_map": {
            "AutoConfig": "modeling_altgrad.AltgradConfig",
            "AutoModelForCausalLM": "modeling_altgrad.AltgradForCausalLM",
        },
        **values,
        "n_inner": inner_width(config),
        "windows": [config.window_of(i) for i in range(config.n_layer)],
        "tie_word_embeddings": config.tie_head,
    }


def inner_width(config: GPTConfig) -> int:
    if config.n_inner is not None:
        return config.n_inner
    return -(-8 * config.n_embd // 96) * 32 if config.mlp == "swiglu" else 4 * config.n_embd


def from_config(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a `GPTConfig`, as `modeling_altgrad.py` understands them."""
    given = Values(values, "altgrad model")
    for name in SIZES:
        given.size(name)
    parts = {kind: names for kind, names in OWN_PARTS.items() if kind not in TRAINING_ONLY}
    for kind, names in parts.items():
        given.choice(kind, getattr(GPTConfig, kind), names)
    known = {f.name for f in fields(GPTConfig)} - set(TRAINING_ONLY)
    return {
        **{name: value for name, value in values.items() if name in known},
        "tie_head": given.flag("tie_word_embeddings", True),
    }


def to_weights(weights: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def from_weights(weights: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    return dict(weights)
