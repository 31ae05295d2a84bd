"""Numbers found in what a program prints or writes."""

import csv
import json
import math

import pytest

from altgrad.programs.metric import Metric, OutputReader, in_order, read_file
from altgrad.settings import ConfigError


def points(text: str, output: str, step: str = ""):
    metric = Metric(text, "val_loss", step)
    metric.check()
    reader = OutputReader(metric)
    return [point for line in output.splitlines() for point in reader.points_in(line)]


def test_every_match_is_a_point_counted_from_one():
    found = points(r"val loss ([0-9.]+)", "val loss 2.5\nnothing\nval loss 2.25.")
    assert found == [(1, {"val_loss": 2.5}), (2, {"val_loss": 2.25})]


def test_a_step_is_taken_from_its_line_or_the_last_one_that_said_it():
    output = "iter 5\nval loss 2\niter 10: val loss 1"
    assert [s for s, _ in points("val loss ([0-9.]+)", output, r"iter (\d+)")] == [5, 10]


def test_named_groups_are_metrics_and_step():
    text = r"iter (?P<step>\d+): train loss (?P<loss>[0-9.]+), val loss (?P<val_loss>[0-9.]+)"
    (found,) = points(text, "iter 20: train loss 2.0, val loss 2.5")
    assert found == (20, {"loss": 2.0, "val_loss": 2.5})


@pytest.mark.parametrize("bad", ["nan", "NaN", "inf", "-inf", "Infinity"])
def test_a_run_that_broke_down_is_not_judged_by_its_last_good_number(bad):
    *_, (_, last) = points("val loss ([0-9.]+)", f"val loss 2.5\nval loss {bad}")
    assert not math.isfinite(last["val_loss"])


def test_the_exponent_that_a_class_of_digits_leaves_behind_counts():
    assert points("lr ([0-9.]+)", "lr 1.5e-05") == [(1, {"val_loss": 1.5e-05})]


def test_number_stands_for_any_number():
    assert points("loss {number}", "loss -1.25e3, loss .5") == [
        (1, {"val_loss": -1250.0}),
        (2, {"val_loss": 0.5}),
    ]


def test_files_give_the_same_points_whatever_they_are(tmp_path):
    rows = [{"step": 10, "loss": 2.5}, {"step": 20, "loss": 2.0}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"eval": r} | r) + "\n" for r in rows))
    (tmp_path / "a.json").write_text(json.dumps({"history": [*rows, {"other": 1}]}))
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "loss"])
        writer.writeheader()
        writer.writerows(rows)
    wanted = [(10, {"val_loss": 2.5}), (20, {"val_loss": 2.0})]
    for text in ("a.jsonl:eval.loss", "a.json:history.loss", "a.csv:loss"):
        metric = Metric(text, "val_loss")
        metric.check()
        assert read_file(tmp_path / metric.file, metric) == wanted, text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("val loss [0-9.]+", "has no group"),
        ("val loss ([0-9.]+", "is no regular expression"),
        (r"acc (?P<acc>\d+)", "write primary=acc"),
    ],
)
def test_what_can_find_nothing_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        Metric(text, "val_loss").check()


def test_steps_that_go_back_are_told():
    assert "goes back from 9 to 1" in in_order([(9, {}), (1, {})])
    assert in_order([(1, {}), (1, {}), (2, {})]) == ""
