"""What a GPT is made of: sizes, the names of its parts, and the pairs that cannot be."""

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from altgrad.model.backends import BACKENDS
from altgrad.model.init import SCHEMES
from altgrad.model.parts import PARTS, check_part
from altgrad.settings import check_name
from altgrad.synonyms import meant

PRESETS = Path(__file__).parents[1] / "conf" / "model"
ROTARY = ("rope", "rope_reversed")
DTYPES = ("float32", "bfloat16")
SEED = "_run_seed"
"""Attribute of a config that belongs to a run: `GPT(config.model)` then starts as that run does."""


def known(value: int | None) -> int:
    """A size that `GPTConfig.resolved` has filled in."""
    assert value is not None
    return value


@dataclass
class GPTConfig:
    """Sizes carry nanoGPT's names; parts are keys of `altgrad.model.parts.PARTS`.

    The defaults are GPT-2's parts. `None` stands for a size that follows from others.
    Raises ValueError at construction for an unknown name or an impossible pair.
    """

    vocab_size: int | None = None
    """Number of tokens the network knows; null takes the tokenizer's."""
    block_size: int = 1024
    """Longest sequence, in tokens."""
    n_layer: int = 12
    """Number of blocks."""
    n_head: int = 12
    """Number of query heads."""
    n_embd: int = 768
    """Width of the residual stream (C)."""
    dropout: float = 0.0
    """Share of activations set to zero in training, 0 = off."""
    bias: bool = True
    """Whether Linears and LayerNorms have biases."""
    n_kv_head: int | None = None
    """Key and value heads; null is `n_head`, fewer is grouped-query attention, 1 multi-query."""
    head_dim: int | None = None
    """Width of a head (D); null is `n_embd / n_head`."""
    n_inner: int | None = None
    """Width inside the MLP; null leaves it to the MLP part's own rule."""

    network: str = "parts"
    """The network: parts (made of those named below), or package.module:Class, a whole class in
    nanoGPT's or nanochat's form (`model/whole.py`); `model=my_gpt:GPT` says the same."""
    embedding: str = "token"
    """The part that turns ids into vectors: token, bigram, trigram, or package.module:Class."""
    position: str = "learned"
    """The part that knows positions: learned, rope, rope_reversed, none, or
    package.module:Class."""
    norm: str = "layernorm"
    """Normalisation: layernorm, rmsnorm, rmsnorm_plain, or package.module:Class."""
    attention: str = "causal"
    """Attention: causal, or package.module:Class."""
    mlp: str = "gelu_tanh"
    """MLP: gelu, gelu_tanh, relu2, swiglu, or package.module:Class."""
    block: str = "prenorm"
    """How attention and MLP are joined: prenorm, shift, conv, or package.module:Class."""
    residual: str = "plain"
    """What happens to the residual stream before each block: plain, mix, skip, or
    package.module:Class."""
    init: str = "gpt2"
    """Initialisation: gpt2, llama or nanochat."""

    norm_eps: float = 1e-5
    """Added to the variance or mean square inside a norm."""
    embedding_norm: bool = False
    """Normalise right after the embedding."""
    qk_norm: bool = False
    """Normalise queries and keys over `head_dim`, before rotary positions turn them (a plain RMS
    norm, with which the order does not matter, after)."""
    tie_head: bool = True
    """The output layer shares the embedding's matrix."""
    logit_softcap: float | None = None
    """c: logits become c·tanh(logits / c); null = off."""
    logit_scale: float = 1.0
    """Factor on the logits, before `logit_softcap`; `optim.width_rule` sets it."""
    attention_scale: float | None = None
    """Factor on the scores of attention; null is head_dim^-½. `optim.width_rule` may set it."""
    branch_scale: float = 1.0
    """Factor on what attention and MLP add to the stream; `optim.width_rule=completep` sets it."""
    init_width: int | None = None
    """Width at which the matrices of a block start as gpt2 and llama say: their standard deviation
    falls with (n_embd / init_width)^-½; null is `n_embd`. `optim.width_rule` sets it."""
    init_depth: int | None = None
    """Depth that gpt2's start of `c_proj` counts with; null is `n_layer`."""
    rope_base: float = 10000.0
    """Base of the rotary frequencies."""
    rope_dtype: str = "float32"
    """Type of the stored cos and sin tables: float32 or bfloat16."""
    attention_backend: str = "auto"
    """How attention is computed (`model/backends.py`): auto picks the fastest that fits."""
    windows: list[int] = field(default_factory=lambda: [-1])
    """Keys each query sees, -1 for all before it; the pattern repeats over the layers."""
    value_embeddings: bool = False
    """Value embeddings in every second layer, the last included."""
    document_token: int | None = None
    """Id of the token that opens a document: attention stays inside it; null = no documents."""
    bigram_rows: int = 65536
    """Largest table of embedding=bigram, in rows; V·V rows when that is fewer."""
    trigram_rows: int = 16384
    """Rows of the hashed table of embedding=trigram."""
    mtp_heads: int = 0
    """Further heads, in training alone: head k predicts the token k places after the next
    (multi-token prediction); 0 = none."""
    mtp_weight: float = 0.3
    """Weight of each of these heads' losses; the loss that is reported is the next token's."""

    def __post_init__(self) -> None:
        self._check_sizes()
        if ":" not in self.network:
            check_name("model.network", self.network, ["parts"], outside=True)
        for kind in PARTS:
            check_part(kind, getattr(self, kind))
        check_name("model.init", self.init, SCHEMES)
        check_name("model.attention_backend", self.attention_backend, BACKENDS)
        check_name("model.rope_dtype", self.rope_dtype, DTYPES)
        self._check_heads()
        self._check_pairs()

    def resolved(self) -> "GPTConfig":
        """A copy with every size that follows from others filled in, as the parts see it."""
        n_kv_head = self.n_head if self.n_kv_head is None else self.n_kv_head
        head_dim = self.n_embd // self.n_head if self.head_dim is None else self.head_dim
        return replace(self, n_kv_head=n_kv_head, head_dim=head_dim)

    def seeded(self, seed: int) -> "GPTConfig":
        """A copy out of which `GPT` draws the weights of the run with this seed, each time alike.

        No setting: it is the run's own `seed`, known to its model.
        """
        made = copy.copy(self)
        setattr(made, SEED, seed)
        return made

    @property
    def run_seed(self) -> int | None:
        """The seed of the run this config belongs to; None outside one."""
        return getattr(self, SEED, None)

    def window_of(self, layer_idx: int) -> int:
        """Keys that a query of this layer sees, itself included; block_size when unlimited."""
        window = self.windows[layer_idx % len(self.windows)]
        return self.block_size if window == -1 else min(window, self.block_size)

    def has_value_embedding(self, layer_idx: int) -> bool:
        return self.value_embeddings and (self.n_layer - 1 - layer_idx) % 2 == 0

    def _check_sizes(self) -> None:
        for name in ("block_size", "n_layer", "n_head", "n_embd", "bigram_rows", "trigram_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name}={getattr(self, name)} must be at least 1")
        for name in ("vocab_size", "n_kv_head", "head_dim", "n_inner", "init_width", "init_depth"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"model.{name}={getattr(self, name)} must be at least 1, or null")
        scales = ("logit_scale", "attention_scale", "branch_scale")
        for name in ("norm_eps", "rope_base", "logit_softcap", *scales):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"model.{name}={getattr(self, name)} must be above 0")
        if not 0 <= self.mtp_heads < self.block_size:
            raise ValueError(
                f"model.mtp_heads={self.mtp_heads} must be at least 0 and below "
                f"model.block_size={self.block_size}"
            )
        if not 0 < self.mtp_weight < float("inf"):
            raise ValueError(f"model.mtp_weight={self.mtp_weight} must be above 0, and finite")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout={self.dropout} must be at least 0 and below 1")
        self._check_document_token()
        if not self.windows or any(w < 1 and w != -1 for w in self.windows):
            raise ValueError(f"model.windows={list(self.windows)} must hold -1 or sizes above 0")

    def _check_document_token(self) -> None:
        token, size = self.document_token, self.vocab_size
        if token is not None and not 0 <= token < (token + 1 if size is None else size):
            raise ValueError(
                f"model.document_token={token} is no token: with model.vocab_size={size} it must "
                f"be 0 … {'' if size is None else size - 1}, or null"
            )

    def _check_heads(self) -> None:
        if self.head_dim is None and self.n_embd % self.n_head:
            raise ValueError(
                f"model.n_embd={self.n_embd} is not divisible by model.n_head={self.n_head}: "
                f"set n_embd={self.n_embd // self.n_head * self.n_head or self.n_head}, "
                "another n_head, or head_dim"
            )
        if self.n_kv_head is not None and self.n_head % self.n_kv_head:
            divisors = [k for k in range(1, self.n_head + 1) if self.n_head % k == 0]
            raise ValueError(
                f"model.n_head={self.n_head} is not divisible by model.n_kv_head={self.n_kv_head}: "
                f"set n_kv_head to one of {', '.join(map(str, divisors))}"
            )
        head_dim = self.resolved_head_dim
        if self.position in ROTARY and head_dim % 2:
            raise ValueError(
                f"model.position={self.position} rotates pairs, but model.n_embd={self.n_embd} "
                f"with n_head={self.n_head} gives an odd head_dim={head_dim}: "
                f"set head_dim={head_dim + 1}"
            )

    def _check_pairs(self) -> None:
        if self.tie_head and self.init == "nanochat":
            raise ValueError(
                "model.tie_head=true with model.init=nanochat: a head that starts at zero would "
                "zero the embedding too; set tie_head=false"
            )

    def __getattr__(self, name: str) -> Any:
        """A part that was written for another program asks by that program's name."""
        here = meant(name)[0].removeprefix("model.")
        hint = f"; here it is config.{here}" if here in self.__dataclass_fields__ else ""
        raise AttributeError(f"GPTConfig has no {name!r}{hint}")

    @property
    def resolved_head_dim(self) -> int:
        return self.head_dim if self.head_dim is not None else self.n_embd // self.n_head


def preset_names() -> list[str]:
    """The presets of `altgrad/conf/model/*.yaml`."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset(name: str, **changes: Any) -> GPTConfig:
    """A preset's configuration with some fields changed, without the command line:
    `preset("llama", vocab_size=65)`."""
    import yaml

    check_name("preset", name, preset_names())
    values = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    return GPTConfig(**values | changes)
