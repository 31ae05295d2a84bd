"""A comparison over sizes: its rungs, its verdict on the trend, its forecast, and what is
refused."""

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from altgrad.commands.compare import _finish
from altgrad.compare.conclusion import conclude
from altgrad.compare.question import read_question
from altgrad.compare.record import read_record
from altgrad.compare.regroup import find_comparison
from altgrad.compare.scaling import ScalingComparison, conclude_scaling
from altgrad.compare.scaling.trend import (
    BENDS,
    GROWS,
    HOLDS,
    INCONCLUSIVE,
    MOVES,
    SHRINKS,
    TURNS,
    judge_trends,
    words_of,
)
from altgrad.compare.statistics import forecast, power_law, trend
from altgrad.compare.verdict import Rules
from altgrad.runs.folder import find_runs
from altgrad.settings import ConfigError
from altgrad.training.recording import recorder
from tests.compare.conftest import composing, run_here
from tests.conftest import VOCABULARY

LADDER = (
    "design=scaling sizes=1x8,1x16 head_width=8 tokens_per_parameter=0.02 max_epochs=99 seeds=2"
)
FOUR = LADDER.replace("1x8,1x16", "1x8,1x16,2x16,2x24")
SIZES = [1e4, 3e4, 6e4, 2e5]


@pytest.fixture
def climb(compose):
    """`climb("optim.lr=0.1,0.2 design=scaling …")`: a comparison over sizes, not yet run."""

    def make(words: str, **how) -> ScalingComparison:
        return ScalingComparison(read_question(words.split()), compose, command=words, **how)

    return make


# -- the runs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A ladder of four rungs that has run, once for this file: its folder of runs."""
    root = tmp_path_factory.mktemp("ladder")
    data_dir = root / "tokens"
    data_dir.mkdir()
    ids = (np.arange(4000) % VOCABULARY).astype(np.uint16)
    ids[:3500].tofile(data_dir / "train.bin")
    ids[3500:].tofile(data_dir / "val.bin")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        quick(patch)
        words = f"optim.lr=0.01,0.1 name=whole {FOUR}"
        ScalingComparison(read_question(words.split()), composing(data_dir), command=words).run()
    return root / "runs"


def quick(monkeypatch) -> None:
    """Runs in this process; what machine it is, is asked once."""
    run_here(monkeypatch)
    monkeypatch.setattr(recorder, "describe_environment", cache(recorder.describe_environment))


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the whole that a test may damage."""
    shutil.copytree(made, tmp_path / "runs")
    return tmp_path / "runs" / "compare" / "whole"


@pytest.fixture
def found(made):
    return conclude_scaling(made / "compare" / "whole", resamples=50)


def test_a_rung_is_an_ordinary_comparison_with_a_report_of_its_own(found, made):
    assert [rung.name for rung, _ in found.rungs] == ["1x8", "1x16", "2x16", "2x24"]
    for rung, _ in found.rungs:
        part = conclude(made / "compare" / rung.folder)
        assert [len(row) for row in part.outcomes.values()] == [2, 2]
    assert len(find_runs(made)) == 16


def test_every_rung_gets_the_tokens_its_parameters_ask_for(climb):
    rungs = climb(f"optim.lr=0.01,0.1 {LADDER.replace('0.02', '0.5')}").rungs
    per_step = 2 * 8  # batch x block
    for rung in rungs:
        assert 0 <= rung.tokens - 0.5 * rung.parameters < per_step
        assert rung.words[-1] == f"max_steps={rung.tokens // per_step}"
        assert rung.epochs == rung.tokens / 3500
    assert rungs[1].parameters > 2 * rungs[0].parameters


def test_equal_flops_give_the_larger_rung_fewer_steps(climb):
    words = LADDER.replace("tokens_per_parameter=0.02", "flops_per_run=3e6")
    small, large = climb(f"optim.lr=0.01,0.1 {words}").rungs
    assert large.steps < small.steps
    assert small.flops == pytest.approx(3e6, rel=0.05)
    assert large.flops == pytest.approx(3e6, rel=0.3)


def test_equal_steps_are_the_words_own(climb):
    words = LADDER.replace("tokens_per_parameter=0.02", "max_steps=5")
    assert [rung.steps for rung in climb(f"optim.lr=0.01,0.1 {words}").rungs] == [5, 5]


def test_asked_again_it_goes_on_where_it_was_and_tunes_on_every_rung(climb, monkeypatch):
    quick(monkeypatch)
    words = f"optim.lr=0.01,0.1 optim.eps=1e-7 tune=optim.weight_decay {LADDER} seeds=[1]"
    words = words.replace("seeds=2", "tuning.grid=0.1,0.2")
    first = climb(words)
    monkeypatch.setattr(first.parts[1], "run", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        first.run()
    kept = {run: (run / "metrics.jsonl").stat().st_mtime_ns for run in find_runs("runs")}
    assert len(kept) == 6
    with pytest.raises(ConfigError, match="not a comparison"):
        conclude_scaling(first.folder)
    again = conclude_scaling(climb(words).run(), resamples=50)
    assert len(find_runs("runs")) == 12
    assert {run: (run / "metrics.jsonl").stat().st_mtime_ns for run in kept} == kept
    tuned = [(rung.name, t["arm"]) for rung, part in again.rungs for t in part.record.tuning]
    assert tuned == [(rung, arm) for rung in ("1x8", "1x16") for arm in ("lr=0.01", "lr=0.1")]


@pytest.mark.parametrize(("key_heads", "kept"), [(4, True), (1, False)])
def test_a_presets_multi_head_attention_is_that_at_every_size(data_dir, key_heads, kept):
    """`n_kv_head` of a preset is for its own `n_head`; fewer key heads stay as few."""

    def compose(words):
        preset = ["model.n_embd=32", "model.n_head=4", f"model.n_kv_head={key_heads}"]
        return composing(data_dir)([*preset, *words])

    found = ScalingComparison(read_question(f"optim.lr=0.1,0.2 {LADDER}".split()), compose)
    assert [("model.n_kv_head=null" in rung.words) for rung in found.rungs] == [kept, kept]


def test_key_heads_that_do_not_fit_a_size_are_refused(data_dir):
    def compose(words):
        return composing(data_dir)(["model.n_head=4", "model.n_kv_head=2", *words])

    with pytest.raises(ValueError, match=r"n_head=1 is not divisible by model\.n_kv_head=2"):
        ScalingComparison(read_question(f"optim.lr=0.1,0.2 {LADDER}".split()), compose)


def test_rungs_of_ones_own_words(compose, tmp_path):
    path = tmp_path / "ladder.yaml"
    path.write_text(
        "axes: {optim.lr: ['0.01', '0.1']}\ndesign: scaling\nbase: [max_steps=4]\nseeds: 2\n"
        "ladder: {rungs: {thin: [model.n_embd=8], wide: [model.n_embd=24]}, max_epochs: 99}\n"
    )
    found = ScalingComparison(read_question([str(path)]), compose)
    assert [rung.name for rung in found.rungs] == ["thin", "wide"]
    assert [part.arms[0].config.model.n_embd for part in found.parts] == [8, 24]


def test_a_width_rule_reaches_the_networks_of_its_rungs(climb):
    rule = "optim.width_rule=mup optim.base_width=8"
    parts = climb(f"optim.lr=0.01,0.1 {rule} {LADDER}").parts
    assert [part.arms[1].config.model.logit_scale for part in parts] == [1.0, 0.5]


def test_the_report_has_every_form(folder):
    said: list[str] = []
    _finish(folder, False, said.append)
    text, page = (folder / "report.md").read_text(), (folder / "report.html").read_text()
    for title in ("Rungs", "Trend of the difference", "Forecast, and its check", "Fitted laws"):
        assert f"## {title}" in text
        assert f"<h2>{title}</h2>" in page
    assert any(s.startswith("lr=0.1: check: without 2x24 the forecast for it is") for s in said)
    assert any(s.startswith("lr=0.1: forecast for 10 x 2x24: ") for s in said)
    verdict = json.loads((folder / "verdict.json").read_text())
    assert set(verdict["verdicts"]) == {"lr=0.1"}
    assert [rung["name"] for rung in verdict["rungs"]] == ["1x8", "1x16", "2x16", "2x24"]


def test_the_latest_comparison_is_the_whole(made):
    assert find_comparison([], str(made)) == made / "compare" / "whole"


def test_the_trend_is_computed_from_the_outcomes_of_the_runs(found):
    outcomes = [part.outcomes for _, part in found.rungs]
    d = [
        np.mean([a.outcome - b.outcome for a, b in zip(o["lr=0.1"], o["lr=0.01"], strict=True)])
        for o in outcomes
    ]
    slope = stats.linregress(np.log2(found.sizes), d).slope
    assert found.trends[0].slope.mean == pytest.approx(slope)
    assert found.trends[0].means == pytest.approx(d)


def test_two_rungs_get_a_trend_and_no_forecast():
    data = {arm: y[:, :2] for arm, y in outcomes([-0.1, -0.13, -0.15, -0.2]).items()}
    (two,) = judge_trends(SIZES[:2], data, "control", Rules(0.02), target=1e6)
    assert two.verdict == GROWS
    assert (two.forecast, two.left_out, two.check_holds) == (None, None, None)


@pytest.mark.parametrize("damage", [{}, {"rungs": []}, {"rungs": [{"name": "x"}], "target": {}}])
def test_a_damaged_record_is_refused_in_one_line(damage, folder):
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, "ladder": damage}))
    with pytest.raises(ConfigError) as caught:
        conclude_scaling(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rung_in_another_place_is_not_followed(folder):
    record = json.loads((folder / "record.json").read_text())
    record["ladder"]["rungs"][0]["folder"] = "../../elsewhere"
    (folder / "record.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="no folder's"):
        conclude_scaling(folder)


def test_the_question_is_stored_and_can_be_asked_again(made, compose):
    stored = made / "compare" / "whole"
    again = ScalingComparison(read_question([str(stored / "question.yaml")]), compose)
    assert again.question == read_record(stored)[0]


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("design=scaling sizes=1x32,big tokens_per_parameter=1", "'big' is no size"),
        ("design=scaling sizes=1x32,0x16 tokens_per_parameter=1", "is no size|must be a text"),
        ("design=scaling sizes=1x8,1x12 tokens_per_parameter=1 head_width=8", "heads of 8 do not"),
        ("design=scaling sizes=1x8x2,1x9x2 tokens_per_parameter=1", "9 does not divide into 2"),
        ("design=scaling sizes=1x8 tokens_per_parameter=1 head_width=8", "at least 2 rungs"),
        ("design=scaling tokens_per_parameter=1", "at least 2 rungs, this has 0"),
        ("design=scaling sizes=1x8,1x8 head_width=8 tokens_per_parameter=1", "names a rung twice"),
        (
            "design=scaling sizes=1x8,1x16 head_width=8 tokens_per_parameter=1 max_steps=9",
            "it has tokens_per_parameter and max_steps",
        ),
        ("design=scaling sizes=1x8,1x16 head_width=8", "it has none; give tokens_per_parameter"),
        (f"{LADDER} flops_per_run=1e9", "it has tokens_per_parameter and flops_per_run"),
        (LADDER.replace("0.02", "-3"), "tokens_per_parameter=-3.0 must be a number above 0"),
        (f"{LADDER} model.n_embd=8", "model.n_embd is set by the rungs and by the question"),
        (LADDER.replace("seeds=2", "seeds=auto"), "takes a fixed number of seeds"),
        (f"{LADDER} fit_over=watts", "fit_over='watts'"),
        (f"{LADDER} max_epochs=0", "max_epochs=0.0 must be above 0"),
        (f"{LADDER} forecast_to=huge", "'huge' is no size"),
        (f"{LADDER} forecast_to=1x8", "no more than the largest rung"),
        (LADDER.replace("max_epochs=99", "max_epochs=0.001"), "epochs of .*max_epochs=0.001"),
        (LADDER.replace("1x8,1x16", "1x16,1x8"), "the rung 1x8 is not larger than 1x16"),
        ("sizes=1x8,1x16 head_width=8", "read with design=scaling"),
        ("design=scalling sizes=1x8,1x16", "design='scalling'"),
        (
            f"{LADDER} optim.width_rule=mup optim.base_width=8 optim.name=madam",
            "does not know optim.name='madam'",
        ),
    ],
)
def test_a_ladder_that_cannot_be_climbed_is_refused_in_one_line(words, expected, climb):
    with pytest.raises(ValueError, match=expected) as caught:
        climb(f"optim.lr=0.01,0.1 {words}")
    assert "\n" not in str(caught.value)
    assert not Path("runs").exists()


def test_two_axes_are_refused(climb):
    with pytest.raises(ConfigError, match="2 axes"):
        climb(f"optim.lr=0.01,0.1 optim.eps=1e-8,1e-6 {LADDER}")


# -- what is concluded ----------------------------------------------------------------------------


def outcomes(d, *, noise: float = 0.002, seeds: int = 5, sizes=SIZES) -> dict[str, np.ndarray]:
    """A control that falls with size, and an arm that differs by d, seed noise added."""
    rng = np.random.default_rng(0)
    control = 1.5 + (np.array(sizes) / 1e4) ** -0.4 + rng.normal(0, 0.02, (seeds, len(sizes)))
    return {"control": control, "arm": control + np.array(d) + rng.normal(0, noise, control.shape)}


def judged(d, rules: Rules | None = None, **how):
    (found,) = judge_trends(
        SIZES, outcomes(d, **how), "control", rules or Rules(0.02), target=2e6, resamples=100
    )
    return found


@pytest.mark.parametrize(
    ("d", "noise", "verdict"),
    [
        ([-0.1, -0.13, -0.15, -0.2], 0.002, GROWS),
        ([0.1, 0.13, 0.15, 0.2], 0.002, GROWS),
        ([-0.2, -0.15, -0.12, -0.05], 0.002, SHRINKS),
        ([-0.1, -0.1, -0.1, -0.1], 0.002, HOLDS),
        ([-0.1, -0.101, -0.102, -0.103], 0.0001, HOLDS),
        ([-0.1, -0.03, 0.02, 0.1], 0.002, TURNS),
        ([-0.1, -0.11, -0.1, -0.12], 0.05, INCONCLUSIVE),
        ([-0.030, -0.010, 0.004, 0.036], 0.0001, TURNS),
        ([-0.1, -0.2, -0.21, -0.1], 0.002, BENDS),
        ([-0.1, -0.104, -0.105, -0.1], 0.0001, HOLDS),
    ],
)
def test_the_trend_of_the_difference_has_a_name(d, noise, verdict):
    assert judged(d, noise=noise).verdict == verdict


def test_a_slope_without_a_side_only_moves():
    """Three seeds of which one lies far off: all their slopes agree, their heights do not."""
    x = np.log2(np.array(SIZES))
    x = x - x.mean()
    slopes, heights = np.array([0.02, 0.021, 0.022]), np.array([-0.2, 0.0, 0.2])
    arm = heights[:, None] + slopes[:, None] * x
    data = {"control": np.zeros((3, 4)), "arm": arm}
    (found,) = judge_trends(SIZES, data, "control", Rules(0.02), resamples=20)
    assert found.verdict == MOVES
    assert "moves in favour of control" in words_of(found, ("a", "b"), Rules(0.02))


def test_a_lower_loss_that_grows_is_an_advantage_and_a_lower_score_is_not():
    found = judged([-0.1, -0.13, -0.15, -0.2])
    lower, higher = Rules(0.02), Rules(0.02, higher_is_better=True)
    assert "the advantage over control grows" in words_of(found, ("a", "b"), lower)
    assert "the disadvantage against control grows" in words_of(found, ("a", "b"), higher)


def test_a_slope_is_that_of_scipys_regression_and_its_interval_students():
    data = outcomes([-0.1, -0.13, -0.15, -0.2])
    d = data["arm"] - data["control"]
    each = [stats.linregress(np.log2(SIZES), row).slope for row in d]
    found = judged([-0.1, -0.13, -0.15, -0.2]).slope
    interval = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx(
        (np.mean(each), interval.low, interval.high)
    )
    bend = trend.bend(SIZES, d)
    assert bend is not None
    assert bend.mean == pytest.approx(np.mean([np.polyfit(np.log2(SIZES), r, 2)[0] for r in d]))


def test_several_arms_pay_for_their_number():
    data = outcomes([-0.1, -0.105, -0.1, -0.12], noise=0.01)
    rules = Rules(1e-4)
    (alone,) = judge_trends(SIZES, data, "control", rules, resamples=20)
    noise = np.random.default_rng(7).normal(0, 0.05, (2, *data["control"].shape))
    several = {**data, "b": data["control"] + noise[0], "c": data["control"] + noise[1]}
    beside = judge_trends(SIZES, several, "control", rules, resamples=20)[0]
    assert beside.p_slope == pytest.approx(3 * alone.p_slope)


def test_a_seed_that_was_lost_on_a_rung_is_left_out_and_said():
    data = outcomes([-0.1, -0.13, -0.15, -0.2])
    data["arm"][2, 1] = np.nan
    (found,) = judge_trends(SIZES, data, "control", Rules(0.02), resamples=20)
    kept = np.delete(data["arm"] - data["control"], 2, axis=0)
    assert found.slope.mean == pytest.approx(trend.slopes(SIZES, kept).mean())
    assert "4 of 5 seeds finished on every rung" in words_of(found, ("a", "b"), Rules(0.02))


def test_a_single_whole_seed_shows_nothing():
    data = outcomes([-0.1, -0.13, -0.15, -0.2])
    data["arm"][1:, 3] = np.nan
    (found,) = judge_trends(SIZES, data, "control", Rules(0.02), resamples=20)
    assert found.verdict == INCONCLUSIVE
    assert "two are needed" in words_of(found, ("a", "b"), Rules(0.02))


# -- laws and forecasts ---------------------------------------------------------------------------


def test_a_law_is_found_again():
    law = power_law.fit(SIZES, 1.7 + 40 * np.array(SIZES) ** -0.35)
    assert law.floor[0] == pytest.approx(1.7, abs=2e-3)
    assert law.exponent[0] == pytest.approx(0.35, abs=2e-3)
    assert law.amplitude[0] == pytest.approx(40, rel=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_a_noisy_law_is_scipys(seed):
    n = np.array([*SIZES, 5e5, 1e6])
    y = 1.7 + (n / 1e4) ** -0.4 + np.random.default_rng(seed).normal(0, 0.01, len(n))
    law = power_law.fit(n, y)

    def form(n, floor, scale, exponent):
        return floor + scale * (n / law.reference) ** -exponent

    wanted, _ = optimize.curve_fit(
        form, n, y, [1.5, 0.5, 0.4], bounds=(0, [9, 9, 3]), ftol=1e-14, xtol=1e-14
    )
    found = (law.floor[0], law.scale[0], law.exponent[0])
    assert found == pytest.approx(wanted, rel=2e-3)


def test_a_loss_that_rises_is_no_law_and_a_floor_is_not_negative():
    assert power_law.fit(SIZES, [1.0, 1.1, 1.2, 1.3]).scale[0] == 0.0
    assert power_law.fit(SIZES, 3e3 * np.array(SIZES) ** -1.0 - 0.001).floor[0] == 0.0


def test_the_bootstrap_is_widened_for_few_seeds():
    values = np.random.default_rng(1).normal(size=4)
    again = power_law.resampled_means(values, resamples=4000)
    found = power_law.bootstrap_interval(values.mean(), again, 4)
    student = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.high - found.low == pytest.approx(student.high - student.low, rel=0.12)


def test_a_forecast_is_the_hull_of_its_ways_and_holds_each_of_their_truths():
    data = outcomes([-0.1, -0.13, -0.15, -0.2])
    found = forecast.forecast(SIZES, data["control"], data["arm"], 2e6, resamples=200)
    assert found.low == min(low for _, low, _ in found.ways.values())
    assert found.high == max(high for *_, high in found.ways.values())
    assert found.ways["it stays"][0] == pytest.approx((data["arm"] - data["control"])[:, -1].mean())
    assert set(found.ways) == {"the line goes on", "it stays", "the laws go on"}


def test_the_check_never_sees_the_largest_rung():
    data = outcomes([-0.1, -0.13, -0.15, -0.2])
    before = forecast.left_out(SIZES, data["control"], data["arm"], resamples=50)
    data["arm"][:, -1] += 7.0
    assert forecast.left_out(SIZES, data["control"], data["arm"], resamples=50) == before


def test_a_check_that_fails_is_said_beside_the_forecast():
    from altgrad.compare.scaling.trend import forecast_words

    on_a_line = -0.1 - 0.02 * np.log2(np.array(SIZES) / SIZES[0])
    holds = forecast_words(judged(on_a_line), "8x512", "2x64")
    assert "where the smaller rungs said" in holds[1]
    assert "NOT" not in holds[1]
    fails = forecast_words(judged([-0.1, -0.13, -0.15, 0.4]), "8x512", "2x64")
    assert "(its check failed: do not lean on it)" in fails[0]
    assert "NOT where the smaller rungs said" in fails[1]
