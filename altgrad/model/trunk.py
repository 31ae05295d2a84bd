"""Everything between the token ids and the head: embedding, positions, blocks, final norm."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig, known
from altgrad.model.documents import check_takes, find_documents
from altgrad.model.dropout import build_dropout
from altgrad.model.lookup import Lookup
from altgrad.model.norm import build_norm
from altgrad.model.parts import resolve
from altgrad.model.position import CosSin


class Regions(NamedTuple):
    """How the trunk calls its two kinds of pieces: as they are, or each compiled by itself."""

    embed: Callable[..., tuple[Tensor, CosSin | None]]
    layer: Callable[..., Tensor]


def embed(
    trunk: "Trunk", idx: Int[Tensor, "B T"], kv_cache: KVCache | None, extra: dict[str, Any]
) -> tuple[Float[Tensor, "B T C"], CosSin | None]:
    """What enters the first layer, and the rotations of its positions."""
    start = 0 if kv_cache is None else kv_cache.get_pos()
    x = trunk.ln_e(trunk.wte(idx, kv_cache, **extra))
    x, cos_sin = trunk.wpe(x, start, **extra)
    return trunk.drop(x), cos_sin


def layer(
    block: nn.Module,
    residual: nn.Module,
    x: Float[Tensor, "B T C"],
    x0: Float[Tensor, "B T C"],
    cos_sin: CosSin | None,
    kv_cache: KVCache | None,
    extra: dict[str, Any],
) -> Float[Tensor, "B T C"]:
    return block(residual(x, x0), cos_sin, kv_cache, **extra)


PLAIN = Regions(embed, layer)


class Trunk(nn.Module):
    """The module that nanoGPT and Hugging Face call `transformer`, with their names inside."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        block, residual = resolve("block", config.block), resolve("residual", config.residual)
        layers = range(config.n_layer)
        self.wte = resolve("embedding", config.embedding)(config)
        self.wpe = resolve("position", config.position)(config)
        self.ln_e = build_norm(config, config.n_embd) if config.embedding_norm else nn.Identity()
        self.drop = build_dropout(config.dropout)
        self.h = nn.ModuleList(block(config, i) for i in layers)
        self.residual = nn.ModuleList(residual(config) for _ in layers)
        self.ln_f = build_norm(config, config.n_embd)
        self.value_embeddings = nn.ModuleDict()
        self._check_scales(config)
        self.document_token = config.document_token
        if config.document_token is not None:
            self._check_takes_documents(config)
        self.passes_values = config.value_embeddings
        if config.value_embeddings:
            self._check_attention_takes("value_embedding", config, "value_embeddings=true")
            width = known(config.n_kv_head) * known(config.head_dim)
            for i in filter(config.has_value_embedding, layers):
                self.value_embeddings[str(i)] = Lookup(known(config.vocab_size), width)

    def forward(
        self, idx: Int[Tensor, "B T"], kv_cache: KVCache | None = None
    ) -> Float[Tensor, "B T C"]:
        return self.ln_f(self.body(idx, kv_cache))

    def body(
        self,
        idx: Int[Tensor, "B T"],
        kv_cache: KVCache | None = None,
        *,
        regions: Regions = PLAIN,
    ) -> Float[Tensor, "B T C"]:
        """All but the final norm."""
        documents = self._documents(idx, kv_cache)
        x, cos_sin = regions.embed(self, idx, kv_cache, documents)
        # A tensor of its own: a layer compiled for x and x0 being one would serve the first alone.
        x0 = x if regions is PLAIN else x.view(x.shape)
        for i, (block, residual) in enumerate(zip(self.h, self.residual, strict=True)):
            extra = {**self._extra(i, idx), **documents}
            x = regions.layer(block, residual, x, x0, cos_sin, kv_cache, extra)
        return x

    def _documents(self, idx: Tensor, kv_cache: KVCache | None) -> dict[str, Any]:
        """The argument `documents` of every part that can look back, where there are any."""
        if self.document_token is None:
            return {}
        return {"documents": find_documents(idx, self.document_token, kv_cache)}

    def _extra(self, layer_idx: int, idx: Tensor) -> dict[str, Any]:
        """Arguments beyond those that every block takes, where the configuration asks for them."""
        if not self.passes_values:
            return {}
        key = str(layer_idx)
        if key not in self.value_embeddings:
            return {"value_embedding": None}
        return {"value_embedding": self.value_embeddings[key](idx)}

    def _check_scales(self, config: GPTConfig) -> None:
        """Refuse outside parts in which a factor would be forgotten."""
        attention = [b.attn for b in self.h if hasattr(b, "attn")]
        kinds: tuple[tuple[str, Any, str, Any], ...] = (
            ("block", self.h, "branch_scale", 1.0),
            ("attention", attention, "query_scale", None),
        )
        for kind, modules, attribute, plain in kinds:
            setting = "attention_scale" if kind == "attention" else "branch_scale"
            asked = getattr(config, setting)
            if asked != plain and not all(hasattr(m, attribute) for m in modules):
                raise ValueError(
                    f"model.{setting}={asked} needs a part that multiplies by it and says so in an "
                    f"attribute {attribute}; model.{kind}={getattr(config, kind)} does not"
                )

    def _check_attention_takes(self, argument: str, config: GPTConfig, setting: str) -> None:
        found: list[Any] = [block.attn for block in self.h if hasattr(block, "attn")]
        check_takes(found, argument, setting=setting, part=f"model.attention={config.attention}")

    def _check_takes_documents(self, config: GPTConfig) -> None:
        """Refuse an outside part that could look back past the beginning of a document."""
        asked = f"document_token={config.document_token}"
        parts: dict[str, Any] = {"embedding": [self.wte], "position": [self.wpe], "block": self.h}
        for kind, modules in parts.items():
            name = f"model.{kind}={getattr(config, kind)}"
            check_takes(modules, "documents", setting=asked, part=name)
        self._check_attention_takes("documents", config, asked)
