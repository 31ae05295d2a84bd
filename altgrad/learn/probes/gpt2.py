"""Probes of the gpt2 track. Sizes are pairwise distinct, so that no two can be confused."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.learn.observe import Observation, Probe
from altgrad.learn.probes.common import (
    B,
    RecordingCache,
    T,
    attributes_of,
    awake,
    cache,
    draw,
    draw_ids,
    field_defaults,
    gradients,
    refuses,
    same,
    shapes,
    statistics,
    trainable,
    unchanged,
    used_embedding,
    weight_of,
)
from altgrad.model import GPTConfig as ModelConfig

Namespace = dict[str, Any]
SIZES = {"block_size": 16, "vocab_size": 37, "n_layer": 3, "n_head": 6, "n_embd": 48}
HEAD_DIM, V, C = 8, 37, 48
INIT_TOLERANCE = 0.05  # of a sample's standard deviation


def config(ns: Namespace, **changes: Any) -> Any:
    return ns["GPTConfig"](**SIZES | changes)


def part(ns: Namespace, name: str, *more: Any, **changes: Any) -> Any:
    """An awake module in evaluation mode."""
    return awake(ns[name](config(ns, **changes), *more)).eval()


def gpt(ns: Namespace, **changes: Any) -> Any:
    return part(ns, "GPT", **changes)


def dropout_of(module: nn.Module, x: Any) -> list[bool]:
    """Is it random in evaluation; is it random in training?"""

    def run() -> Tensor:
        out = module(x.clone())
        return out[0] if isinstance(out, tuple) else out

    in_evaluation = not same(run(), run())
    module.train()
    return [in_evaluation, not same(run(), run())]


def kept_share(module: nn.Module, x: Any) -> float:
    """Share of exact zeros in a training output, in steps of a tenth."""
    torch.manual_seed(0)
    out = module.train()(x)
    return round((out == 0).double().mean().item(), 1) + 1


# -- the parts ------------------------------------------------------------------------------------


def probe_config(ns: Namespace) -> Iterator[Observation]:
    def defaults() -> dict[str, Any]:
        return field_defaults(ns["GPTConfig"])

    yield Observation("fields and their defaults", defaults)
    yield Observation("fields set by keyword", lambda: dataclasses.asdict(config(ns)))
    yield Observation("order of the fields", lambda: [*defaults()])


def probe_attention_init(ns: Namespace) -> Iterator[Observation]:
    def build(layer_idx: int = 4, **changes: Any) -> Any:
        return ns["CausalSelfAttention"](config(ns, **changes), layer_idx)

    def attributes() -> dict[str, Any]:
        module = build(dropout=0.25)
        names = ("layer_idx", "n_head", "head_dim", "dropout")
        return attributes_of(module, names) | {"p": module.resid_dropout.p}

    yield Observation("names and shapes with biases", lambda: shapes(build()))
    yield Observation("names and shapes without", lambda: shapes(build(bias=False)))
    yield Observation("attributes", attributes)
    yield Observation("parameters that train", lambda: trainable(build()))
    yield Observation("refuses n_head=6, n_embd=50", lambda: refuses(lambda: build(n_embd=50)))


def probe_attention_forward(ns: Namespace) -> Iterator[Observation]:
    x = partial(draw, "x", B, T, C)  # a fresh one for each call

    def attention(**changes: Any) -> Any:
        return part(ns, "CausalSelfAttention", 1, **changes)

    def grads() -> dict[str, Any]:
        module, leaf = attention(), x().requires_grad_()
        return gradients(module(leaf), {"x": leaf, **dict(module.named_parameters())})

    @torch.no_grad()
    def cached(chunks: list[int]) -> Tensor:
        module, store = attention(), cache(2)
        return torch.cat([module(p, None, store) for p in x().split(chunks, dim=1)], dim=1)

    @torch.no_grad()
    def inserted() -> list[Tensor]:
        store = RecordingCache(ModelConfig(n_layer=2, block_size=16))
        attention()(x(), None, store)
        return [piece for k, v in store.inserted.get(1, []) for piece in (k, v)]

    @torch.no_grad()
    def slots() -> list[int]:
        store = RecordingCache(ModelConfig(n_layer=2, block_size=16))
        attention()(x(), None, store)
        return sorted(store.inserted)

    def weights_dropped() -> bool:
        """Dropped attention weights change the output even where nothing else is dropped."""
        module = attention(dropout=0.5).train()
        module.resid_dropout.p = 0.0
        return not same(module(x()), module(x()))

    def low() -> str:
        return str(attention().bfloat16()(x().bfloat16()).dtype)

    yield Observation("output", lambda: attention()(x()))
    yield Observation(
        "output without biases, two heads", lambda: attention(bias=False, n_head=2)(x())
    )
    yield Observation("output for a single position", lambda: attention()(x()[:, :1]))
    yield Observation("output for a single row", lambda: attention()(x()[:1]))
    yield Observation("gradients", grads)
    yield Observation("input left as it was", lambda: unchanged(attention(), x()))
    yield Observation(
        "random in evaluation, in training", lambda: dropout_of(attention(dropout=0.5), x())
    )
    yield Observation("attention weights are dropped in training", weights_dropped)
    yield Observation("share of outputs dropped", lambda: kept_share(attention(dropout=0.5), x()))
    yield Observation("dtype of a bfloat16 model", low)
    for chunks in ([4, 1, 1, 1], [3, 4], [1, 6]):
        label = f"output with a cache, fed {'+'.join(map(str, chunks))} positions"
        yield Observation(label, partial(cached, chunks))
    yield Observation("keys and values inserted into the cache", inserted)
    yield Observation("layers that insert into the cache", slots)


def probe_mlp_init(ns: Namespace) -> Iterator[Observation]:
    def build(**changes: Any) -> Any:
        return ns["MLP"](config(ns, **changes))

    yield Observation("names and shapes with biases", lambda: shapes(build()))
    yield Observation("names and shapes without", lambda: shapes(build(bias=False)))
    yield Observation("parameters that train", lambda: trainable(build()))
    yield Observation("its dropout", lambda: build(dropout=0.25).dropout.p)


def probe_mlp_forward(ns: Namespace) -> Iterator[Observation]:
    x = partial(draw, "x", B, T, C)  # a fresh one for each call

    def grads() -> dict[str, Any]:
        module, leaf = part(ns, "MLP"), x().requires_grad_()
        return gradients(module(leaf), {"x": leaf, **dict(module.named_parameters())})

    yield Observation("output", lambda: part(ns, "MLP")(x()))
    yield Observation("output for twice the input", lambda: part(ns, "MLP")(2 * x()))
    yield Observation("gradients", grads)
    yield Observation("input left as it was", lambda: unchanged(part(ns, "MLP"), x()))
    yield Observation(
        "random in evaluation, in training", lambda: dropout_of(part(ns, "MLP", dropout=0.5), x())
    )
    yield Observation(
        "share of outputs dropped", lambda: kept_share(part(ns, "MLP", dropout=0.5), x())
    )


def probe_block_init(ns: Namespace) -> Iterator[Observation]:
    def build(**changes: Any) -> Any:
        return ns["Block"](config(ns, **changes), 2)

    def kinds() -> dict[str, str]:
        return {name: type(child).__name__ for name, child in build().named_children()}

    yield Observation("names and shapes with biases", lambda: shapes(build()))
    yield Observation("names and shapes without", lambda: shapes(build(bias=False)))
    yield Observation("layer_idx of its attention", lambda: build().attn.layer_idx)
    yield Observation("eps of its norms", lambda: [build().ln_1.eps, build().ln_2.eps])
    yield Observation("kinds of its parts", kinds)


def probe_block_forward(ns: Namespace) -> Iterator[Observation]:
    x = partial(draw, "x", B, T, C)  # a fresh one for each call

    def block(zero: str = "") -> Any:
        module = part(ns, "Block", 1)
        for name in zero.split():
            projection = getattr(module, name).c_proj
            projection.weight.data.zero_()
            projection.bias.data.zero_()
        return module

    def grads() -> dict[str, Any]:
        module, leaf = block(), x().requires_grad_()
        return gradients(module(leaf, None, None), {"x": leaf, **dict(module.named_parameters())})

    @torch.no_grad()
    def cached() -> Tensor:
        module, store = block(), cache(2)
        return torch.cat([module(p, None, store) for p in x().split([5, 2], dim=1)], dim=1)

    yield Observation("output when both projections are zero", lambda: block("attn mlp")(x()))
    yield Observation("output when the MLP's projection is zero", lambda: block("mlp")(x()))
    yield Observation("output when attention's projection is zero", lambda: block("attn")(x()))
    yield Observation("output", lambda: block()(x()))
    yield Observation("gradients", grads)
    yield Observation("output with a cache, fed 5+2 positions", cached)
    yield Observation("input left as it was", lambda: unchanged(block(), x()))


# -- GPT ------------------------------------------------------------------------------------------


def probe_gpt_init(ns: Namespace) -> Iterator[Observation]:
    def build(**changes: Any) -> Any:
        return ns["GPT"](config(ns, **changes))

    def initialised() -> dict[str, Any]:
        torch.manual_seed(0)
        model = build(n_embd=96, vocab_size=301)
        return {n: statistics(p) for n, p in model.named_parameters() if p.dim() > 1}

    def layers() -> list[int]:
        return [b.attn.layer_idx for b in build().transformer["h"]]

    yield Observation("names and shapes in state_dict", lambda: shapes(build()))
    yield Observation("names and shapes without biases", lambda: shapes(build(bias=False)))
    yield Observation("parameters that train", lambda: trainable(build()))
    yield Observation("number of parameters", lambda: sum(p.numel() for p in build().parameters()))
    yield Observation("distinct blocks", lambda: len({id(b) for b in build().transformer["h"]}))
    yield Observation("layer_idx of each block", layers)
    yield Observation(
        "dropout after the embedding", lambda: build(dropout=0.25).transformer["drop"].p
    )
    yield Observation("self.config", lambda: dataclasses.asdict(build(n_layer=2).config))
    yield Observation("spread of the weights when made", initialised, INIT_TOLERANCE)


def probe_init_rule(ns: Namespace) -> Iterator[Observation]:
    def apply(module: nn.Module) -> nn.Module:
        model = ns["GPT"](config(ns, n_layer=1))
        torch.manual_seed(0)
        model._init_weights(module)
        return module

    linears = {"C -> C": (128, 128), "C -> 4C": (128, 512), "4C -> C": (512, 128)}
    for label, (fan_in, fan_out) in linears.items():
        yield Observation(
            f"weights of a Linear {label}",
            partial(lambda i, o: statistics(weight_of(apply(nn.Linear(i, o)))), fan_in, fan_out),
            INIT_TOLERANCE,
        )
    yield Observation(
        "weights of an Embedding",
        lambda: statistics(weight_of(apply(used_embedding()))),
        INIT_TOLERANCE,
    )
    yield Observation("bias of a Linear", lambda: apply(nn.Linear(8, 8)).bias)
    yield Observation("weight of a LayerNorm", lambda: apply(nn.LayerNorm(8)).weight)


def probe_init_weights(ns: Namespace) -> Iterator[Observation]:
    def fresh(n_layer: int = 3) -> Any:
        model = ns["GPT"](config(ns, n_embd=96, vocab_size=301, n_layer=n_layer))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".ln_" not in name:
                    parameter.fill_(7.0)
        torch.manual_seed(0)
        model.init_weights()
        return model

    def spread(n_layer: int) -> dict[str, Any]:
        return {n: statistics(p) for n, p in fresh(n_layer).named_parameters() if p.dim() > 1}

    def vectors() -> dict[str, Tensor]:
        return {n: p for n, p in fresh().named_parameters() if p.dim() == 1}

    yield Observation("spread of all matrices", lambda: spread(3), INIT_TOLERANCE)
    yield Observation("spread of all matrices with eight layers", lambda: spread(8), INIT_TOLERANCE)
    yield Observation("biases and norms", vectors)


def probe_gpt_forward(ns: Namespace) -> Iterator[Observation]:
    idx = partial(draw_ids, "idx", V, B, T)  # a fresh one for each call

    def targets() -> Tensor:
        drawn = draw_ids("targets", V, B, T)
        drawn[1, 2] = 0  # a token like any other
        return drawn

    def ignoring() -> Tensor:
        drawn = targets()
        drawn[0, :3] = -1
        return drawn

    def grads() -> dict[str, Any]:
        model = gpt(ns)
        return gradients(model(idx(), ignoring())[1], dict(model.named_parameters()))

    @torch.no_grad()
    def cached(chunks: list[int]) -> Tensor:
        model, store = gpt(ns), cache(3)
        return torch.cat([model(p, kv_cache=store)[0] for p in idx().split(chunks, dim=1)], dim=1)

    def dropped_embedding() -> bool:
        """With the blocks silent, only the dropout after the embedding is left."""
        model = gpt(ns, dropout=0.5)
        for block in model.transformer["h"]:
            for projection in (block.attn.c_proj, block.mlp.c_proj):
                projection.weight.data.zero_()
                projection.bias.data.zero_()
        return not torch.equal(model.train()(idx())[0], model(idx())[0])

    yield Observation("logits", lambda: gpt(ns)(idx())[0])
    yield Observation(
        "logits of one layer without biases", lambda: gpt(ns, n_layer=1, bias=False)(idx())[0]
    )
    yield Observation("logits for a single token", lambda: gpt(ns)(idx()[:1, :1])[0])
    yield Observation("loss without targets", lambda: gpt(ns)(idx())[1])
    yield Observation("logits beside the loss", lambda: gpt(ns)(idx(), targets())[0])
    yield Observation("loss", lambda: gpt(ns)(idx(), targets())[1])
    yield Observation("loss with targets of -1", lambda: gpt(ns)(idx(), ignoring())[1])
    yield Observation("gradients", grads)
    yield Observation("logits with a cache, fed 4+1+1+1 tokens", lambda: cached([4, 1, 1, 1]))
    yield Observation("logits with a cache, fed 3+4 tokens", lambda: cached([3, 4]))
    yield Observation("embedding dropped in training", dropped_embedding)
    yield Observation("idx left as it was", lambda: unchanged(gpt(ns), idx()))
    yield Observation(
        "shape of the logits of a bfloat16 model", lambda: list(gpt(ns).bfloat16()(idx())[0].shape)
    )


def probe_optimizers(ns: Namespace) -> Iterator[Observation]:
    def make(**changes: Any) -> tuple[Any, Any]:
        model = ns["GPT"](config(ns, n_layer=1, **changes))
        return model, model.configure_optimizers(0.1, 3e-4, (0.9, 0.95))

    def members(read: Callable[[dict], Any]) -> dict[str, list]:
        model, optimizer = make()
        names = {id(p): n for n, p in model.named_parameters()}
        found: dict[str, list] = {name: [] for name in sorted(names.values())}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                found[names[id(parameter)]].append(read(group))
        return found

    def frozen() -> int:
        model = ns["GPT"](config(ns, n_layer=1))
        model.transformer["wpe"].weight.requires_grad_(False)
        groups = model.configure_optimizers(0.1, 3e-4, (0.9, 0.95)).param_groups
        return sum(len(g["params"]) for g in groups)

    yield Observation("kind", lambda: type(make()[1]).__name__)
    yield Observation("number of groups", lambda: len(make()[1].param_groups))
    yield Observation(
        "weight decay of every parameter", lambda: members(lambda g: g["weight_decay"])
    )
    yield Observation("learning rate of every parameter", lambda: members(lambda g: g["lr"]))
    yield Observation("betas of every parameter", lambda: members(lambda g: list(g["betas"])))
    yield Observation(
        "order of the groups", lambda: [g["weight_decay"] for g in make()[1].param_groups]
    )
    yield Observation("parameters when one is frozen", frozen)


def probe_flops(ns: Namespace) -> Iterator[Observation]:
    cases = {
        "L=3, C=48, H=6, V=37, S=16": SIZES,
        "L=4, C=64, H=2, V=509, S=128, no biases": {
            "n_layer": 4,
            "n_embd": 64,
            "n_head": 2,
            "vocab_size": 509,
            "block_size": 128,
            "bias": False,
        },
    }
    for label, sizes in cases.items():
        yield Observation(
            label, partial(lambda s: ns["GPT"](ns["GPTConfig"](**s)).estimate_flops(), sizes)
        )


def probe_generate(ns: Namespace) -> Iterator[Observation]:
    prompt = draw_ids("prompt", V, 2, 5)

    def made(n: int = 8, *, seed: int = 1, tied: bool = False, **settings: Any) -> Tensor:
        model = gpt(ns)
        generator = torch.Generator().manual_seed(seed)
        return model.generate(prompt.clone(), n, generator=generator, **settings)

    def drawn_twice() -> bool:
        return torch.equal(made(), made())

    def global_generator_untouched() -> bool:
        model = gpt(ns)
        before = torch.get_rng_state()
        model.generate(prompt.clone(), 4, generator=torch.Generator().manual_seed(1))
        return torch.equal(before, torch.get_rng_state())

    def reached() -> list[int]:
        model = gpt(ns)
        weight = model.lm_head.weight.data
        weight[1::2] = weight[:-1:2]  # every token has a twin with the same logit
        first = draw_ids("one", V, 1, 1).expand(200, 1)
        generator = torch.Generator().manual_seed(0)
        drawn = model.generate(first, 1, temperature=4.0, top_k=3, generator=generator)
        return sorted(set(drawn[:, -1].tolist()))

    yield Observation("greedy tokens (temperature 0)", lambda: made(temperature=0))
    yield Observation("greedy tokens beyond block_size", lambda: made(20, temperature=0))
    yield Observation("tokens drawn with a generator of seed 1", lambda: made())
    yield Observation("drawn twice with generators of one seed", drawn_twice)
    yield Observation("tokens drawn with a generator of seed 2", lambda: made(seed=2))
    yield Observation("tokens drawn at temperature 2", lambda: made(temperature=2.0))
    yield Observation("tokens with top_k=1", lambda: made(top_k=1))
    yield Observation("tokens with top_k=1000", lambda: made(top_k=1000))
    yield Observation("first tokens reached with top_k=3 and ties", reached)
    yield Observation("shapes", lambda: [list(made(n).shape) for n in (0, 1, 5)])
    yield Observation("the prompt comes first", lambda: made(3)[:, :5])
    yield Observation("torch's global generator untouched", global_generator_untouched)
    yield Observation("gradients are off", lambda: made(3).requires_grad)


PROBES: dict[str, Probe] = {
    "GPTConfig": probe_config,
    "CausalSelfAttention.__init__": probe_attention_init,
    "CausalSelfAttention.forward": probe_attention_forward,
    "MLP.__init__": probe_mlp_init,
    "MLP.forward": probe_mlp_forward,
    "Block.__init__": probe_block_init,
    "Block.forward": probe_block_forward,
    "GPT.__init__": probe_gpt_init,
    "GPT.init_weights": probe_init_weights,
    "GPT._init_weights": probe_init_rule,
    "GPT.forward": probe_gpt_forward,
    "GPT.configure_optimizers": probe_optimizers,
    "GPT.estimate_flops": probe_flops,
    "GPT.generate": probe_generate,
}
