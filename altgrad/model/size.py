"""How large a model is, and what a training step of it costs."""

from collections import Counter

from torch import nn

from altgrad.model.config import GPTConfig, known

GROUP_OF_PREFIX = {
    "transformer.wte": "embedding",
    "transformer.value_embeddings": "embedding",
    "transformer.wpe": "position",
    "lm_head": "head",
    "mtp": "head",
}
GROUP_OF_PIECE = {".attn.": "attention", ".mlp.": "mlp", ".ln_": "norm"}


def parameters_by_group(model: nn.Module) -> dict[str, int]:
    """Distinct parameters of embedding, position, attention, mlp, norm, head and the rest.

    A tied head counts as the embedding.
    """
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        counts[_group_of(name)] += parameter.numel()
    return dict(counts)


def flops_per_token(model: nn.Module, config: GPTConfig) -> int:
    """Floating-point operations of a training step, per token of a full block.

    6 for each parameter that multiplies activations (lookup tables do not) and 12·D for each
    head and key in view: PaLM's count (arXiv 2204.02311, appendix B).
    """
    head = model.get_parameter("lm_head.weight")
    tables = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)} - {head}
    weights = sum(p.numel() for p in model.parameters()) - sum(table.numel() for table in tables)
    keys = sum(config.window_of(i) for i in range(config.n_layer))
    return 6 * weights + 12 * config.n_head * known(config.head_dim) * keys


def _group_of(name: str) -> str:
    for prefix, group in GROUP_OF_PREFIX.items():
        if name.startswith(prefix):
            return group
    for piece, group in GROUP_OF_PIECE.items():
        if piece in name:
            return group
    return "other"
