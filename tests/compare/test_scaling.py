"""A comparison over sizes: its rungs, its verdict on the trend, its forecast, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from altgrad.commands.compare import _finish
from altgrad.compare.conclusion import conclude
from altgrad.compare.designs import design_of
from altgrad.compare.question import read_question
from altgrad.compare.record import read_record
from altgrad.compare.regroup import find_comparison
from altgrad.compare.scaling import ScalingComparison, conclude_scaling, verdict_lines
from altgrad.compare.scaling.trend import (
    GROWS,
    HOLDS,
    MOVES,
    NOT_SHOWN,
    SHRINKS,
    TURNS,
    judge_trends,
    words_of,
)
from altgrad.compare.statistics import forecast, power_law, trend
from altgrad.compare.verdict import Rules
from altgrad.runs.folder import find_runs
from altgrad.settings import ConfigError

LADDER = (
    "design=scaling sizes=1x8,1x16 head_width=8 tokens_per_parameter=0.02 max_epochs=99 seeds=2"
)
SIZES = [1e4, 3e4, 6e4, 2e5]


@pytest.fixture
def climb(compose):
    """`climb("optim.lr=0.1,0.2 design=scaling …")`: a comparison over sizes, not yet run."""

    def make(words: str, **how) -> ScalingComparison:
        return ScalingComparison(read_question(words.split()), compose, command=words, **how)

    return make


@pytest.fixture
def climbed(climb, here):
    return lambda words: conclude_scaling(climb(words).run(), resamples=50)


# -- the runs -------------------------------------------------------------------------------------


def test_a_rung_is_an_ordinary_comparison_with_a_report_of_its_own(climbed):
    found = climbed(f"optim.lr=0.01,0.1 {LADDER}")
    assert [rung.name for rung, _ in found.rungs] == ["1x8", "1x16"]
    for rung, _ in found.rungs:
        part = conclude(Path("runs/compare") / rung.folder)
        assert [len(row) for row in part.outcomes.values()] == [2, 2]
    assert len(find_runs("runs")) == 8


def test_every_rung_gets_the_tokens_its_parameters_ask_for(climb, data_dir):
    rungs = climb(f"optim.lr=0.01,0.1 {LADDER.replace('0.02', '0.5')}").rungs
    per_step = 2 * 8  # batch x block
    text = np.fromfile(data_dir / "train.bin", dtype=np.uint16).size
    for rung in rungs:
        assert 0 <= rung.tokens - 0.5 * rung.parameters < per_step
        assert rung.words[-1] == f"max_steps={rung.tokens // per_step}"
        assert rung.epochs == rung.tokens / text
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


def test_asked_again_it_goes_on_where_it_was(climb, here, monkeypatch):
    words = f"optim.lr=0.01,0.1 {LADDER}"
    first = climb(words)
    monkeypatch.setattr(first.parts[1], "run", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        first.run()
    kept = {run: (run / "metrics.jsonl").stat().st_mtime_ns for run in find_runs("runs")}
    assert len(kept) == 4
    with pytest.raises(ConfigError, match="not a comparison"):
        conclude_scaling(first.folder)
    conclude_scaling(climb(words).run(), resamples=50)
    assert len(find_runs("runs")) == 8
    assert {run: (run / "metrics.jsonl").stat().st_mtime_ns for run in kept} == kept


def test_every_arm_is_tuned_on_every_rung(climbed):
    found = climbed(f"optim.name=adamw,sgd optim.nesterov=false tune=optim.lr {LADDER}")
    tuned = [(rung.name, t["arm"]) for rung, part in found.rungs for t in part.record.tuning]
    arms = ("name=adamw", "name=sgd")
    assert tuned == [(rung, arm) for rung in ("1x8", "1x16") for arm in arms]


def test_rungs_of_ones_own_words(compose, tmp_path):
    path = tmp_path / "ladder.yaml"
    path.write_text(
        "axes: {optim.lr: ['0.01', '0.1']}\ndesign: scaling\nbase: [max_steps=4]\nseeds: 2\n"
        "ladder: {rungs: {thin: [model.n_embd=8], wide: [model.n_embd=24]}, max_epochs: 99}\n"
    )
    found = ScalingComparison(read_question([str(path)]), compose)
    assert [rung.name for rung in found.rungs] == ["thin", "wide"]
    assert [part.arms[0].config.model.n_embd for part in found.parts] == [8, 24]


def test_the_report_has_every_form_and_the_latest_comparison_is_the_whole(climb, here):
    words = LADDER.replace("1x8,1x16", "1x8,1x16,2x16,2x24")
    folder = climb(f"optim.lr=0.01,0.1 {words}").run()
    assert find_comparison([], "runs") == folder
    said: list[str] = []
    _finish(folder, False, said.append)
    text = (folder / "report.md").read_text()
    page = (folder / "report.html").read_text()
    for title in ("Rungs", "Trend of the difference", "Forecast, and its check", "Fitted laws"):
        assert f"## {title}" in text
        assert f"<h2>{title}</h2>" in page
    assert any(
        line.startswith("lr=0.1: check: without 2x24 the forecast for it is") for line in said
    )
    assert any(line.startswith("lr=0.1: forecast for 10 x 2x24: ") for line in said)
    verdict = json.loads((folder / "verdict.json").read_text())
    assert set(verdict["verdicts"]) == {"lr=0.1"}
    assert [rung["name"] for rung in verdict["rungs"]] == ["1x8", "1x16", "2x16", "2x24"]
    assert design_of(folder).lines(conclude_scaling(folder, resamples=50))


def test_two_rungs_get_a_trend_and_no_forecast(climbed):
    (found,) = climbed(f"optim.lr=0.01,0.1 {LADDER}").trends
    assert found.forecast is None
    assert found.left_out is None
    assert np.isfinite(found.slope.mean)


def test_the_trend_is_computed_from_the_outcomes_of_the_runs(climbed):
    found = climbed(f"optim.lr=0.01,0.1 {LADDER}")
    (line,) = verdict_lines(found)
    d = [
        [part.outcomes["lr=0.1"][k].outcome - part.outcomes["lr=0.01"][k].outcome for k in (0, 1)]
        for _, part in found.rungs
    ]
    doublings = np.log2(found.sizes[1] / found.sizes[0])
    slope = (np.mean(d[1]) - np.mean(d[0])) / doublings
    assert found.trends[0].slope.mean == pytest.approx(slope)
    assert f"{slope:+.4f} [" in line


@pytest.mark.parametrize("damage", [{}, {"rungs": []}, {"rungs": [{"name": "x"}], "target": {}}])
def test_a_damaged_record_is_refused_in_one_line(damage, climb, here):
    folder = climb(f"optim.lr=0.01,0.1 {LADDER}").run()
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, "ladder": damage}))
    with pytest.raises(ConfigError) as caught:
        conclude_scaling(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rung_in_another_place_is_not_followed(climb, here):
    folder = climb(f"optim.lr=0.01,0.1 {LADDER}").run()
    record = json.loads((folder / "record.json").read_text())
    record["ladder"]["rungs"][0]["folder"] = "../../elsewhere"
    (folder / "record.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="no folder's"):
        conclude_scaling(folder)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("design=scaling sizes=1x8,big tokens_per_parameter=1", "'big' is no size"),
        ("design=scaling sizes=1x8,0x16 tokens_per_parameter=1", "is no size|must be a text"),
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
        ([-0.1, -0.11, -0.1, -0.12], 0.05, NOT_SHOWN),
        ([-0.030, -0.010, 0.004, 0.036], 0.0001, TURNS),
    ],
)
def test_the_trend_of_the_difference_has_five_names(d, noise, verdict):
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
    several = {**data, "b": data["control"] + 0.1, "c": data["control"] - 0.1}
    beside = judge_trends(SIZES, several, "control", rules, resamples=20)[0]
    assert beside.p_slope > alone.p_slope


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
    assert found.verdict == NOT_SHOWN
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

    holds = forecast_words(judged([-0.1, -0.13, -0.15, -0.2]), "8x512", "2x64")
    assert "where the smaller rungs said" in holds[1]
    assert "NOT" not in holds[1]
    fails = forecast_words(judged([-0.1, -0.13, -0.15, 0.4]), "8x512", "2x64")
    assert "(its check failed: do not lean on it)" in fails[0]
    assert "NOT where the smaller rungs said" in fails[1]


def test_the_question_is_stored_and_can_be_asked_again(climb, here, compose):
    folder = climb(f"optim.lr=0.01,0.1 {LADDER}").run()
    question, _ = read_record(folder)
    again = ScalingComparison(read_question([str(folder / "question.yaml")]), compose)
    assert again.question == question
    assert again.folder == folder
