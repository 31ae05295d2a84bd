"""docs/evidence/findings.md says what the study's results hold, and its analysis is right."""

import importlib
import math
import re
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from altgrad.compare.statistics import paired

HOUSE = Path(__file__).parents[1]
STUDY = HOUSE / "experiments" / "which_format"


@pytest.fixture
def study(monkeypatch):
    """The study's own modules, by name."""
    monkeypatch.syspath_prepend(str(STUDY))
    yield lambda name: importlib.import_module(name)
    for name in ("analysis", "page", "collect"):
        sys.modules.pop(name, None)


def test_the_pages_tables_are_those_of_the_results(study):
    page = study("page")
    for path in page.PAGES:
        text = path.read_text(encoding="utf-8")
        assert "<!-- generated" in text
        assert page.remade(text) == text


INTERVAL = re.compile(r"([-+]?\d\.\d+) \[([-+]?\d\.\d+), ([-+]?\d\.\d+)\]")
LONGEST = 1300
"""Words that a reader reads as one page; tables and picture apart."""


def prose(text: str) -> str:
    return re.sub(r"<!-- generated.*?<!-- end -->", "", text, flags=re.DOTALL)


def stated(text: str) -> set[tuple[str, str, str]]:
    """Mean and ends of every interval of a page's prose, as written, without a plus."""
    return {tuple(n.lstrip("+") for n in found) for found in INTERVAL.findall(prose(text))}


def known(study, decimals: int) -> set[tuple[str, str, str]]:
    """Every interval of the results, and of one arm against another in a part, in both signs."""
    page = study("page")
    rows = [r for name in ("gains", "contrasts", "rates", "one_rate") for r in page.numbers(name)]
    found = [tuple(float(r[n]) for n in ("mean", "low", "high")) for r in rows]
    found += [
        tuple(float(v[n]) for n in ("difference", "low", "high")) for v in page.numbers("verdicts")
    ]
    found += pairs_of_arms(study("analysis"))
    both = [*found, *((-mean, -high, -low) for mean, low, high in found)]
    return {tuple(f"{n:.{decimals}f}" for n in numbers) for numbers in both}


def pairs_of_arms(analysis) -> list[tuple[float, float, float]]:
    parts: dict[str, dict[str, dict[int, float]]] = {}
    for r in analysis.read_rows():
        if r["purpose"] == "test" and r["val_loss"]:
            by_seed = parts.setdefault(r["part"], {}).setdefault(r["arm"], {})
            by_seed[int(r["seed"])] = float(r["val_loss"])
    found = []
    for arms in parts.values():
        for a, b in combinations(arms.values(), 2):
            d = list(analysis.differences(a, b).values())
            if len(d) >= analysis.FEWEST_SEEDS:
                t = paired.paired_t(d)
                found.append((t.mean, t.interval.low, t.interval.high))
    return found


def test_every_interval_that_a_page_states_is_one_of_the_results(study):
    for path in study("page").PAGES:
        said = stated(path.read_text(encoding="utf-8"))
        assert said, path
        assert {s for s in said if s not in known(study, len(s[0].split(".")[1]))} == set(), path


def test_the_answer_fits_on_one_page(study):
    answer = study("page").PAGES[0].read_text(encoding="utf-8")
    assert len(prose(answer).split()) <= LONGEST


@pytest.mark.parametrize("name", ["gains", "contrasts", "mediators", "rates", "one_rate"])
def test_the_results_follow_from_the_runs(study, name, tmp_path, monkeypatch):
    analysis = study("analysis")
    runs = analysis.read_rows()
    monkeypatch.setattr(analysis, "RESULTS", tmp_path)
    monkeypatch.setattr(analysis, "read_rows", lambda: runs)
    analysis.main()
    assert (tmp_path / f"{name}.csv").read_text() == (STUDY / "results" / f"{name}.csv").read_text()


def test_collecting_keeps_what_has_no_folder_any_more_and_replaces_a_part_as_a_whole(
    study, tmp_path
):
    collect = study("collect")
    path = tmp_path / "runs.csv"
    collect.merge(path, [{"part": p, "seed": s, "val_loss": 2.5} for p in "ac" for s in (1, 2)])
    before = path.read_text()
    collect.merge(path, [])
    assert path.read_text() == before
    collect.merge(path, [{"part": p, "seed": 3, "val_loss": 1 / 3} for p in "ab"])
    assert path.read_text().splitlines() == [
        "part,seed,val_loss", "a,3,0.333333", "b,3,0.333333", "c,1,2.5", "c,2,2.5",
    ]  # fmt: skip


def test_collecting_without_a_folder_changes_no_table(study, tmp_path, monkeypatch):
    collect = study("collect")
    for name in ("runs.csv", "verdicts.csv"):
        (tmp_path / name).write_text((STUDY / "results" / name).read_text())
    monkeypatch.setattr(collect, "RESULTS", tmp_path)
    collect.main(tmp_path / "nothing")
    for name in ("runs.csv", "verdicts.csv"):
        assert (tmp_path / name).read_text() == (STUDY / "results" / name).read_text()


def row(**changes: object) -> dict[str, str]:
    usual = {
        "part": "nearest", "purpose": "test", "layers": 2, "width": 32, "steps": 150, "lr": 0.003,
        "storage": "nearest", "operands": "weights", "format": "e3m4", "rule": "adamw",
        "spacing": "", "placebo": "none", "rates": "one", "other_lr": 0.003,
        "seed": 1, "val_loss": 2.5, "run": "", "processor": "Intel Xeon", "matrix_lr": 0.003,
    }  # fmt: skip
    found = {n: str(v) for n, v in {**usual, **changes}.items()}
    return {**found, "run": found["run"] or str(sorted(found.items()))}


LOSSES = {"adamw": [2.50, 2.61, 2.47, 2.55, 2.58], "ulp": [2.41, 2.57, 2.40, 2.50, 2.47]}


def pairs(**changes: object) -> list[dict[str, str]]:
    return [
        row(rule=rule, spacing="own" if rule == "ulp" else "", seed=seed, val_loss=loss, **changes)
        for rule, found in LOSSES.items()
        for seed, loss in enumerate(found, 1)
    ]


def test_a_gain_is_scipys_paired_t(study):
    analysis = study("analysis")
    (found,) = analysis.all_gains(analysis.gains_by_seed(analysis.losses(pairs())))
    t = stats.ttest_rel(LOSSES["adamw"], LOSSES["ulp"])
    interval = t.confidence_interval()
    assert found.seeds == 5
    assert found.mean == pytest.approx(np.mean(LOSSES["adamw"]) - np.mean(LOSSES["ulp"]))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(t.pvalue)
    assert found.p_holm == pytest.approx(t.pvalue)


def test_a_run_of_two_parts_counts_once_and_fixed_rates_never(study):
    analysis = study("analysis")
    rows = pairs()
    again = [{**r, "part": "formats"} for r in rows]
    fixed = [row(part="names", val_loss=9.0, seed=s, run=f"n{s}") for s in range(1, 6)]
    assert len(analysis.tested([*rows, *again, *fixed])) == len(rows)


def test_a_lost_run_takes_its_pair_along_and_three_pairs_are_not_judged(study):
    analysis = study("analysis")
    rows = pairs()
    rows[0]["val_loss"] = ""
    (found,) = analysis.all_gains(analysis.gains_by_seed(analysis.losses(rows)))
    assert found.seeds == 4
    rows[1]["val_loss"] = ""
    assert analysis.all_gains(analysis.gains_by_seed(analysis.losses(rows))) == []


def test_without_rounding_a_gain_belongs_to_the_spacing_and_shares_its_adamw(study):
    analysis = study("analysis")
    plain = [r for r in pairs(storage="fp32", format="") if r["rule"] == "adamw"]
    steered = [
        row(storage="fp32", format="", rule="ulp", spacing=spacing, seed=seed, val_loss=2.5 - gain)
        for spacing, gain in {"e3m4": 0.1, "e4m3": 0.2}.items()
        for seed in range(1, 6)
    ]
    found = analysis.gains_by_seed(analysis.losses([*plain, *steered]))
    names = {(place.format, arm) for place, arm in found}
    assert names == {("e3m4", "rule"), ("e4m3", "rule")}
    more = [found[key] for key in sorted(found)]
    assert [b - a for a, b in zip(*(m.values() for m in more), strict=True)] == pytest.approx(
        [0.1] * 5
    )


def test_the_contrast_of_storages_is_the_difference_of_gains_seed_by_seed(study):
    analysis = study("analysis")
    rows = [*pairs(), *pairs(storage="kahan")]
    for r in rows:
        if r["storage"] == "kahan" and r["rule"] == "ulp":
            r["val_loss"] = str(float(r["val_loss"]) + 0.03)
    found = analysis.all_contrasts(analysis.gains_by_seed(analysis.losses(rows)))
    (contrast,) = [e for e in found if e.what == "gain to nearest - gain in kahan"]
    assert contrast.mean == pytest.approx(0.03)
    assert contrast.p_equivalent == 1.0
    assert not math.isnan(contrast.p_holm)


def test_of_the_embeddings_rates_the_one_that_was_best_in_tuning_counts_for_each_arm(study):
    analysis = study("analysis")
    rows = []
    for other, tried, offset in (("0.01", 2.6, 0.0), ("0.1", 2.4, 1.0)):
        usual = {"rates": "own", "other_lr": other, "part": f"others_{other}"}
        rows.append(row(purpose="tuning", seed=1001, val_loss=tried, **usual))
        rule = {"rule": "ulp", "spacing": "own"}
        rows.append(row(purpose="tuning", seed=1001, val_loss=5.0 - tried, **usual, **rule))
        for seed in range(1, 6):
            rows.append(row(seed=seed, val_loss=2.0 + offset + seed, **usual))
            rows.append(row(seed=seed, val_loss=2.0 + offset + seed, **usual, **rule))
    (found,) = analysis.all_gains(analysis.gains_by_seed(analysis.losses(analysis.tested(rows))))
    assert found.rates == "own"
    assert found.mean == pytest.approx(1.0)  # AdamW at 0.1 against the rule at 0.01
    by_rate = analysis.gains_by_others([*rows, {**row(rates="own", part="roles"), "run": "x"}])
    assert [line["mean"] for line in by_rate] == [0.0, 0.0]
    assert [line["other_lr"] for line in by_rate] == ["0.01", "0.1"]


def test_a_search_names_the_side_of_its_best_that_was_not_tried(study):
    analysis = study("analysis")
    cross = {(0.027, 0.081): 2.50, (0.081, 0.081): 2.61, (0.027, 0.027): 2.52, (0.027, 0.243): 2.57}
    usual = {"rates": "own", "processor": analysis.THIRD, "purpose": "tuning", "seed": 1001}
    rows = [
        row(**usual, matrix_lr=matrix, other_lr=other, val_loss=loss)
        for (matrix, other), loss in cross.items()
    ]
    (found,) = analysis.searches(rows)
    assert (found.best, found.tried) == (("0.027", "0.081"), 4)
    assert list(found.worse.values()) == [None, *map(pytest.approx, (0.11, 0.02, 0.07))]
    rows.append(row(**usual, matrix_lr=0.009, other_lr=0.081, val_loss=2.7))
    assert analysis.searches(rows)[0].worse["matrices / 3"] == pytest.approx(0.2)


def test_the_trend_over_sizes_is_the_mean_of_the_seeds_own_slopes(study):
    analysis = study("analysis")
    usual = {"rates": "own", "processor": analysis.THIRD}
    sizes = {(2, 32): 0.0, (2, 64): 0.02, (4, 128): 0.04}
    rows = [
        row(**usual, layers=layers, width=width, rule=rule, seed=seed, spacing="own" * ulp,
            val_loss=2.5 - ulp * more * seed)
        for (layers, width), more in sizes.items()
        for ulp, rule in enumerate(("adamw", "ulp"))
        for seed in range(1, 5)
    ]  # fmt: skip
    found = analysis._trends(analysis.gains_by_seed(analysis.losses(rows)))
    assert [e.mean for e in found] == [pytest.approx(0.02 * 2.5)]
    two = [r for r in rows if r["width"] != "64"]
    assert analysis._trends(analysis.gains_by_seed(analysis.losses(two))) == []
