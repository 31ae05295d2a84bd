"""Any other model: our own names, with a `modeling_altgrad.py` beside them that reads them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from altgrad.model import GPTConfig

MODELING = Path(__file__).parent / "templates" / "modeling_altgrad.py"
# Not asked of the network once it is trained.
TRAINING_ONLY = ("dropout", "init", "attention", "attention_backend", "tie_head")


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


def from_config(values: dict[str, Any]) -> GPTConfig:
    raise ValueError(
        "this model's config.json has lost the block 'altgrad', in which its settings are kept"
    )


def to_weights(weights: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def from_weights(weights: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    kept = dict(weights)
    if config.tie_head:
        kept.pop("lm_head.weight", None)
    return kept
