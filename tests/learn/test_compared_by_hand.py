"""How a learner's values are compared, and what the race gives both models, on made-up values."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from altgrad.learn import race
from altgrad.learn.observe import Failure, differences, double_stays_double
from altgrad.learn.questions import bench
from altgrad.learn.track import Track
from altgrad.model import GPT, preset

ONE = torch.tensor([1.0, 2.0], dtype=torch.float64)

PAIRS = [
    ("dtype", ONE, ONE.float()),
    ("shape", ONE, ONE[None]),
    ("device", ONE, ONE.to("meta")),
    ("value", ONE, ONE + torch.tensor([0.0, 1e-8], dtype=torch.float64)),
    ("value", ONE, torch.tensor([1.0, math.nan], dtype=torch.float64)),
    ("length", [1, 2], [1, 2, 3]),
    ("length", (ONE, ONE), (ONE,)),
    ("keys", {"a": 1}, {"b": 1}),
    ("value", {"a": {"b": ONE}}, {"a": {"b": 2 * ONE}}),
    ("value", 1.0, 1.0 + 1e-8),
    ("value", 3, 4),
    ("value", 1.0, math.nan),
    ("type", ONE, [1.0, 2.0]),
    ("type", "1", 1),
    ("value", True, False),
    ("exception", ONE, Failure("ValueError", "no")),
    ("exception", Failure("ValueError", "no"), ONE),
    ("exception", Failure("ValueError", "no"), Failure("TypeError", "no")),
]


@pytest.mark.parametrize(("what", "expected", "got"), PAIRS)
def test_what_is_different_is_named(what, expected, got):
    (found,) = differences({"label": expected}, {"label": got})
    assert found.what == what


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (ONE, ONE * (1 + 1e-12)),
        ([1, (2.0, ONE)], (1, [2.0, ONE])),
        (Failure("ValueError", "no"), Failure("ValueError", "no", line=7)),
        (math.nan, math.nan),
        (3, 3.0),
        (torch.zeros(0), torch.zeros(0)),
    ],
)
def test_what_is_the_same_raises_no_alarm(expected, got):
    assert differences({"label": expected}, {"label": got}) == []


def test_every_label_has_its_own_tolerance():
    expected, got = {"a": ONE, "b": ONE}, {"a": ONE * 1.001, "b": ONE * 1.001}
    assert [d.label for d in differences(expected, got, rtol={"a": 0.01, "b": 1e-9})] == ["b"]


def test_casts_to_single_precision_are_held_back_inside_only():
    with double_stays_double():
        assert ONE.float().dtype == ONE.to(torch.float32).dtype == torch.float64
        assert ONE.half().float().dtype == torch.float32
    assert ONE.float().dtype == torch.float32


# -- the race -------------------------------------------------------------------------------------

SMALL = race.RaceSettings(
    steps=4, batch_size=2, length=16, n_layer=1, n_head=2, n_kv_head=1, n_embd=16
)


def test_the_learner_starts_from_the_references_weights_whatever_it_draws(tmp_path):
    track, path = Track("nanochat"), tmp_path / "my_gpt.py"
    draw = "self.apply(self._init_weights)"
    assert track.source.count(draw) == 1
    path.write_text(track.source.replace(draw, f"torch.rand(7), {draw}"))
    theirs, mine = race._line_up(track, path, 11, SMALL)
    own = dict(mine.model.named_parameters())
    for name, parameter in theirs.model.named_parameters():
        assert torch.equal(parameter, own[name])


class Modal(nn.Module):
    """Loses 1 while it is evaluated and 100 while it is trained."""


def test_the_validation_loss_is_that_of_a_model_in_evaluation():
    harness = SimpleNamespace(
        loss=lambda model, idx, targets: torch.tensor(100.0 if model.training else 1.0)
    )
    runner = race.Runner("yours", Modal().train(), [], harness)
    tokens = torch.arange(100).numpy() % 11
    assert race._evaluate(runner, tokens, SMALL) == 1.0


def test_rates_stay_for_half_the_race_and_fall_to_zero():
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    optimizer.param_groups[0]["initial_lr"] = 1.0
    model = nn.Module()
    harness = SimpleNamespace(loss=lambda model, idx, targets: 0 * parameter.sum())
    runner = race.Runner("yours", model, [optimizer], harness)
    rates = []
    for step in range(8):
        race._advance(runner, (None, None), step, race.RaceSettings(steps=8))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0] * 5 + [0.75, 0.5, 0.25]


def test_rates_of_the_bench_grow_as_its_model_is_narrower_than_768():
    model = GPT(preset("nanochat", vocab_size=11, **bench.SIZES))
    groups = bench.optimizer_of(model, bench.Arm("arm")).param_groups
    rule = math.sqrt(768 / 128)
    rates = {g["name"]: g["lr"] for g in groups}
    assert rates["embedding"] == pytest.approx(0.2 * rule)
    assert rates["head"] == pytest.approx(0.004 * rule)
    assert rates["matrix"] == 0.02
