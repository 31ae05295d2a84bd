"""Rates that travel: the rule against the `mup` package, and against what it is for.

The coordinate check trains the same small network at four widths and asks how the sizes of its
activations go with the width: under the rule they stand still, and each half of it that is taken
away shows.
"""

import dataclasses
import math

import pytest
import torch

from altgrad.model import GPT, GPTConfig
from altgrad.optim import OptimConfig, build_optimizer, width_rule
from altgrad.settings import ConfigError
from altgrad.training import unread_settings as settling
from altgrad.training.config import TrainConfig
from altgrad.training.unread_settings import settle_width_rule

BASE, V, T = 16, 11, 12
HEAD = 8
RULE = {"width_rule": "mup", "base_width": BASE}


def network(width: int, optim: dict, *, n_layer: int = 2, **model) -> tuple[GPT, OptimConfig]:
    """The network of a size under a rule, and the optimiser's settings."""
    sizes = {"vocab_size": V, "block_size": T, "n_layer": n_layer, "n_embd": width}
    heads = {"n_head": model.pop("n_head", width // HEAD)}
    config = TrainConfig(model=GPTConfig(**sizes, **heads, **model), optim=OptimConfig(**optim))
    settle_width_rule(config)
    return GPT(config.model, torch.Generator().manual_seed(0)), config.optim


def groups_by_name(model: GPT, optimizer) -> dict[str, dict]:
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return {name: of[id(p)] for name, p in model.named_parameters()}


# -- the outside oracle ---------------------------------------------------------------------------


def with_base_shapes(width: int, *, tied: bool, **model):
    """Our network as `mup` sees it: base shapes of one at the base width, its own head."""
    mup = pytest.importorskip("mup")

    def plain(at: int) -> GPT:
        made = network(at, {}, tie_head=tied, **model)[0]
        weight = made.transformer.wte.weight
        made.lm_head = (
            mup.MuSharedReadout(weight, bias=False) if tied else mup.MuReadout(at, V, bias=False)
        )
        return made

    made = plain(width)
    mup.set_base_shapes(made, plain(BASE), delta=plain(2 * BASE), rescale_params=False)
    return mup, made


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("tied", [True, False])
def test_rates_and_decay_are_those_of_the_mup_package(name, tied):
    mup, theirs = with_base_shapes(64, tied=tied)
    rate, decay = 0.01, 0.1
    make = {"adamw": mup.MuAdamW, "sgd": mup.MuSGD}[name]
    wanted = groups_by_name(theirs, make(theirs.parameters(), lr=rate, weight_decay=decay))
    rule = {**RULE, "name": name, "lr": rate, "weight_decay": decay}
    ours, config = network(64, rule, tie_head=tied)
    found = groups_by_name(ours, build_optimizer(ours, config))
    assert found.keys() == wanted.keys()
    for parameter, group in found.items():
        assert group["lr"] == pytest.approx(wanted[parameter]["lr"]), parameter
        if ours.get_parameter(parameter).ndim == 2:  # ours never decay vectors
            expected = wanted[parameter]["weight_decay"]
            assert group["weight_decay"] == pytest.approx(expected), parameter


@pytest.mark.parametrize("tied", [True, False])
def test_the_start_is_that_of_the_mup_package(tied):
    mup, theirs = with_base_shapes(128, tied=tied, init="llama")
    ours, _ = network(128, RULE, tie_head=tied, init="llama")
    for name, weight in ours.named_parameters():
        if weight.ndim == 2:
            drawn = theirs.get_parameter(name)
            mup.init.normal_(drawn, mean=0, std=0.02)
            assert weight.std().item() == pytest.approx(drawn.std().item(), rel=0.08), name


@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_the_mup_package(tied):
    _, theirs = with_base_shapes(64, tied=tied)
    ours, _ = network(64, RULE, tie_head=tied)
    theirs.load_state_dict(ours.state_dict())
    idx = torch.randint(0, V, (2, T), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(idx)[0], theirs(idx)[0])


# -- the coordinate check -------------------------------------------------------------------------

WIDTHS = (16, 32, 64, 128)
STEPS = 4


def sizes_of_activations(width: int, optim: dict, **model) -> dict[str, float]:
    """Mean |x| of the stream after the blocks, of the logits and of the scores, after a few steps.

    Of the logits: of how far they moved, since at the start they fall with the width by design.
    """
    net, config = network(width, optim, **model)
    optimizer = build_optimizer(net, config)
    draw = torch.Generator().manual_seed(2)
    idx = torch.randint(0, V, (8, T + 1), generator=draw)
    x, y = idx[:, :-1], idx[:, 1:]
    start = net(x)[0].detach()
    for _ in range(STEPS):
        optimizer.zero_grad()
        net(x, y)[1].backward()
        optimizer.step()
    seen: dict[str, torch.Tensor] = {}
    block = net.transformer.h[-1]
    block.register_forward_hook(lambda m, i, o: seen.update(stream=o))
    block.attn.c_q.register_forward_hook(lambda m, i, o: seen.update(q=o))
    block.attn.c_k.register_forward_hook(lambda m, i, o: seen.update(k=o))
    with torch.no_grad():
        logits = net(x)[0]
    heads = (8, T, net.config.n_head, -1)
    scale = net.config.attention_scale or net.config.resolved_head_dim**-0.5
    scores = (seen["q"].view(heads) * seen["k"].view(heads)).sum(-1) * scale
    sizes = {"stream": seen["stream"], "logits": logits - start, "scores": scores}
    return {name: tensor.abs().mean().item() for name, tensor in sizes.items()}


def slopes(optim: dict, **model) -> dict[str, float]:
    """Least-squares slope of log size over log width, for each activation."""
    rows = [sizes_of_activations(width, optim, **model) for width in WIDTHS]
    x = torch.tensor([math.log(w) for w in WIDTHS])
    x = x - x.mean()
    return {
        name: float(x @ torch.tensor([math.log(row[name]) for row in rows]) / (x @ x))
        for name in rows[0]
    }


RATES = {
    "adamw": {"name": "adamw", "lr": 0.01},
    "muon": {"name": "muon", "lr": 0.03, "embedding_lr": 0.01, "scalar_lr": 0.01, "head_lr": 0.01},
    "muon, matched": {"name": "muon", "muon_scale": "match_rms_adamw", "lr": 0.01},
}
"""SGD's few steps from so small a start are too noisy to measure; its rates are compared above."""
STILL, GROWS = 0.3, 0.4
"""A slope within the first is standing still; a breach of the rule shows by more than the
second."""


def grown(optim: dict, **model) -> list[str]:
    """Which activations do not stand still over the widths."""
    return [name for name, slope in slopes(optim, **model).items() if abs(slope) > STILL]


@pytest.mark.parametrize(
    ("kind", "tied"),
    [("adamw", True), ("adamw", False), ("muon", False), ("muon, matched", True)],
)
def test_under_the_rule_activations_stand_still_over_width(kind, tied):
    assert grown({**RATES[kind], **RULE}, tie_head=tied) == []


@pytest.mark.parametrize("kind", RATES)
def test_without_the_rule_they_grow(kind):
    assert slopes(RATES[kind])["logits"] > GROWS


def test_rates_that_do_not_fall_are_seen(monkeypatch):
    monkeypatch.setitem(width_rule.ADAMW, "matrix", 0.0)
    assert slopes({**RATES["adamw"], **RULE})["scores"] > GROWS


def test_a_muon_that_is_scaled_as_adamw_is_seen(monkeypatch):
    monkeypatch.setitem(width_rule.MUON, "original", width_rule.ADAMW)
    assert slopes({**RATES["muon"], **RULE})["scores"] < -GROWS


@pytest.mark.parametrize(
    ("forgotten", "seen"), [("logit_scale", "logits"), ("init_width", "scores")]
)
def test_a_half_of_the_network_that_is_forgotten_is_seen(forgotten, seen, monkeypatch):
    whole = width_rule.network_settings

    def without(config, model):
        return {k: v for k, v in whole(config, model).items() if k != forgotten}

    for place in (width_rule, settling):
        monkeypatch.setattr(place, "network_settings", without)
    assert seen in grown({**RATES["adamw"], **RULE})


def test_heads_that_grow_need_their_own_width_at_the_base():
    """Two heads at every width: the scores of one over the width of a head."""
    few = {**RATES["adamw"], **RULE}
    assert slopes({**few, "base_head_dim": BASE // 2}, n_head=2)["scores"] < STILL
    assert slopes(few, n_head=2)["scores"] > GROWS


def over_depth(optim: dict) -> float:
    """Slope of the stream's size over depth."""
    depths = (2, 4, 8, 16)
    x = torch.tensor([math.log(d) for d in depths])
    x = x - x.mean()
    sizes = [sizes_of_activations(BASE, optim, n_layer=d)["stream"] for d in depths]
    return float(x @ torch.tensor([math.log(s) for s in sizes]) / (x @ x))


def test_completep_stands_still_over_depth_and_mup_does_not():
    deep = {"width_rule": "completep", "base_width": BASE, "base_depth": 2}
    assert abs(over_depth({**RATES["adamw"], **deep})) < STILL
    assert over_depth({**RATES["adamw"], **RULE}) > GROWS


# -- what else holds ------------------------------------------------------------------------------


def test_at_the_base_nothing_changes():
    same = {"width_rule": "completep", "base_width": BASE, "base_depth": 2, "base_head_dim": HEAD}
    ruled, plain = network(BASE, {**RATES["adamw"], **same}), network(BASE, RATES["adamw"])
    for a, b in zip(ruled[0].parameters(), plain[0].parameters(), strict=True):
        assert torch.equal(a, b)
    groups = [build_optimizer(*pair).param_groups for pair in (ruled, plain)]
    for a, b in zip(*groups, strict=True):
        assert (a["lr"], a["weight_decay"], a["eps"]) == (b["lr"], b["weight_decay"], b["eps"])


def test_completep_scales_epsilon_as_the_gradients_fall():
    deep = {"width_rule": "completep", "base_width": BASE, "base_depth": 2, "eps": 1e-8}
    model, config = network(64, {**RATES["adamw"], **deep}, n_layer=6, tie_head=False)
    groups = groups_by_name(model, build_optimizer(model, config))
    found = {name: groups[name]["eps"] * 1e8 for name in groups}
    assert found["transformer.h.0.attn.c_q.weight"] == pytest.approx(1 / 12)
    assert found["lm_head.weight"] == pytest.approx(1 / 4)
    assert model.config.branch_scale == pytest.approx(1 / 3)


def test_a_network_without_the_rule_is_refused_by_the_optimiser():
    plain, _ = network(64, {})
    with pytest.raises(ValueError, match=r"settle_width_rule\(config\)"):
        build_optimizer(plain, OptimConfig(**RULE))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"width_rule": "mupp"}, "not one of mup, completep"),
        ({"name": "madam"}, "does not know optim.name='madam'"),
        ({"name": "ulp_adamw"}, "does not know optim.name='ulp_adamw'"),
        ({"base_width": None}, "needs optim.base_width"),
        ({"width_rule": "completep"}, "needs optim.base_depth"),
        ({"width_scaling": True}, "two rules for one thing"),
        ({"base_head_dim": 0}, "base_head_dim=0 must be at least 1"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(changes, expected):
    with pytest.raises(ValueError, match=expected):
        OptimConfig(**{**RULE, **changes}).check()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"n_inner": 64}, "model.n_inner=null"),
        ({"logit_scale": 3.0}, "model.logit_scale=3.0 is not what optim.width_rule=mup makes it"),
        ({"init_width": 5}, "model.init_width=5 is not what"),
    ],
)
def test_a_network_that_contradicts_the_rule_is_refused(model, expected):
    with pytest.raises(ConfigError, match=expected):
        network(64, RULE, **model)


def test_settling_twice_is_settling_once():
    config = TrainConfig(
        model=GPTConfig(n_embd=64, n_head=8, vocab_size=V), optim=OptimConfig(**RULE)
    )
    settle_width_rule(config)
    once = config.to_dict()
    settle_width_rule(config)
    assert config.to_dict() == once
    assert dataclasses.asdict(config.model)["init_width"] == BASE
