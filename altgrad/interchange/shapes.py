"""Which of Hugging Face's architectures a model is, part by part; and what each can express."""

from dataclasses import dataclass, fields
from typing import Any

from altgrad.model import GPTConfig

GPT2_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu2": "relu2"}

# The parts that `templates/modeling_altgrad.py` knows.
OWN_PARTS = {
    "embedding": ("token", "bigram", "trigram"),
    "position": ("learned", "rope", "rope_reversed", "none"),
    "norm": ("layernorm", "rmsnorm", "rmsnorm_plain"),
    "attention": ("causal",),
    "mlp": ("gelu", "gelu_tanh", "relu2", "swiglu"),
    "block": ("prenorm", "shift", "conv"),
    "residual": ("plain", "mix", "skip"),
}
# Further settings that an export carries, or that only training reads.
OWN_SETTINGS = (
    *("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "dropout", "bias", "n_kv_head"),
    *("head_dim", "n_inner", "init", "norm_eps", "embedding_norm", "qk_norm", "tie_head"),
    *("logit_softcap", "rope_base", "rope_dtype", "attention_backend", "windows"),
    *("value_embeddings", "bigram_rows", "document_token", "logit_scale", "attention_scale"),
    *("branch_scale", "init_width", "init_depth", "trigram_rows"),
    *("mtp_heads", "mtp_weight"),
)


@dataclass(frozen=True)
class Need:
    """A setting and the values with which a model has a certain shape."""

    setting: str
    allowed: tuple[Any, ...]

    def met_by(self, config: GPTConfig) -> bool:
        return getattr(config, self.setting) in self.allowed


PLAIN = (
    Need("embedding", ("token",)),
    Need("attention", ("causal",)),
    Need("block", ("prenorm",)),
    Need("residual", ("plain",)),
    Need("embedding_norm", (False,)),
    Need("qk_norm", (False,)),
    Need("logit_softcap", (None,)),
    Need("logit_scale", (1.0,)),
    Need("attention_scale", (None,)),
    Need("branch_scale", (1.0,)),
    Need("value_embeddings", (False,)),
    Need("windows", ([-1],)),
    Need("document_token", (None,)),
)
GPT2 = (
    *PLAIN,
    Need("position", ("learned",)),
    Need("norm", ("layernorm",)),
    Need("mlp", tuple(GPT2_ACTIVATIONS)),
)
LLAMA = (
    *PLAIN,
    Need("position", ("rope",)),
    Need("rope_dtype", ("float32",)),
    Need("norm", ("rmsnorm",)),
    Need("mlp", ("swiglu",)),
)
NEEDS = {"gpt2": GPT2, "llama": LLAMA}


def shape_of(config: GPTConfig) -> str:
    """`gpt2` or `llama` where transformers has the very same network, else `altgrad`.

    Raises ValueError for a part that cannot leave altgrad.
    """
    if ":" in config.network:
        raise ValueError(
            f"model.network={config.network} is a class of your own, which no other program has; "
            "the run keeps its weights (model.safetensors) and its source"
        )
    config = config.resolved()
    _check_known(config)
    if all(need.met_by(config) for need in GPT2) and _is_square(config):
        return "gpt2"
    if all(need.met_by(config) for need in LLAMA):
        return "llama"
    for kind, allowed in OWN_PARTS.items():
        name = getattr(config, kind)
        if name not in allowed:
            raise ValueError(
                f"model.{kind}={name} cannot be exported: the parts that can are "
                f"{', '.join(allowed)}"
            )
    return "altgrad"


def _check_known(config: GPTConfig) -> None:
    """A setting that was added after this file must be at its default, or it would be lost."""
    plain = GPTConfig()
    for f in fields(config):
        new = f.name not in OWN_SETTINGS and f.name not in OWN_PARTS
        if new and getattr(config, f.name) != getattr(plain, f.name):
            raise ValueError(f"model.{f.name}={getattr(config, f.name)} cannot be exported yet")


def _is_square(config: GPTConfig) -> bool:
    """GPT-2 has as many key heads as heads, and they fill the width."""
    return config.n_kv_head == config.n_head and config.head_dim == config.n_embd // config.n_head
