"""Probes of the nanochat track. Sizes are pairwise distinct, so that no two can be confused."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.learn.observe import Observation, Probe
from altgrad.learn.probes.common import (
    B,
    Pretended,
    RecordingCache,
    T,
    attributes_of,
    awake,
    cache,
    draw,
    draw_ids,
    exact_tables,
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
SIZES = {"sequence_len": 16, "vocab_size": 37, "n_layer": 3, "n_head": 6, "n_kv_head": 2}
SIZES |= {"n_embd": 48}
HEAD_DIM, V, C = 8, 37, 48
INIT_TOLERANCE = 0.05  # of a sample's standard deviation
TABLE_TOLERANCE = 0.01  # of bfloat16 tables


def config(ns: Namespace, **changes: int) -> Any:
    return ns["GPTConfig"](**SIZES | changes)


def tables(start: int, stop: int) -> tuple[Tensor, Tensor]:
    cos, sin = exact_tables(16, HEAD_DIM)
    return cos[:, start:stop], sin[:, start:stop]


def gpt(ns: Namespace, **changes: int) -> Any:
    """A model with every weight awake and exact tables, in float64."""
    model = awake(ns["GPT"](config(ns, **changes)))
    model.cos, model.sin = exact_tables(160, HEAD_DIM)
    return model


# -- functions ------------------------------------------------------------------------------------


def probe_config(ns: Namespace) -> Iterator[Observation]:
    def defaults() -> dict[str, Any]:
        return field_defaults(ns["GPTConfig"])

    yield Observation("fields and their defaults", defaults)
    yield Observation("fields set by keyword", lambda: dataclasses.asdict(config(ns)))
    yield Observation("order of the fields", lambda: [*defaults()])


def probe_norm(ns: Namespace) -> Iterator[Observation]:
    inputs = {
        "(B, T, C)": draw("x", B, T, C),
        "(B, T, heads, D)": draw("heads", B, T, 6, HEAD_DIM),
        "numbers around 0.001": 1e-3 * draw("small", B, T, C),
        "numbers around 1e-8": 1e-8 * draw("tiny", B, T, C),
        "numbers around 1000": 1e3 * draw("large", B, T, C),
        "zeros": torch.zeros(B, 1, C, dtype=torch.float64),
        "one row (B = T = 1)": draw("row", 1, 1, C),
    }
    for label, x in inputs.items():
        yield Observation(f"output for {label}", partial(lambda x: ns["norm"](x.clone()), x))
    yield Observation(
        "gradient of the input", lambda: _grad_of_input(ns["norm"], draw("x", B, T, C))
    )
    yield Observation("input left as it was", lambda: unchanged(ns["norm"], draw("x", B, T, C)))
    yield Observation(
        "dtype for a bfloat16 input", lambda: str(ns["norm"](draw("x", 2, 3).bfloat16()).dtype)
    )


def _grad_of_input(function: Callable[[Tensor], Tensor], x: Tensor) -> Any:
    x = x.requires_grad_()
    return gradients(function(x), {"x": x})["x"]


def probe_rotary(ns: Namespace) -> Iterator[Observation]:
    def rotate(x: Tensor) -> Tensor:
        return ns["apply_rotary_emb"](x, *tables(0, T))

    yield Observation("output", lambda: rotate(draw("q", B, T, 6, HEAD_DIM)))
    yield Observation(
        "output at position 0, which is not turned",
        lambda: ns["apply_rotary_emb"](draw("q", B, 1, 6, HEAD_DIM), *tables(0, 1)),
    )
    yield Observation(
        "lengths of the vectors", lambda: rotate(draw("q", B, T, 6, HEAD_DIM)).norm(dim=-1)
    )
    yield Observation(
        "gradient of the input", lambda: _grad_of_input(rotate, draw("q", B, T, 6, HEAD_DIM))
    )
    yield Observation(
        "input left as it was", lambda: unchanged(rotate, draw("q", B, T, 6, HEAD_DIM))
    )
    yield Observation(
        "dtype for a bfloat16 input", lambda: str(rotate(draw("q", B, T, 6, 8).bfloat16()).dtype)
    )


# -- attention ------------------------------------------------------------------------------------


def attention(ns: Namespace, *, n_kv_head: int = 2, layer_idx: int = 1) -> nn.Module:
    return awake(ns["CausalSelfAttention"](config(ns, n_kv_head=n_kv_head), layer_idx))


def probe_attention_init(ns: Namespace) -> Iterator[Observation]:
    def build(layer_idx: int = 4, **changes: int) -> Any:
        return ns["CausalSelfAttention"](config(ns, **changes), layer_idx)

    names = ("layer_idx", "n_head", "n_kv_head", "n_embd", "head_dim")
    for n_kv_head in (6, 2, 1):
        make = partial(build, n_kv_head=n_kv_head)
        yield Observation(
            f"names and shapes with n_kv_head={n_kv_head}", partial(lambda m: shapes(m()), make)
        )
    yield Observation("attributes", lambda: attributes_of(build(), names))
    yield Observation("parameters that train", lambda: trainable(build()))
    refusals = {"n_embd": {"n_embd": 50}, "n_kv_head=4": {"n_kv_head": 4}}
    refusals |= {"n_kv_head=12": {"n_kv_head": 12}, "n_embd=51": {"n_embd": 51}}
    for label, changes in refusals.items():
        yield Observation(
            f"refuses n_head=6 with {label}",
            partial(lambda c: refuses(lambda: build(**c)), changes),
        )


def probe_attention_forward(ns: Namespace) -> Iterator[Observation]:
    x = partial(draw, "x", B, T, C)  # a fresh one for each call

    def run(n_kv_head: int = 2) -> Tensor:
        return _attend(ns, x(), n_kv_head=n_kv_head)

    yield Observation(
        "output with as many key/value heads as query heads", partial(run, n_kv_head=6)
    )
    yield Observation("output with n_head=6, n_kv_head=2", partial(run, n_kv_head=2))
    yield Observation("output with n_kv_head=1", partial(run, n_kv_head=1))
    yield Observation("output for a single position", lambda: _attend(ns, x()[:, :1]))
    yield Observation("output for a single row", lambda: _attend(ns, x()[:1]))
    yield Observation("gradients", lambda: _attention_gradients(ns, x()))
    yield Observation("the same twice", lambda: same(run(), run()))
    yield Observation("dtype of a bfloat16 model", lambda: _attention_dtype(ns, x()))
    yield Observation("input left as it was", lambda: unchanged(partial(_attend, ns), x()))
    for chunks in ([4, 1, 1, 1], [3, 4], [1, 6]):
        yield Observation(
            f"output with a cache, fed {'+'.join(map(str, chunks))} positions",
            partial(lambda c: _attend_cached(ns, x(), c, 2), chunks),
        )
    yield Observation("keys and values inserted into the cache", lambda: _what_is_cached(ns, x()))
    yield Observation("layers that insert into the cache", lambda: _slots(ns, x()))
    yield Observation(
        "output with a cache and n_kv_head=6", lambda: _attend_cached(ns, x(), [5, 1, 1], 6)
    )


def _attend(ns: Namespace, x: Tensor, *, n_kv_head: int = 2) -> Tensor:
    return attention(ns, n_kv_head=n_kv_head)(x, tables(0, x.size(1)), None)


def _attention_gradients(ns: Namespace, x: Tensor) -> dict[str, Any]:
    module = attention(ns)
    x = x.clone().requires_grad_()
    output = module(x, tables(0, T), None)
    return gradients(output, {"x": x, **dict(module.named_parameters())})


def _attention_dtype(ns: Namespace, x: Tensor) -> str:
    cos, sin = (t.bfloat16() for t in tables(0, x.size(1)))
    return str(attention(ns).bfloat16()(x.bfloat16(), (cos, sin), None).dtype)


@torch.no_grad()
def _attend_cached(ns: Namespace, x: Tensor, chunks: list[int], n_kv_head: int) -> Tensor:
    module, store = attention(ns, n_kv_head=n_kv_head), cache(2)
    outputs = []
    for piece in x.split(chunks, dim=1):
        start = store.get_pos()
        outputs.append(module(piece, tables(start, start + piece.size(1)), store))
    return torch.cat(outputs, dim=1)


@torch.no_grad()
def _what_is_cached(ns: Namespace, x: Tensor) -> list[Tensor]:
    """Keys and values that one call inserts for its layer."""
    store = RecordingCache(ModelConfig(n_layer=2, block_size=16))
    attention(ns)(x, tables(0, T), store)
    return [part for k, v in store.inserted.get(1, []) for part in (k, v)]


@torch.no_grad()
def _slots(ns: Namespace, x: Tensor) -> list[int]:
    store = RecordingCache(ModelConfig(n_layer=2, block_size=16))
    attention(ns)(x, tables(0, T), store)
    return sorted(store.inserted)


# -- MLP and block --------------------------------------------------------------------------------


def probe_mlp_init(ns: Namespace) -> Iterator[Observation]:
    yield Observation("names and shapes", lambda: shapes(ns["MLP"](config(ns))))
    yield Observation("parameters that train", lambda: trainable(ns["MLP"](config(ns))))


def probe_mlp_forward(ns: Namespace) -> Iterator[Observation]:
    x = partial(draw, "x", B, T, C)  # a fresh one for each call

    def run(x: Tensor) -> Tensor:
        return awake(ns["MLP"](config(ns)))(x)

    def low() -> str:
        return str(awake(ns["MLP"](config(ns))).bfloat16()(x().bfloat16()).dtype)

    def grads() -> dict[str, Any]:
        module, leaf = awake(ns["MLP"](config(ns))), x().requires_grad_()
        return gradients(module(leaf), {"x": leaf, **dict(module.named_parameters())})

    yield Observation("output", lambda: run(x()))
    yield Observation("output for twice the input", lambda: run(2 * x()))
    yield Observation("gradients", grads)
    yield Observation("the same twice", lambda: same(run(x()), run(x())))
    yield Observation("dtype of a bfloat16 model", low)
    yield Observation("input left as it was", lambda: unchanged(run, x()))


def probe_block_init(ns: Namespace) -> Iterator[Observation]:
    def build() -> Any:
        return ns["Block"](config(ns), 2)

    yield Observation("names and shapes", lambda: shapes(build()))
    yield Observation("layer_idx of its attention", lambda: build().attn.layer_idx)
    yield Observation(
        "kinds of its parts", lambda: [type(build().attn).__name__, type(build().mlp).__name__]
    )


def probe_block_forward(ns: Namespace) -> Iterator[Observation]:
    x = partial(draw, "x", B, T, C)  # a fresh one for each call

    def run(x: Tensor, *, zero: str = "") -> Tensor:
        block = awake(ns["Block"](config(ns), 1))
        for part in filter(None, zero.split()):
            getattr(block, part).c_proj.weight.data.zero_()
        return block(x, tables(0, x.size(1)), None)

    def low() -> str:
        cos, sin = (t.bfloat16() for t in tables(0, T))
        block = awake(ns["Block"](config(ns), 1)).bfloat16()
        return str(block(x().bfloat16(), (cos, sin), None).dtype)

    def grads() -> dict[str, Any]:
        block, leaf = awake(ns["Block"](config(ns), 1)), x().requires_grad_()
        output = block(leaf, tables(0, T), None)
        return gradients(output, {"x": leaf, **dict(block.named_parameters())})

    @torch.no_grad()
    def cached() -> Tensor:
        block, store = awake(ns["Block"](config(ns), 1)), cache(2)
        first = block(x()[:, :5], tables(0, 5), store)
        return torch.cat([first, block(x()[:, 5:], tables(5, 7), store)], dim=1)

    yield Observation("output when both projections are zero", lambda: run(x(), zero="attn mlp"))
    yield Observation("output when the MLP's projection is zero", lambda: run(x(), zero="mlp"))
    yield Observation("output when attention's projection is zero", lambda: run(x(), zero="attn"))
    yield Observation("output", lambda: run(x()))
    yield Observation("gradients", grads)
    yield Observation("output with a cache, fed 5+2 positions", cached)
    yield Observation("input left as it was", lambda: unchanged(run, x()))
    yield Observation("the same twice", lambda: same(run(x()), run(x())))
    yield Observation("dtype of a bfloat16 model", low)


# -- GPT: birth -----------------------------------------------------------------------------------


def probe_gpt_init(ns: Namespace) -> Iterator[Observation]:
    def build(**changes: int) -> Any:
        return ns["GPT"](config(ns, **changes))

    def storages(model: Any) -> int:
        return len({p.data_ptr() for p in model.state_dict().values()})

    def buffers(model: Any) -> dict[str, list[int]]:
        return {name: list(b.shape) for name, b in model.named_buffers()}

    def first_rows(model: Any) -> list[Tensor]:
        return [model.cos[:, :20].double(), model.sin[:, :20].double()]

    yield Observation("names and shapes in state_dict", lambda: shapes(build()))
    yield Observation("parameters that train", lambda: trainable(build()))
    yield Observation("number of tensors with storage of their own", lambda: storages(build()))
    yield Observation("distinct blocks", lambda: len({id(b) for b in build().transformer["h"]}))
    yield Observation(
        "layer_idx of each block", lambda: [b.attn.layer_idx for b in build().transformer["h"]]
    )
    yield Observation("buffers", lambda: buffers(build()))
    yield Observation("first rows of the tables", lambda: first_rows(build()), TABLE_TOLERANCE)
    yield Observation("self.config", lambda: dataclasses.asdict(build(n_layer=2).config))


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
    def fresh() -> Any:
        model = ns["GPT"](config(ns, n_embd=96, vocab_size=301, n_kv_head=6))
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data.fill_(float("nan"))  # the worst that raw memory can be
        torch.manual_seed(0)
        model.init_weights()
        return model

    def zeros() -> list[str]:
        return sorted(n for n, p in fresh().named_parameters() if p.abs().max() == 0)

    def finite() -> bool:
        return all(bool(p.isfinite().all()) for p in fresh().parameters())

    def spread() -> dict[str, Any]:
        return {n: statistics(p) for n, p in fresh().named_parameters() if p.abs().max() != 0}

    def rotary() -> list[Tensor]:
        model = fresh()
        return [model.cos[:, :50].double(), model.sin[:, :50].double()]

    def first_loss() -> float:
        ids = draw_ids("ids", 301, B, T)
        return fresh().forward(ids, ids.roll(-1, 1)).item()

    yield Observation("all weights are numbers after `to_empty`", finite)
    yield Observation("tensors that are zero", zeros)
    yield Observation("spread of the others", spread, INIT_TOLERANCE)
    yield Observation("rotary tables after `to_empty`", rotary, TABLE_TOLERANCE)
    yield Observation("the first loss", first_loss, 1e-5)


def probe_tables(ns: Namespace) -> Iterator[Observation]:
    def make(*args: Any, **kwargs: Any) -> list[Tensor]:
        model = ns["GPT"](config(ns, n_layer=1))
        return list(model._precompute_rotary_embeddings(*args, **kwargs))

    def double(tables: list[Tensor]) -> list[Tensor]:
        return [t.double() for t in tables]

    yield Observation("shapes", lambda: [list(t.shape) for t in make(20, HEAD_DIM)])
    yield Observation("dtypes", lambda: [str(t.dtype) for t in make(20, HEAD_DIM)])
    yield Observation("values", lambda: double(make(20, HEAD_DIM)), TABLE_TOLERANCE)
    yield Observation("values with base=300", lambda: double(make(9, 6, base=300)), TABLE_TOLERANCE)
    yield Observation(
        "values at positions near 2000",
        lambda: [t[:, 1990:].double() for t in make(2000, HEAD_DIM)],
        TABLE_TOLERANCE,
    )

    def places(**asked: str) -> list[str]:
        """Where the tables are made; the model itself is not on the CPU."""
        model = ns["GPT"](config(ns, n_layer=1))
        with Pretended(*model.parameters()) as pretended:
            made = model._precompute_rotary_embeddings(4, HEAD_DIM, **asked)
            return [pretended.place_of(table) for table in made]

    yield Observation("device asked for, the CPU", lambda: places(device="cpu"))
    yield Observation("device asked for, meta", lambda: places(device="meta"))
    yield Observation("device when none is asked for", places)


# -- GPT: at work ---------------------------------------------------------------------------------


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

    def logits(idx: Tensor, **changes: int) -> Tensor:
        return gpt(ns, **changes)(idx)

    def loss(targets: Tensor, reduction: str = "mean") -> Tensor:
        return gpt(ns)(idx(), targets, loss_reduction=reduction)

    def grads() -> dict[str, Any]:
        model = gpt(ns)
        return gradients(model(idx(), ignoring()), dict(model.named_parameters()))

    @torch.no_grad()
    def cached(chunks: list[int]) -> Tensor:
        model, store = gpt(ns), cache(3)
        return torch.cat([model(p, kv_cache=store) for p in idx().split(chunks, dim=1)], dim=1)

    def low() -> list[int]:
        model = gpt(ns).bfloat16()
        return list(model(idx()).shape)

    def loud() -> Tensor:
        model = gpt(ns)
        model.lm_head.weight.data.mul_(40)
        return model(idx())

    yield Observation("logits", lambda: logits(idx()))
    yield Observation(
        "logits with n_kv_head=6 and one layer", lambda: logits(idx(), n_kv_head=6, n_layer=1)
    )
    yield Observation("logits for a single token", lambda: logits(idx()[:1, :1]))
    yield Observation("logits when lm_head is 40 times larger", loud)
    yield Observation("loss", lambda: loss(targets()))
    yield Observation("loss with targets of -1", lambda: loss(ignoring()))
    yield Observation("loss with reduction 'sum'", lambda: loss(ignoring(), "sum"))
    yield Observation("loss with reduction 'none'", lambda: loss(ignoring(), "none"))
    yield Observation("gradients", grads)
    yield Observation("logits with a cache, fed 4+1+1+1 tokens", lambda: cached([4, 1, 1, 1]))
    yield Observation("logits with a cache, fed 3+4 tokens", lambda: cached([3, 4]))
    yield Observation("idx left as it was", lambda: unchanged(logits, idx()))
    yield Observation("shape of the logits of a bfloat16 model", low)


def probe_device(ns: Namespace) -> Iterator[Observation]:
    def on_meta() -> str:
        model = ns["GPT"](config(ns, n_layer=1)).to("meta")
        return str(model.get_device())

    yield Observation("type", lambda: type(ns["GPT"](config(ns, n_layer=1)).get_device()).__name__)
    yield Observation("on the CPU", lambda: str(ns["GPT"](config(ns, n_layer=1)).get_device()))
    yield Observation("on the meta device", on_meta)


def probe_flops(ns: Namespace) -> Iterator[Observation]:
    big = {"n_layer": 4, "n_embd": 64, "n_head": 2, "vocab_size": 4096, "sequence_len": 512}
    cases = {
        "L=4, C=64, H=K=2, V=4096, S=512": big | {"n_kv_head": 2},
        "the same with K=1": big | {"n_kv_head": 1},
        "L=3, C=48, H=6, K=2, V=37, S=16": SIZES,
    }

    def flops(sizes: dict[str, int]) -> int:
        return ns["GPT"](ns["GPTConfig"](**sizes)).estimate_flops()

    for label, sizes in cases.items():
        yield Observation(label, partial(flops, sizes))


def probe_optimizers(ns: Namespace) -> Iterator[Observation]:
    def members(read: Callable[[Any, dict], Any], **settings: float) -> dict[str, Any]:
        model = ns["GPT"](config(ns, n_layer=2))
        names = {id(p): n for n, p in model.named_parameters()}
        found: dict[str, Any] = {name: [] for name in sorted(names.values())}
        for optimizer in model.setup_optimizers(**settings):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    found[names[id(parameter)]].append(read(optimizer, group))
        return found

    def kind(optimizer: Any, _: dict) -> str:
        return "Muon" if "muon" in type(optimizer).__name__.lower() else type(optimizer).__name__

    def field(name: str) -> Callable[[Any, dict], Any]:
        return lambda _, group: group.get(name, "missing")

    def of_kind(wanted: str, *names: str) -> dict[str, Any]:
        optimizers = ns["GPT"](config(ns)).setup_optimizers()
        mine = [o for o in optimizers if kind(o, {}) == wanted]
        return {n: [g.get(n) for o in mine for g in o.param_groups] for n in names}

    def order() -> list[str]:
        return [kind(o, {}) for o in ns["GPT"](config(ns)).setup_optimizers()]

    yield Observation("optimizer of every parameter", lambda: members(kind))
    yield Observation("learning rate of every parameter", lambda: members(field("lr")))
    yield Observation("initial_lr of every parameter", lambda: members(field("initial_lr")))
    yield Observation(
        "learning rates when asked for 1, 2 and 3",
        lambda: members(field("lr"), unembedding_lr=1.0, embedding_lr=2.0, matrix_lr=3.0),
    )
    yield Observation("weight decay of every parameter", lambda: members(field("weight_decay")))
    yield Observation(
        "weight decay when asked for 0.1", lambda: members(field("weight_decay"), weight_decay=0.1)
    )
    yield Observation("settings of AdamW", lambda: of_kind("AdamW", "betas", "eps"))
    yield Observation(
        "settings of Muon", lambda: of_kind("Muon", "momentum", "nesterov", "ns_steps")
    )
    yield Observation("order of the optimizers", order)


def probe_generate(ns: Namespace) -> Iterator[Observation]:
    prompt = [3, 1, 4, 1, 5]

    def made(n: int = 8, *, tied: bool = False, **settings: Any) -> list[int]:
        model = gpt(ns)
        if tied:  # every token has a twin with the same logit
            model.lm_head.weight.data[1::2] = model.lm_head.weight.data[:-1:2]
        return list(model.generate(list(prompt), n, **settings))

    def reached(top_k: int | None) -> list[int]:
        model = gpt(ns)
        model.lm_head.weight.data[1::2] = model.lm_head.weight.data[:-1:2]
        how = {"temperature": 2.0, "top_k": top_k}
        draws = [next(iter(model.generate([3], 1, seed=s, **how))) for s in range(48)]
        return sorted(set(draws))

    def kept() -> list[int]:
        tokens = list(prompt)
        list(gpt(ns).generate(tokens, 3))
        return tokens

    def global_generator_untouched() -> bool:
        model = gpt(ns)  # before the first reading: making a model draws its weights
        before = torch.get_rng_state()
        list(model.generate(list(prompt), 4))
        return torch.equal(before, torch.get_rng_state())

    def drawn_twice() -> bool:
        return made(seed=1) == made(seed=1)

    yield Observation("greedy tokens (temperature 0)", lambda: made(temperature=0))
    yield Observation("tokens drawn with seed 1", lambda: made(seed=1))
    yield Observation("drawn twice with one seed", drawn_twice)
    yield Observation("tokens drawn with seed 2", lambda: made(seed=2))
    yield Observation("tokens drawn with the default seed", lambda: made())
    yield Observation("tokens drawn at temperature 2", lambda: made(temperature=2.0, seed=1))
    yield Observation("tokens with top_k=1", lambda: made(top_k=1))
    yield Observation("tokens with top_k=1000", lambda: made(top_k=1000, seed=1))
    yield Observation("first tokens reached with top_k=3 and ties", lambda: reached(3))
    yield Observation("number of tokens", lambda: [len(made(n)) for n in (0, 1, 5)])
    yield Observation(
        "kinds of what it yields", lambda: {type(t).__name__ for t in made(3)} == {"int"}
    )
    yield Observation("the prompt left as it was", kept)
    yield Observation("torch's global generator untouched", global_generator_untouched)


PROBES: dict[str, Probe] = {
    "GPTConfig": probe_config,
    "norm": probe_norm,
    "apply_rotary_emb": probe_rotary,
    "CausalSelfAttention.__init__": probe_attention_init,
    "CausalSelfAttention.forward": probe_attention_forward,
    "MLP.__init__": probe_mlp_init,
    "MLP.forward": probe_mlp_forward,
    "Block.__init__": probe_block_init,
    "Block.forward": probe_block_forward,
    "GPT.__init__": probe_gpt_init,
    "GPT.init_weights": probe_init_weights,
    "GPT._init_weights": probe_init_rule,
    "GPT._precompute_rotary_embeddings": probe_tables,
    "GPT.get_device": probe_device,
    "GPT.estimate_flops": probe_flops,
    "GPT.setup_optimizers": probe_optimizers,
    "GPT.forward": probe_gpt_forward,
    "GPT.generate": probe_generate,
}
