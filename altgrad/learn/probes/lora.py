"""Probes of the lora track. Sizes are no letter of a GPT's contract: 5, 9, 11, 13."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.learn.observe import Observation, Probe
from altgrad.learn.probes.common import (
    awake,
    draw,
    draw_ids,
    gradients,
    refuses,
    shapes,
    statistics,
    trainable,
)
from altgrad.learn.probes.training import same_draws

Namespace = dict[str, Any]
IN, OUT, RANK, ALPHA = 9, 13, 5, 15.0


def linear(bias: bool = True) -> nn.Linear:
    return awake(nn.Linear(IN, OUT, bias=bias))  # type: ignore[return-value]


def layer(ns: Namespace, *, bias: bool = True, dropout: float = 0.0) -> Any:
    """A LoRALinear in float64 whose every number is random."""
    return awake(ns["LoRALinear"](linear(bias), RANK, ALPHA, dropout))


def inputs(*shape: int) -> Tensor:
    return draw("x", *shape, IN)


def probe_init(ns: Namespace) -> Iterator[Observation]:
    def made(**how: Any) -> Any:
        return ns["LoRALinear"](**{"base": linear(), "rank": RANK, "alpha": ALPHA} | how)

    def spread() -> dict[str, float]:
        found = made(base=nn.Linear(512, 64), rank=32).A
        if not isinstance(found, Tensor):
            raise TypeError(f"A is a {type(found).__name__}")
        return statistics(found)

    def kept() -> list[bool]:
        base = linear()
        weight = base.weight
        return [made(base=base).base is base, base.weight is weight]

    def kinds(dtype: torch.dtype) -> list[str]:
        one = made(base=linear().to(dtype))
        return [str(getattr(x, "dtype", type(x).__name__)) for x in (one.A, one.B)]

    yield Observation("tensors and their shapes", lambda: shapes(made()))
    yield Observation(
        "tensors and their shapes without a bias", lambda: shapes(made(base=linear(False)))
    )
    yield Observation("parameters that train", lambda: trainable(made()))
    yield Observation("B at first", lambda: made().B)
    yield Observation("spread of A", same_draws(spread), rtol=0.05)
    yield Observation("scaling", lambda: made().scaling)
    yield Observation("scaling for a rank of 10", lambda: made(rank=10).scaling)
    yield Observation("is it merged", lambda: made().merged)
    yield Observation(
        "rates of the dropout", lambda: [made().dropout.p, made(dropout=0.3).dropout.p]
    )
    yield Observation("refuses a rank of 0", lambda: refuses(lambda: made(rank=0)))
    yield Observation("refuses a rank of -1", lambda: refuses(lambda: made(rank=-1)))
    yield Observation("refuses a rank of 1", lambda: refuses(lambda: made(rank=1)))
    yield Observation("kinds of numbers beside bfloat16", lambda: kinds(torch.bfloat16))
    yield Observation("kinds of numbers beside float64", lambda: kinds(torch.float64))
    yield Observation("is the base itself kept", kept)
    yield Observation("output at first, beside the base's", lambda: made()(inputs(5)))


def probe_delta(ns: Namespace) -> Iterator[Observation]:
    def gradient() -> dict[str, Any]:
        one = layer(ns)
        return gradients(one.delta(), {"A": one.A, "B": one.B})

    yield Observation("the change of the weight", lambda: layer(ns).delta())
    yield Observation("its gradients", gradient)


def probe_forward(ns: Namespace) -> Iterator[Observation]:
    def f(x: Tensor, *, merged: bool = False, training: bool = True, **how: Any) -> Any:
        one = layer(ns, **how)
        one.merged = merged
        return one.train(training)(x)

    def gradient() -> dict[str, Any]:
        one, x = layer(ns), inputs(11).requires_grad_()
        return gradients(one(x), {"x": x, "A": one.A, "B": one.B})

    yield Observation("output for one row", lambda: f(inputs(1)))
    yield Observation("output for eleven rows", lambda: f(inputs(11)))
    yield Observation("output for a batch of sequences", lambda: f(inputs(5, 11)))
    yield Observation("output without a bias", lambda: f(inputs(11), bias=False))
    yield Observation("gradients", gradient)
    yield Observation("output once merged", lambda: f(inputs(11), merged=True))
    yield Observation(
        "output once merged, in evaluation", lambda: f(inputs(11), merged=True, training=False)
    )
    yield Observation("output in evaluation", lambda: f(inputs(11), dropout=0.5, training=False))
    yield Observation(
        "output in training with dropout", same_draws(lambda: f(inputs(11), dropout=0.5))
    )


def merged(one: Any, times: int = 1) -> Any:
    for _ in range(times):
        one.merge()
    return one


def parts(one: Any) -> dict[str, Any]:
    return {"A": one.A.detach(), "B": one.B.detach()}


def probe_merge(ns: Namespace) -> Iterator[Observation]:
    def same_parameter() -> list[bool]:
        one = layer(ns)
        before = one.base.weight
        merged(one)
        return [one.base.weight is before, one.base.weight.requires_grad]

    yield Observation("the base's weight", lambda: merged(layer(ns)).base.weight)
    yield Observation("the base's weight after two calls", lambda: merged(layer(ns), 2).base.weight)
    yield Observation("the base's bias", lambda: merged(layer(ns)).base.bias)
    yield Observation("is it merged", lambda: merged(layer(ns)).merged)
    yield Observation("output afterwards", lambda: merged(layer(ns))(inputs(11)))
    yield Observation("A and B afterwards", lambda: parts(merged(layer(ns))))
    yield Observation("is it the same parameter, and does it train", same_parameter)


def probe_unmerge(ns: Namespace) -> Iterator[Observation]:
    def back(times: int = 1, *, first: bool = True) -> Any:
        one = merged(layer(ns), int(first))
        for _ in range(times):
            one.unmerge()
        return one

    def same_parameter() -> bool:
        one = merged(layer(ns))
        before = one.base.weight
        one.unmerge()
        return one.base.weight is before

    yield Observation("the base's weight", lambda: back().base.weight)
    yield Observation("the base's weight after two calls", lambda: back(2).base.weight)
    yield Observation("the base's weight, never merged", lambda: back(first=False).base.weight)
    yield Observation("is it merged", lambda: back().merged)
    yield Observation("output afterwards", lambda: back()(inputs(11)))
    yield Observation("A and B afterwards", lambda: parts(back()))
    yield Observation("is it the same parameter", same_parameter)


class Part(nn.Module):
    """c_q, c_q_wide and c_fc inside a block; `table` is no Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, IN)
        self.c_q = nn.Linear(IN, IN)
        self.c_q_wide = nn.Linear(IN, OUT, bias=False)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(OUT, IN, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp["c_fc"](self.c_q_wide(self.c_q(x)).tanh())


WORDS = 11


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(WORDS, IN)
        self.h = nn.ModuleList([Part(), Part()])
        self.c_q = nn.Linear(IN, IN)
        self.c_fc = nn.Linear(IN, IN)
        self.head = nn.Linear(IN, WORDS)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids)
        for part in self.h:
            x = part(x)
        return self.head(self.c_fc(self.c_q(x)))


NAMES = ("c_q", "c_fc", "table")


def ids() -> Tensor:
    return draw_ids("ids", WORDS, 5, 11)


def net(ns: Namespace, **how: Any) -> Any:
    """With LoRA of random numbers in it."""
    made = ns["add_lora"](awake(Net()), NAMES, **{"rank": RANK, "alpha": ALPHA} | how)
    return awake(made)


def layers(ns: Namespace, model: nn.Module) -> dict[str, Any]:
    return {n: m for n, m in model.named_modules() if isinstance(m, ns["LoRALinear"])}


def kinds_in(model: nn.Module) -> dict[str, str]:
    return {n: type(m).__name__ for n, m in model.named_modules() if n}


def probe_add_lora(ns: Namespace) -> Iterator[Observation]:
    def made(names: Any = NAMES, **how: Any) -> Any:
        model = awake(Net())
        given = {"rank": RANK, "alpha": ALPHA} | how
        ns["add_lora"](model, names, **given)
        return model

    def found(what: str, **how: Any) -> dict[str, Any]:
        return {n: getattr(m, what) for n, m in layers(ns, made(**how)).items()}

    def returned() -> list[Any]:
        model = awake(Net())
        back = ns["add_lora"](model, NAMES, RANK, ALPHA)
        return [back is model, type(back).__name__]

    def refused(*names: str) -> bool:
        return refuses(lambda: made(names))

    yield Observation("what stands where", lambda: kinds_in(made()))
    yield Observation("what stands where, for one name", lambda: kinds_in(made(("head",))))
    yield Observation("parameters that train", lambda: trainable(made()))
    yield Observation("output at first", lambda: made()(ids()))
    yield Observation("scaling of the layers", lambda: found("scaling"))
    yield Observation(
        "ranks of the layers", lambda: {n: len(m.A) for n, m in layers(ns, made()).items()}
    )
    yield Observation(
        "dropout of the layers",
        lambda: {n: m.p for n, m in found("dropout", dropout=0.3).items()},
    )
    yield Observation("refuses names that fit nothing", lambda: refused("c_k", "c_v"))
    yield Observation("refuses a name that fits no Linear", lambda: refused("table"))
    yield Observation("refuses names of which one fits", lambda: refused("c_q", "c_k"))
    yield Observation("is the model itself returned", returned)


def probe_lora_parameters(ns: Namespace) -> Iterator[Observation]:
    def names() -> list[Any]:
        model = net(ns)
        called = {id(p): n for n, p in model.named_parameters()}
        given = list(ns["lora_parameters"](model))
        return [called.get(id(p), f"a {type(p).__name__} of its own") for p in given]

    yield Observation("parameters for the optimiser", names)
    yield Observation("parameters where there is none", lambda: list(_none(ns)))


def _none(ns: Namespace) -> Any:
    return ns["lora_parameters"](awake(Net()))


def probe_trainable_share(ns: Namespace) -> Iterator[Observation]:
    def frozen() -> nn.Module:
        return awake(Net()).requires_grad_(False)

    yield Observation("share with LoRA", lambda: ns["trainable_share"](net(ns)))
    yield Observation("share where everything trains", lambda: ns["trainable_share"](awake(Net())))
    yield Observation("share where nothing trains", lambda: ns["trainable_share"](frozen()))
    yield Observation("kind of the share", lambda: type(ns["trainable_share"](net(ns))).__name__)


def probe_lora_state_dict(ns: Namespace) -> Iterator[Observation]:
    def later() -> dict[str, Tensor]:
        model = net(ns)
        state = ns["lora_state_dict"](model)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(1.0)
        return state

    def graphs() -> list[bool]:
        return [t.requires_grad for t in ns["lora_state_dict"](net(ns)).values()]

    yield Observation("names in it", lambda: sorted(ns["lora_state_dict"](net(ns))))
    yield Observation("what is kept", lambda: ns["lora_state_dict"](net(ns)))
    yield Observation("what is kept, after training on", later)
    yield Observation("does it hold a graph", graphs)


def probe_load_lora(ns: Namespace) -> Iterator[Observation]:
    def state() -> dict[str, Tensor]:
        return {n: draw(f"new {n}", *t.shape) for n, t in ns["lora_state_dict"](net(ns)).items()}

    def loaded() -> tuple[Any, dict[str, Tensor]]:
        model, given = net(ns), state()
        ns["load_lora"](model, given)
        return model, given

    def same_parameters() -> bool:
        model = net(ns)
        before = [id(p) for p in model.parameters()]
        ns["load_lora"](model, state())
        return [id(p) for p in model.parameters()] == before

    def apart() -> dict[str, Tensor]:
        model, given = loaded()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(1.0)
        return given

    def refused(change: Any) -> list[Any]:
        """Is it refused, and is the model then as it was?"""
        model, given = net(ns), state()
        change(given)
        before = {n: t.clone() for n, t in model.state_dict().items()}
        answer = refuses(lambda: ns["load_lora"](model, given))
        return [answer, all(torch.equal(t, before[n]) for n, t in model.state_dict().items())]

    def wrong_shape(given: dict[str, Tensor]) -> None:
        given["c_fc.B"] = given["c_fc.B"][:, :1]

    yield Observation("A and B afterwards", lambda: ns["lora_state_dict"](loaded()[0]))
    yield Observation("output afterwards", lambda: loaded()[0](ids()))
    yield Observation("are they the same parameters", same_parameters)
    yield Observation("the state, after training on", apart)
    yield Observation(
        "does it refuse a missing name", lambda: refused(lambda s: s.pop("c_fc.B"))[0]
    )
    yield Observation(
        "does it refuse an unknown name",
        lambda: refused(lambda s: s.update({"head.A": draw("head", 5, 9)}))[0],
    )
    yield Observation("does it refuse another shape", lambda: refused(wrong_shape)[0])
    yield Observation("the model after a refusal", lambda: refused(wrong_shape)[1])


def probe_merge_all(ns: Namespace) -> Iterator[Observation]:
    def made(*, before: str = "") -> Any:
        model = net(ns)
        if before:
            model.get_submodule(before).merge()
        ns["merge_all"](model)
        return model

    def returned() -> list[Any]:
        model = net(ns)
        back = ns["merge_all"](model)
        return [back is model, type(back).__name__]

    def own_base() -> bool:
        model = net(ns)
        base = model.c_fc.base
        ns["merge_all"](model)
        return model.c_fc is base

    yield Observation("what stands where", lambda: kinds_in(made()))
    yield Observation("output afterwards", lambda: made()(ids()))
    yield Observation("output, one layer merged before", lambda: made(before="h.1.c_q")(ids()))
    yield Observation("tensors and their shapes", lambda: shapes(made()))
    yield Observation("the weights", lambda: dict(made().state_dict()))
    yield Observation("is the model itself returned", returned)
    yield Observation("is it the layer's own base", own_base)


PROBES: dict[str, Probe] = {
    "LoRALinear.__init__": probe_init,
    "LoRALinear.delta": probe_delta,
    "LoRALinear.forward": probe_forward,
    "LoRALinear.merge": probe_merge,
    "LoRALinear.unmerge": probe_unmerge,
    "add_lora": probe_add_lora,
    "lora_parameters": probe_lora_parameters,
    "trainable_share": probe_trainable_share,
    "lora_state_dict": probe_lora_state_dict,
    "load_lora": probe_load_lora,
    "merge_all": probe_merge_all,
}
