"""Every check of `verify` must be able to fail: a sound network is spoiled in one thing, and the
check that watches over it says so, in its own words."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from altgrad.learn.verify import network, null_test, numbers, overfit
from altgrad.learn.verify.result import Check, Failed
from altgrad.learn.verify.subject import Subject, shrink
from altgrad.learn.verify.verify import CHECKS
from altgrad.model import GPT, GPTConfig, preset
from altgrad.optim import OptimConfig
from altgrad.quantization import linear
from altgrad.quantization.convert import ConversionReport
from altgrad.training import TrainConfig
from tests.learn.outside import Doubled, Gated


@dataclass
class Spoiled(Subject):
    """`spoil(model)` is called on every model that a check gets."""

    spoil: Any = None

    def fresh(self, **changes: Any) -> GPT:
        model = super().fresh(**changes)
        self.spoil(model)
        return model


def run(check: str, spoil=lambda model: None, **parts):
    settings = TrainConfig(model=preset("gpt2", **parts))
    settings.precision.simulate, settings.precision.format = True, "e4m3"
    (found,) = [c for c in CHECKS if c.name == check]
    return found(Spoiled(settings, shrink(settings.model), spoil))


def answering(change):
    """Spoils what the network answers: `change(model, logits, loss, idx, kv_cache)`."""

    def spoil(model: GPT) -> None:
        plain = model.forward

        def forward(idx, targets=None, kv_cache=None, **how):
            return change(model, *plain(idx, targets, kv_cache, **how), idx, kv_cache)

        model.forward = forward

    return spoil


def reading(change):
    """Spoils what the network reads."""

    def spoil(model: GPT) -> None:
        plain = model.forward
        model.forward = lambda idx, *rest, **how: plain(change(idx), *rest, **how)

    return spoil


def gradient(change):
    """Spoils the gradient of one matrix."""

    def spoil(model: GPT) -> None:
        model.transformer.h[0].mlp.c_fc.weight.register_hook(change)

    return spoil


def without_positions(model: GPT) -> None:
    model.transformer.wpe.forward = lambda x, start, documents=None: (x, None)


def with_an_idle_tensor(model: GPT) -> None:
    model.idle = nn.Parameter(torch.ones(3, dtype=torch.float64))


def never_training(model: GPT) -> None:
    model.train = lambda mode=True: nn.Module.train(model, False)


def copied_wrongly(model: GPT) -> None:
    model.__deepcopy__ = lambda memo: GPT(model.config, torch.Generator().manual_seed(5)).double()


def with_a_secret(model: GPT) -> None:
    """A number that every model has anew and that no state_dict knows."""
    secret = torch.rand((), generator=torch.Generator().manual_seed(id(model) % 2**31))
    answering(lambda m, logits, loss, idx, cache: (logits + secret, loss))(model)


def scaled(factor_of):
    """Logits times a factor of the model, the ids and the cache."""
    return answering(lambda m, logits, loss, idx, cache: (logits * factor_of(m, idx, cache), loss))


FAULTS = [
    ("logits", answering(lambda m, y, loss, *_: (y[..., :-1], loss)), "expected [3, 5, 23]"),
    ("logits", answering(lambda m, y, loss, *_: (y / 0, loss)), "not finite"),
    (
        "logits",
        answering(lambda m, y, loss, *_: (y, loss if loss is None else loss[None])),
        "a scalar",
    ),
    ("dtype and device", answering(lambda m, y, loss, *_: (y.float(), loss)), "float32 logits"),
    ("first loss", answering(lambda m, y, loss, *_: (y, 2 * loss)), "expected about ln V"),
    ("causal, by changing the future", reading(lambda idx: idx.flip(1)), "sees the future"),
    ("positions matter", reading(lambda idx: idx.sort(dim=1).values), "positions are not seen"),
    ("shifts", without_positions, "learned is absolute"),
    ("gradients", gradient(lambda g: 0 * g), "zero everywhere"),
    ("gradients", gradient(lambda g: g / 0), "not finite"),
    ("gradients", with_an_idle_tensor, "idle gets no gradient"),
    ("dropout", never_training, "does nothing in training"),
    ("dropout", scaled(lambda m, *_: 1 + m.config.dropout), "changes evaluation by"),
    ("copies", copied_wrongly, "a deep copy answers differently"),
    ("copies", with_a_secret, "the same state_dict differs"),
    ("KV cache", scaled(lambda m, idx, cache: 1 + (cache is not None)), "position"),
    (
        "attention backends",
        scaled(lambda m, *_: 1 + (m.config.attention_backend == "math")),
        "math differs from the explicit path",
    ),
    ("accumulation", answering(lambda m, y, loss, idx, _: (y, loss * len(idx))), "two half"),
]


@pytest.mark.parametrize(("check", "spoil", "words"), FAULTS, ids=[f[2] for f in FAULTS])
def test_a_fault_is_noticed_by_its_check(check, spoil, words):
    found = run(check, spoil)
    assert found.passed is False
    assert words in found.evidence


@pytest.mark.slow
def test_compiling_that_changes_gradients_is_noticed():
    def twice(m, logits, loss, idx, cache):
        return logits, loss * (2 if torch.compiler.is_compiling() else 1)

    assert "the gradient of" in run("torch.compile", answering(twice)).evidence


@pytest.mark.parametrize("method", ["estimate_flops", "num_parameters"])
def test_a_wrong_count_is_noticed(monkeypatch, method):
    right = getattr(GPT, method)
    monkeypatch.setattr(GPT, method, lambda self, **how: right(self, **how) + 1)
    assert run("parameters and FLOPs").passed is False


def test_a_closed_form_that_is_not_met_is_noticed(monkeypatch):
    monkeypatch.setattr(network, "_expected_parameters", lambda model: 1)
    assert "the closed form gives 1" in run("parameters and FLOPs").evidence


# -- recipes --------------------------------------------------------------------------------------


def test_a_recipe_that_reaches_no_layer_is_noticed(monkeypatch):
    monkeypatch.setattr(numbers, "apply_recipe", lambda model, recipe: ConversionReport())
    assert "rounds no layer" in run("what is rounded").evidence
    assert "rounding changes nothing" in run("stripping").evidence


def test_a_recipe_that_cannot_be_taken_out_is_noticed(monkeypatch):
    monkeypatch.setattr(numbers, "strip_recipe", lambda model: model)
    assert "leaves a trace" in run("stripping").evidence


@pytest.mark.parametrize(
    ("product", "words"), [(1, "output"), (2, "gradient of the input"), (3, "of the weight")]
)
def test_each_product_that_is_not_the_declared_one_is_noticed(monkeypatch, product, words):
    right, calls = linear.multiply, []

    def wrong(*operands):
        calls.append(1)
        return right(*operands) * (1.001 if len(calls) == product else 1.0)

    monkeypatch.setattr(linear, "multiply", wrong)
    found = run("surrogate gradients")
    assert found.passed is False
    assert words in found.evidence


# -- whole trainings ------------------------------------------------------------------------------


class GatedBackwards(Gated):
    """Its answers are the control's, its gradients are not."""

    def forward(self, x, cos_sin=None, kv_cache=None):
        return Doubled.apply(super().forward(x, cos_sin, kv_cache))


def test_the_null_test_compares_gradients_before_they_show_in_a_loss(monkeypatch):
    monkeypatch.setattr(null_test, "STEPS", 1)
    assert run("null test", attention="tests.learn.outside:Gated").passed is True
    found = run("null test", attention="tests.learn.test_verify_notices:GatedBackwards")
    assert found.passed is False


def test_an_optimiser_that_does_not_move_does_not_learn_by_heart(monkeypatch):
    monkeypatch.setattr(overfit, "MAX_STEPS", 2)
    settings = TrainConfig(model=preset("gpt2"), optim=OptimConfig(lr=0.0))
    (check,) = [c for c in CHECKS if c.name == "over-fits one batch"]
    found = check(Subject(settings, shrink(settings.model)))
    assert found.passed is False
    assert "expected below 0.01" in found.evidence


# -- what a check says ----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Failed("no"), RuntimeError("no"), ZeroDivisionError("no")])
def test_a_check_that_complains_or_breaks_has_not_passed(error):
    def fail(subject):
        raise error

    found = Check("name", "proves", "look at", fail)(None)
    assert found.passed is False
    assert found.evidence.endswith("no")
    assert found.lines()[-1] == "    look at: look at"


@pytest.mark.parametrize(
    ("heads", "kv_heads", "small"),
    [(12, 12, (2, 2)), (8, 2, (8, 2)), (6, 1, (2, 1)), (12, 4, (6, 2)), (32, 4, (4, 2))],
)
def test_shrinking_keeps_the_groups_of_heads_as_far_as_four(heads, kv_heads, small):
    config = shrink(GPTConfig(n_head=heads, n_kv_head=kv_heads, n_embd=8 * heads))
    assert (config.n_head, config.n_kv_head) == small
    assert config.n_embd == 8 * config.n_head


def test_a_model_that_is_awake_has_no_zeros_to_hide_behind():
    settings = TrainConfig(model=preset("nanochat"))
    subject = Subject(settings, shrink(settings.model))
    assert math.log(23) == pytest.approx(
        subject.fresh()(subject.ids(), subject.ids(seed=1))[1].item(), abs=1e-4
    )
    assert all(bool((p != 0).any()) for p in subject.awake().parameters())
    assert subject.awake()(subject.ids())[0].std() > 0.1
