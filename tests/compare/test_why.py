"""What else differed and moved with the outcome: against scipy, and right about planted answers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from altgrad.compare.outcomes import Outcome
from altgrad.compare.report.why import WHY, why_table
from altgrad.compare.why import MOST_ROWS, why
from altgrad.compare.why.association import rank_correlation

SEEDS = 5
STEPS = range(10, 101, 10)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


class Bench:
    """Run folders with nothing but metrics, and the outcomes that belong to them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.runs: dict[str, dict[int, Path]] = {}
        self.outcomes: dict[str, list[Outcome]] = {}

    def run(self, arm: str, seed: int, loss: float, lines: list[dict], step: int = 100) -> None:
        folder = self.base / f"{arm}-{seed}"
        folder.mkdir()
        (folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in lines))
        made = Outcome(arm, seed, str(folder), "finished", loss, step, None, None, None, "")
        self.runs.setdefault(arm, {})[seed] = folder
        self.outcomes.setdefault(arm, []).append(made)

    def arms(self, metrics, losses) -> None:
        """metrics: (arm, seed, step) -> the numbers of a line."""
        for arm, row in losses.items():
            for seed, loss in enumerate(row, 1):
                lines = [{"step": s, **metrics(arm, seed, s)} for s in STEPS]
                self.run(arm, seed, loss, lines)

    def why(self, primary: str = "val_loss"):
        return why(self.runs, self.outcomes, control="a", primary=primary)


LOSSES = {"a": [2.50, 2.61, 2.47, 2.55, 2.58], "b": [2.41, 2.57, 2.40, 2.50, 2.47]}


def noise(*key: object) -> float:
    return float(np.random.default_rng([ord(c) for c in str(key)]).normal())


def test_the_difference_is_scipys_paired_t_and_the_correlation_scipys_spearman(bench):
    bench.arms(lambda arm, seed, step: {"flips/total": noise(arm, seed, step)}, LOSSES)
    (row,) = bench.why().rows
    means = {
        arm: [np.mean([noise(arm, s, step) for step in STEPS]) for s in range(1, SEEDS + 1)]
        for arm in LOSSES
    }
    t = stats.ttest_rel(means["b"], means["a"])
    interval = t.confidence_interval()
    (d,) = row.differences
    assert d.mean == pytest.approx(np.mean(means["b"]) - np.mean(means["a"]), rel=1e-4)
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high), rel=1e-4)
    both = means["a"] + means["b"], LOSSES["a"] + LOSSES["b"]
    assert row.correlation == pytest.approx(stats.spearmanr(*both).statistic)
    assert (row.runs, row.arms, d.pairs) == (10, 2, SEEDS)


def test_ties_share_a_rank_as_in_scipy():
    a, b = np.array([1.0, 2.0, 2.0, 3.0, 3.0, 3.0]), np.array([3.0, 1.0, 2.0, 2.0, 5.0, 5.0])
    assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert rank_correlation(a, np.ones(6)) is None


def planted(arm: str, seed: int, step: int) -> dict[str, float]:
    """From step 40 on arm b loses fewer updates, most of all in h.1; the rest is noise."""
    there = 0.4 if arm == "b" and step >= 40 else 0.0
    return {
        "bit_stall/total": 0.9 - there + 0.01 * noise(arm, seed, step),
        "bit_stall/transformer.h.0.mlp.weight": 0.9 - there / 2 + 0.01 * noise("h0", seed, step),
        "bit_stall/transformer.h.1.mlp.weight": 0.9 - 2 * there + 0.01 * noise("h1", seed, step),
        "unrelated": noise("other", arm, seed, step),
    }


def test_a_planted_cause_comes_first_with_its_layer_and_its_step(bench):
    bench.arms(planted, {"a": [2.5, 2.6, 2.4], "b": [2.1, 2.2, 2.0]})
    found = bench.why()
    first = found.rows[0]
    assert (first.metric, first.item) == ("bit_stall", "total")
    (d,) = first.differences
    assert (d.layer, d.from_step) == ("h.1.mlp", 40)
    assert d.layer_mean == pytest.approx(-0.8 * 0.7, abs=0.02)
    assert found.tried == 2


def test_a_difference_that_turns_counts_from_where_it_keeps_its_sign(bench):
    def metrics(arm, seed, step):
        there = (-1.0 if step <= 30 else 3.0) * (arm == "b")
        return {"m": there + 0.01 * noise(arm, seed, step)}

    bench.arms(metrics, LOSSES)
    assert bench.why().rows[0].differences[0].from_step == 40


def test_what_does_not_differ_names_no_layer_and_no_step(bench):
    def metrics(arm, seed, step):
        return {f"amax/{layer}": noise(layer, arm, seed, step) for layer in ("mean", "h.0", "h.1")}

    bench.arms(metrics, LOSSES)
    (d,) = bench.why().rows[0].differences
    assert d.low < 0 < d.high
    assert (d.layer, d.layer_mean, d.from_step) == ("", None, None)


def test_constants_dust_nan_outcomes_and_costs_are_no_mechanism(bench):
    def metrics(arm, seed, step):
        return {
            "skipped": 0.0,
            "arrived_rate/total": 1.0 + 1e-9 * noise(arm, seed),
            "grad_snr/mean": math.nan,
            "grad_snr/h.0": math.inf,
            "val_loss_unrounded": noise(arm, seed),
            "step_ms": noise(seed, arm),
            "mine": noise(arm, seed, step),
        }

    bench.arms(metrics, LOSSES)
    assert [row.metric for row in bench.why().rows] == ["mine"]
    assert bench.why(primary="mine").rows == ()


def test_a_lost_run_and_its_pair_do_not_count(bench):
    bench.arms(lambda arm, seed, step: {"m": noise(arm, seed, step)}, LOSSES)
    lost = bench.outcomes["b"].pop()
    bench.outcomes["b"].append(Outcome(**{**lost.__dict__, "outcome": math.nan}))
    (row,) = bench.why().rows
    assert (row.runs, row.differences[0].pairs) == (9, 4)


def test_an_arm_that_is_lost_wholly_leaves_the_others(bench):
    bench.arms(lambda arm, seed, step: {"m": noise(arm, seed, step)}, LOSSES)
    bench.run("c", 1, math.nan, [])
    assert [d.arm for d in bench.why().rows[0].differences] == ["b"]
    bench.outcomes["a"] = [
        Outcome(**{**o.__dict__, "outcome": math.nan}) for o in bench.outcomes["a"]
    ]
    assert bench.why().rows == ()


def test_a_metric_that_one_arm_cannot_have_says_nothing_and_missing_steps_are_missing_for_all(
    bench,
):
    def metrics(arm, seed, step):
        own = {"stall": noise(arm, seed, step)} if arm == "b" else {}
        late = {"late": 1.0 * (arm == "b") + noise(step)} if arm == "b" or step > 50 else {}
        return own | late

    bench.arms(metrics, LOSSES)
    (row,) = bench.why().rows
    assert row.metric == "late"
    (d,) = row.differences
    assert d.mean == pytest.approx(1.0, abs=1e-4)  # not the mean over b's first steps, too
    assert d.from_step == 60


def test_without_a_total_the_layers_that_all_runs_have_stand_for_the_group(bench):
    def metrics(arm, seed, step):
        extra = {f"other/{arm}": noise(step)} if arm != "a" else {"other/a": noise(step)}
        own = {"rate/only_b": 100.0} if arm == "b" else {}
        return {"rate/0": 1.0 * (arm == "b"), "rate/1": 3.0 * (arm == "b"), **own, **extra}

    bench.arms(metrics, LOSSES)
    (row,) = bench.why().rows
    assert (row.metric, row.item) == ("rate", "")
    (d,) = row.differences
    assert (d.mean, d.layer, d.layer_mean) == (2.0, "1", 3.0)


@pytest.mark.parametrize("seeds", [0, 1])
def test_too_few_runs_say_nothing(bench, seeds):
    bench.arms(
        lambda arm, seed, step: {"m": noise(arm, seed)}, {a: v[:seeds] for a, v in LOSSES.items()}
    )
    assert bench.why().rows == ()
    assert bench.why().tried == 0


def test_of_thousands_of_metrics_ten_are_shown_and_all_are_counted(bench):
    names = [f"g{i}/{item}" for i in range(400) for item in ("mean", "h.0", "h.1", "h.2")]
    draw = np.random.default_rng(0)
    bench.arms(lambda *_: dict(zip(names, draw.normal(size=len(names)), strict=True)), LOSSES)
    found = bench.why()
    assert (len(found.rows), found.tried) == (MOST_ROWS, 400)
    strength = [abs(row.correlation) for row in found.rows]
    assert strength == sorted(strength, reverse=True)
    json.dumps(found.to_dict(), allow_nan=False)


def test_runs_of_different_length_meet_at_equal_shares(bench):
    for arm, length in (("a", 30), ("b", 60)):
        for seed, loss in enumerate(LOSSES[arm], 1):
            lines = [{"step": s, "m": s / length + 0.01 * seed + (arm == "b")}
                     for s in range(1, length + 1)]  # fmt: skip
            bench.run(arm, seed, loss, lines, step=length)
    (d,) = bench.why().rows[0].differences
    assert d.mean == pytest.approx(1.0, abs=0.01)
    assert d.from_step == 1


def test_the_section_stands_in_all_three_forms(finished):
    from altgrad.compare.report.markdown import markdown

    conclusion = finished("optim.lr=0.01,0.3 seeds=2 diagnostics.every_steps=1")
    rows = why_table(conclusion)
    assert rows[0]["rank correlation"].endswith("over 4 runs, 2 arms")
    assert f"## {WHY}\n\nAssociation, not cause" in markdown(conclusion)
    assert conclusion.to_dict()["why"]["rows"][0]["metric"] == conclusion.why.rows[0].metric
