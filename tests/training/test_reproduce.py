"""A run folder is enough to run it again, and to say honestly whether it came out the same."""

import json
from dataclasses import asdict

import pytest

from altgrad.quantization import CastConfig, PrecisionConfig
from altgrad.runs.history import alterations
from altgrad.runs.lines import read_jsonl
from altgrad.runs.summary import describe_precision, summarise_run
from altgrad.runs.view import COLUMNS, columns_that_fit
from altgrad.settings import ConfigError
from altgrad.training.build import build_run, resume_run
from altgrad.training.reproduce import reproduce
from altgrad.training.run_differences import Likeness, compare_runs, relative_difference


@pytest.fixture
def run(make_config, data_dir, tmp_path):
    config = make_config(max_steps=5, eval_interval=2, dropout=0.1)
    config.data.path = str(data_dir)
    build_run(config).train()
    return tmp_path / "run"


def test_a_finished_run_comes_out_identical(run, tmp_path):
    result = reproduce(run, out=tmp_path / "again")
    assert result.likeness.identical
    assert result.verdict == "identical bit for bit: 5 steps and the last weights"
    assert result.environment == {}


def edit(path, change):
    lines = [change(m) for m in read_jsonl(path)]
    path.write_text("".join(json.dumps(m) + "\n" for m in lines))


@pytest.mark.parametrize(
    ("factor", "words"),
    [(1 + 1e-6, "within the tolerance of 0.001"), (2.0, "different from step 3 on")],
)
def test_a_difference_is_placed_and_sized(run, tmp_path, factor, words):
    edit(
        run / "metrics.jsonl",
        lambda m: {**m, "loss": m["loss"] * (factor if m["step"] >= 3 else 1.0)},
    )
    result = reproduce(run, out=tmp_path / "again")
    assert words in result.verdict
    assert result.likeness.first_difference == 3
    assert not result.likeness.identical


def test_another_environment_is_listed(run, tmp_path):
    path = run / "environment.json"
    old = json.loads(path.read_text())
    then = {**old, "torch": "1.0", "packages": {**old["packages"], "gone": "3"}}
    path.write_text(json.dumps(then))
    found = reproduce(run, out=tmp_path / "again").environment
    assert found["torch"][0] == "1.0"
    assert found["packages.gone"] == ("3", None)


def test_changed_tokens_are_refused(run, data_dir):
    content = bytearray((data_dir / "val.bin").read_bytes())
    content[0] ^= 1
    (data_dir / "val.bin").write_bytes(content)
    with pytest.raises(ConfigError, match=r"val\.bin is not what"):
        reproduce(run)


def test_a_run_whose_settings_changed_cannot_be_repeated(run):
    line = {"event": "resumed", "step": 2, "changed": {"max_steps": [4, 5]}}
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(ConfigError, match=r"from step 2 on \(max_steps\)"):
        reproduce(run)


def test_a_run_resumed_by_other_code_says_so_and_is_not_repeated(make_config, data_dir, tmp_path):
    config = make_config(max_steps=4, eval_interval=-1)
    config.data.path = str(data_dir)
    build_run(config).train(2)
    edit(tmp_path / "run" / "events.jsonl", lambda e: {**e, "event": "started"})
    path = tmp_path / "run" / "environment.json"
    facts = json.loads(path.read_text())
    facts["code"]["torch"] = "1.0"
    path.write_text(json.dumps(facts))
    resume_run(tmp_path / "run").train()
    notes = [e["text"] for e in read_jsonl(tmp_path / "run" / "events.jsonl") if "text" in e]
    assert [n for n in notes if "the code of torch is not what the run began with (1.0" in n]
    assert alterations(tmp_path / "run") == {"code of torch": 2}
    with pytest.raises(ConfigError, match=r"from step 2 on \(code of torch\)"):
        reproduce(tmp_path / "run")


def test_weights_that_differ_without_a_reason_are_not_within_any_tolerance():
    alike = Likeness(3, None, 0.0, "", weights_equal=False)
    assert not alike.within(1.0)
    assert alike.verdict(1.0).startswith("different")
    assert Likeness(3, 2, 1e-4, "loss at step 2", weights_equal=False).within(1e-3)
    assert not Likeness(0, None, 0.0, "", weights_equal=None).within(1.0)


def test_times_are_not_compared(run, tmp_path):
    edit(run / "metrics.jsonl", lambda m: {**m, "step_ms": 1.0, "tokens_per_s": 2.0})
    assert reproduce(run, out=tmp_path / "again").likeness.identical


def test_nan_equals_nan_and_nothing_else():
    assert relative_difference(float("nan"), float("nan")) == 0.0
    assert relative_difference(float("nan"), 1.0) == float("inf")
    assert relative_difference(1.0, 1.1) == pytest.approx(0.1 / 1.1)


def test_nothing_in_common_is_not_called_identical(run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.yaml").write_text((run / "config.yaml").read_text())
    assert not compare_runs(run, tmp_path / "empty").identical


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"compute": "32-true"}, "32-true"),
        ({"simulate": True, "format": "e5m2"}, "e5m2 in 32-true"),
        (
            {
                "simulate": True,
                "format": "e4m3",
                "grad_output": CastConfig(format="e5m2"),
                "storage": "rounded",
            },
            "e4m3/e5m2 in 32-true, stored rounded",
        ),
    ],
)
def test_the_table_of_runs_says_what_was_rounded(settings, words):
    assert describe_precision(asdict(PrecisionConfig(**settings))) == words


def test_a_narrow_terminal_gets_fewer_columns_and_none_is_cut():
    rows = [["a" * 20, "finished", "20/20", "3.8968", "32-true", "adamw", "2x32", "9,760"]]
    assert columns_that_fit(rows, 1000) == len(COLUMNS)
    assert columns_that_fit(rows, 48) == 4
    assert columns_that_fit(rows, 47) == 3
    assert columns_that_fit(rows, 5) == 2


def test_what_a_run_has_cost_is_shown(run):
    shown = summarise_run(run)
    assert shown.wall_s >= shown.train_s > 0
    assert shown.peak_memory_bytes > 50e6
    assert shown.seed == 1337
    assert (shown.trouble, shown.alerts) == (0, 0)
