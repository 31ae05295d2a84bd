"""Which parts a GPT can be assembled from, and how a name in the configuration becomes a class.

A variant is a file plus one line here. A name with a colon, `package.module:Class`, brings in
outside code; the current directory counts as importable, so `mine:Attention` finds `./mine.py`.

What each kind of part must look like:

    embedding   __init__(config)             forward(idx, kv_cache=None) -> [B, T, C]
    position    __init__(config)             forward(x, start) -> (x, cos_sin or None)
    norm        __init__(width, config)      forward(x) -> x
    attention   __init__(config, layer_idx)  forward(x, cos_sin=None, kv_cache=None) -> [B, T, C]
    mlp         __init__(config)             forward(x) -> [B, T, C]
    block       __init__(config, layer_idx)  forward(x, cos_sin=None, kv_cache=None) -> [B, T, C]
    residual    __init__(config)             forward(x, x0) -> x, before each block

Attentions, blocks and norms written for nanoGPT (`Attention(config)`, `forward(x)`) or nanochat
are taken as they are: `adapter.py`.

Attention and block also get `value_embedding=...` when `config.value_embeddings` is set; they,
embedding and position get `documents=...` (`documents.py`) when `config.document_token` is set.
The model initialises every Linear and Embedding it finds; a part with other parameters or buffers
sets them in its constructor and again in `reset_parameters()`.
"""

from torch import nn

from altgrad.model.adapter import adapted
from altgrad.model.contract import check_contract
from altgrad.outside import load_outside, load_own
from altgrad.settings import check_name

PARTS: dict[str, dict[str, str]] = {
    "embedding": {
        "token": "altgrad.model.embedding:TokenEmbedding",
        "bigram": "altgrad.model.embedding:BigramEmbedding",
        "trigram": "altgrad.model.embedding:TrigramEmbedding",
    },
    "position": {
        "learned": "altgrad.model.position:LearnedPosition",
        "rope": "altgrad.model.position:RotaryPosition",
        "rope_reversed": "altgrad.model.position:ReversedRotaryPosition",
        "none": "altgrad.model.position:NoPosition",
    },
    "norm": {
        "layernorm": "altgrad.model.norm:LayerNorm",
        "rmsnorm": "altgrad.model.norm:RMSNorm",
        "rmsnorm_plain": "altgrad.model.norm:PlainRMSNorm",
    },
    "attention": {
        "causal": "altgrad.model.attention:CausalSelfAttention",
    },
    "mlp": {
        "gelu": "altgrad.model.mlp:GELU",
        "gelu_tanh": "altgrad.model.mlp:TanhGELU",
        "relu2": "altgrad.model.mlp:SquaredReLU",
        "swiglu": "altgrad.model.mlp:SwiGLU",
    },
    "block": {
        "prenorm": "altgrad.model.block:Block",
        "shift": "altgrad.model.block:ShiftBlock",
        "conv": "altgrad.model.block:ConvBlock",
    },
    "residual": {
        "plain": "altgrad.model.residual:PlainResidual",
        "mix": "altgrad.model.residual:MixedResidual",
        "skip": "altgrad.model.residual:EmbeddingSkip",
    },
}


READS: dict[str, dict[str, tuple[str, ...]]] = {
    "embedding": {"bigram": ("bigram_rows",), "trigram": ("bigram_rows", "trigram_rows")},
    "position": dict.fromkeys(("rope", "rope_reversed"), ("rope_base", "rope_dtype", "head_dim")),
    "norm": dict.fromkeys(PARTS["norm"], ("norm_eps",)),
    "attention": {
        "causal": (
            "n_kv_head",
            "head_dim",
            "qk_norm",
            "attention_scale",
            "attention_backend",
            "windows",
            "value_embeddings",
        ),
    },
    "mlp": dict.fromkeys(PARTS["mlp"], ("n_inner",)),
}
"""Settings `model.*` that are read by some parts only. A part of one's own may say the same in an
attribute `reads`, such as `reads = ("head_dim",)`; one that says nothing may read everything."""


def check_part(kind: str, name: str) -> None:
    """Refuse an unknown part name; a name with a colon is looked up only when it is resolved."""
    if ":" not in name:
        check_name(f"model.{kind}", name, PARTS[kind], outside=True)


def resolve(kind: str, name: str) -> type[nn.Module]:
    """The class behind a part's name: a key of `PARTS[kind]`, or `package.module:Class`."""
    check_part(kind, name)
    own = PARTS[kind].get(name)
    found = load_own(own) if own else load_outside(name, setting=f"model.{kind}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"model.{kind}={name} is not a subclass of torch.nn.Module")
    found = adapted(kind, name, found)
    check_contract(kind, name, found)
    return found
