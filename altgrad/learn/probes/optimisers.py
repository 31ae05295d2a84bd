"""Probes of the optimisers track. Sizes are no letter of a GPT's contract: 5, 9, 11, 13."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.learn.observe import Observation, Probe
from altgrad.learn.probes.common import draw, refuses, unchanged

Namespace = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]
SHAPE = (5, 9)
BETAS, EPS = (0.8, 0.95), 1e-3

grad = partial(draw, "grad", *SHAPE)
average = partial(draw, "average", *SHAPE)


def probe_moving_average(ns: Namespace) -> Iterator[Observation]:
    def f(a: Tensor, g: Tensor, beta: float) -> Tensor:
        return ns["moving_average"](a, g, beta)

    yield Observation("result for beta 0.9", lambda: f(average(), grad(), 0.9))
    yield Observation("result for beta 0", lambda: f(average(), grad(), 0.0))
    yield Observation("of a constant it is the constant", lambda: f(average(), average(), 0.7))
    yield Observation(
        "average left as it was", lambda: unchanged(lambda a: f(a, grad(), 0.9), average())
    )
    yield Observation(
        "value left as it was", lambda: unchanged(lambda g: f(average(), g, 0.9), grad())
    )


def probe_debiased(ns: Namespace) -> Iterator[Observation]:
    for step in (1, 3, 500):
        label = f"result at step {step}"
        yield Observation(label, partial(lambda t: ns["debiased"](average(), 0.9, t), step))
    yield Observation("result for beta 0", lambda: ns["debiased"](average(), 0.0, 3))
    yield Observation(
        "average left as it was", lambda: unchanged(lambda a: ns["debiased"](a, 0.9, 3), average())
    )


def probe_adamw_update(ns: Namespace) -> Iterator[Observation]:
    def after(steps: int, *, eps: float = EPS, scale: float = 1.0) -> tuple[Tensor, dict]:
        state: dict[str, Any] = {}
        for i in range(steps):
            update = ns["adamw_update"](scale * draw(f"grad {i}", *SHAPE), state, BETAS, eps)
        return update, state

    yield Observation("update at the first step", lambda: after(1)[0])
    yield Observation("update at the third step", lambda: after(3)[0])
    yield Observation("update with gradients near eps", lambda: after(3, scale=1e-3)[0])
    yield Observation("update with eps 1e-8", lambda: after(2, eps=1e-8)[0])
    yield Observation("names in the state", lambda: sorted(after(1)[1]))
    yield Observation("counted steps", lambda: after(3)[1]["step"])
    yield Observation("m after three steps", lambda: after(3)[1]["m"])
    yield Observation("v after three steps", lambda: after(3)[1]["v"])
    yield Observation(
        "gradient left as it was",
        lambda: unchanged(lambda g: ns["adamw_update"](g, {}, BETAS, EPS), grad()),
    )


class Trial:
    """Three parameters under one optimiser, fed with gradients that depend on the step only."""

    def __init__(
        self, kind: Any, shapes: dict[str, tuple[int, ...]], groups: Any = None, **how: Any
    ):
        self.params = {n: nn.Parameter(draw(n, *shape)) for n, shape in shapes.items()}
        made = groups(self.params) if groups else list(self.params.values())
        self.optimizer = kind(made, **how)

    def steps(self, number: int, *, without: str = "", until: int = 0) -> dict[str, Tensor]:
        for i in range(number):
            for name, p in self.params.items():
                idle = name == without and i >= until
                p.grad = None if idle else draw(f"{name} {i}", *p.shape)
            self.optimizer.step()
        return {n: p.detach() for n, p in self.params.items()}


def probe_optimizer_init(
    name: str, shapes: dict[str, tuple[int, ...]], given: dict[str, Any], wrong: dict[str, Any]
) -> Probe:
    """Defaults, settings given, settings of one group, and what is refused."""

    def probe(ns: Namespace) -> Iterator[Observation]:
        def made(groups: Any = None, **how: Any) -> list[dict[str, Any]]:
            found = Trial(ns[name], shapes, groups, **how).optimizer.param_groups
            return [{k: v for k, v in group.items() if k != "params"} for group in found]

        def two(params: dict[str, Any]) -> list[dict[str, Any]]:
            first, *others = params.values()
            return [{"params": [first], "lr": 0.5}, {"params": others}]

        yield Observation("what a group keeps by default", lambda: made()[0])
        yield Observation("what a group keeps when given", lambda: made(**given)[0])
        yield Observation("rates of two groups", lambda: [g["lr"] for g in made(two)])
        for label, how in wrong.items():
            trial = partial(Trial, ns[name], **{"shapes": shapes} | how)
            yield Observation(f"does it refuse {label}", partial(refuses, trial))

    return probe


ADAMW_SHAPES: Shapes = {"a": (5, 9), "b": (11,), "c": (9, 5)}
MUON_SHAPES: Shapes = {"a": (5, 9), "b": (9, 5), "c": (9, 9)}


def probe_optimizer_step(
    name: str,
    shapes: dict[str, tuple[int, ...]],
    how: dict[str, Any],
    others: dict[str, Any] | None = None,
) -> Probe:
    """others: settings that are asked once more with another value."""
    others = others or {}

    def probe(ns: Namespace) -> Iterator[Observation]:
        def trial(**more: Any) -> Trial:
            return Trial(ns[name], shapes, **how | more)

        def with_two_groups() -> dict[str, Tensor]:
            def groups(params: dict[str, Any]) -> list[dict[str, Any]]:
                first, *others = params.values()
                return [{"params": [first], "lr": 0.5, "weight_decay": 0.1}, {"params": others}]

            return trial(groups=groups).steps(2)

        def with_a_schedule() -> dict[str, Tensor]:
            one = trial()
            one.steps(1)
            one.optimizer.param_groups[0]["lr"] = 0.3
            return one.steps(1)

        def gradients_left() -> bool:
            one = trial()
            one.steps(1)
            pairs = [(p.grad, draw(f"{n} 0", *p.shape)) for n, p in one.params.items()]
            return all(g is not None and torch.equal(g, wanted) for g, wanted in pairs)

        def same_objects() -> list[bool]:
            one = trial()
            before = [id(p) for p in one.optimizer.param_groups[0]["params"]]
            one.steps(1)
            after = one.optimizer.param_groups[0]["params"]
            return [[id(p) for p in after] == before, all(p.requires_grad for p in after)]

        yield Observation("parameters after one step", lambda: trial().steps(1))
        yield Observation("parameters after five steps", lambda: trial().steps(5))
        yield Observation(
            "parameters after three steps that decay", lambda: trial(weight_decay=0.3).steps(3)
        )
        yield Observation("parameters in two groups", with_two_groups)
        yield Observation("parameters when the rate changes", with_a_schedule)
        yield Observation(
            "parameters where one never has a gradient", lambda: trial().steps(3, without="b")
        )
        yield Observation(
            "parameters where one has a gradient once",
            lambda: trial().steps(3, without="b", until=1),
        )
        yield Observation(
            "parameters that decay where one never has a gradient",
            lambda: trial(weight_decay=0.3).steps(3, without="b"),
        )
        for setting, value in others.items():
            told = f"parameters after three steps with {setting} {value}"
            yield Observation(
                told, partial(lambda **how: trial(**how).steps(3), **{setting: value})
            )
        yield Observation("gradients left as they were", gradients_left)
        yield Observation("the same parameters, and do they still train", same_objects)

    return probe


def probe_newton_schulz(ns: Namespace) -> Iterator[Observation]:
    def f(rows: int, columns: int, *more: Any, scale: float = 1.0) -> Tensor:
        return ns["newton_schulz"](scale * draw("matrix", rows, columns), *more)

    yield Observation("result for a wide matrix", lambda: f(5, 9))
    yield Observation("result for a tall matrix", lambda: f(9, 5))
    yield Observation("result for a square matrix", lambda: f(9, 9))
    yield Observation("result after one step", lambda: f(5, 9, 1))
    yield Observation("result for a matrix a million times larger", lambda: f(5, 9, scale=1e6))
    yield Observation("result for zeros", lambda: f(5, 9, scale=0.0))
    yield Observation(
        "matrix left as it was", lambda: unchanged(lambda m: ns["newton_schulz"](m), grad())
    )


def probe_muon_scale(ns: Namespace) -> Iterator[Observation]:
    for rows, columns in ((5, 5), (45, 5), (5, 45), (11, 9)):
        label = f"factor for {rows} rows and {columns} columns"
        yield Observation(label, partial(lambda r, c: ns["muon_scale"](r, c), rows, columns))


def probe_muon_direction(ns: Namespace) -> Iterator[Observation]:
    def after(steps: int, nesterov: bool) -> tuple[Tensor, dict]:
        state: dict[str, Any] = {}
        for i in range(steps):
            found = ns["muon_direction"](draw(f"grad {i}", *SHAPE), state, 0.9, nesterov)
        return found, state

    yield Observation("direction at the first step", lambda: after(1, False)[0])
    yield Observation("direction at the third step", lambda: after(3, False)[0])
    yield Observation("direction at the first step, Nesterov", lambda: after(1, True)[0])
    yield Observation("direction at the third step, Nesterov", lambda: after(3, True)[0])
    yield Observation("m after three steps", lambda: after(3, True)[1]["m"])
    yield Observation(
        "gradient left as it was",
        lambda: unchanged(lambda g: ns["muon_direction"](g, {}, 0.9, True), grad()),
    )


class Small(nn.Module):
    """The names of a GPT, in an order that is not that of the groups."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(11, 5)
        self.c_fc = nn.Linear(5, 9)
        self.norm = nn.LayerNorm(9)
        self.filter = nn.Parameter(torch.zeros(5, 3, 3))
        self.c_proj = nn.Linear(9, 5, bias=False)
        self.frozen = nn.Linear(5, 5, bias=False).requires_grad_(False)
        self.wpe = nn.Embedding(13, 5)
        self.lm_head = nn.Linear(5, 11, bias=False)


def probe_split_parameters(ns: Namespace) -> Iterator[Observation]:
    def names() -> list[list[str]]:
        model = Small()
        called = {id(p): n for n, p in model.named_parameters()}
        lists = ns["split_parameters"](model)
        return [[called.get(id(p), f"a {type(p).__name__}") for p in part] for part in lists]

    yield Observation("parameters for Muon", lambda: names()[0])
    yield Observation("parameters for AdamW", lambda: names()[1])
    yield Observation("number of lists", lambda: len(names()))


ADAMW_GIVEN = {"lr": 0.1, "betas": (0.5, 0.6), "eps": 1e-4, "weight_decay": 0.3}
MUON_GIVEN = {"lr": 0.1, "momentum": 0.5, "nesterov": False, "ns_steps": 3, "weight_decay": 0.3}

PROBES: dict[str, Probe] = {
    "moving_average": probe_moving_average,
    "debiased": probe_debiased,
    "adamw_update": probe_adamw_update,
    "AdamW.__init__": probe_optimizer_init(
        "AdamW",
        ADAMW_SHAPES,
        ADAMW_GIVEN,
        {
            "a negative rate": {"lr": -0.1},
            "a first beta of 1": {"betas": (1.0, 0.9)},
            "a second beta of 1": {"betas": (0.9, 1.0)},
            "betas of 1.5": {"betas": (1.5, 1.5)},
        },
    ),
    "AdamW.step": probe_optimizer_step(
        "AdamW", ADAMW_SHAPES, {"lr": 0.1, "betas": BETAS, "eps": EPS, "weight_decay": 0.0}
    ),
    "newton_schulz": probe_newton_schulz,
    "muon_scale": probe_muon_scale,
    "muon_direction": probe_muon_direction,
    "Muon.__init__": probe_optimizer_init(
        "Muon", MUON_SHAPES, MUON_GIVEN, {"a vector": {"shapes": {"a": (5, 9), "b": (11,)}}}
    ),
    "Muon.step": probe_optimizer_step(
        "Muon", MUON_SHAPES, {"lr": 0.1, "ns_steps": 2}, {"momentum": 0.8, "nesterov": False}
    ),
    "split_parameters": probe_split_parameters,
}
