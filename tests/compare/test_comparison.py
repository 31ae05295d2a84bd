"""A whole comparison of tiny runs: made, continued, reused, refused, tuned, lost."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from altgrad.compare.budget import flops_per_step
from altgrad.compare.conclusion import conclude
from altgrad.compare.launching import worker
from altgrad.compare.launching.sweep import Wanted, as_task
from altgrad.compare.launching.worker import measure_steps_s
from altgrad.compare.outcomes import read_outcome
from altgrad.compare.record import read_record
from altgrad.compare.regroup import find_comparison
from altgrad.compare.report.tables import failures_table, tuning_table
from altgrad.compare.report.words import headline, verdict_lines
from altgrad.compare.state import state_of
from altgrad.runs import costs_of
from altgrad.runs.folder import find_runs
from altgrad.runs.lines import read_jsonl
from altgrad.training import Trainer
from altgrad.training.build import build_run


def started(run: Path) -> int:
    events = [e["event"] for e in read_jsonl(run / "events.jsonl")]
    return events.count("started") + events.count("resumed")


def test_every_run_is_an_ordinary_run_folder(finished):
    conclusion = finished("optim.lr=0.01,0.1 seeds=2")
    assert len(find_runs("runs")) == 4
    assert {state_of(run) for run in find_runs("runs")} == {"finished"}
    assert [len(row) for row in conclusion.outcomes.values()] == [2, 2]
    assert [e.arm for e in conclusion.evidence] == ["lr=0.1"]


def test_the_outcome_is_the_last_validation_loss(finished):
    conclusion = finished("optim.lr=0.01,0.1 seeds=2")
    for row in conclusion.outcomes.values():
        for outcome in row:
            lines = [m for m in read_jsonl(Path(outcome.run) / "metrics.jsonl") if "val_loss" in m]
            assert outcome.outcome == lines[-1]["val_loss"]


def test_the_outcome_may_be_a_mean_of_the_last_evaluations(finished):
    conclusion = finished("optim.lr=0.01,0.1 seeds=2 last=2")
    outcome = conclusion.outcomes["lr=0.01"][0]
    lines = [
        m["val_loss"] for m in read_jsonl(Path(outcome.run) / "metrics.jsonl") if "val_loss" in m
    ]
    assert outcome.outcome == pytest.approx(np.mean(lines[-2:]))


def test_identical_arms_share_their_runs_and_are_said_to_be_one(finished):
    conclusion = finished("optim.eps=1e-8,1.0e-8 seeds=2")
    assert conclusion.evidence[0].verdict == "the same arm"
    assert len(find_runs("runs")) == 2


def test_asking_again_runs_nothing(ask, here):
    first = conclude(ask("optim.lr=0.01,0.1 seeds=2").run())
    counts = {run: started(run) for run in find_runs("runs")}
    again = conclude(ask("optim.lr=0.01,0.1 seeds=2").run())
    assert {run: started(run) for run in find_runs("runs")} == counts
    assert [e.to_dict() for e in again.evidence] == [e.to_dict() for e in first.evidence]


def test_more_seeds_keep_the_runs_that_are_there(ask, here):
    ask("optim.lr=0.01,0.1 seeds=2").run()
    folder = ask("optim.lr=0.01,0.1 seeds=3").run()
    assert len(find_runs("runs")) == 6
    assert len(conclude(folder).record.reused) == 4


def test_a_run_made_by_hand_is_reused(ask, here, compose):
    config = compose(["optim.lr=0.01", "sample_tokens=0"])
    config.seed, config.run_dir = 1, "runs/mine"
    assert build_run(config).train()["status"] == "finished"
    folder = ask("optim.lr=0.01,0.1 seeds=2").run()
    assert conclude(folder).record.reused == ["mine"]
    assert len(find_runs("runs")) == 4


def test_a_run_that_was_altered_on_its_way_is_not_reused(ask, here, compose):
    config = compose(["optim.lr=0.01", "sample_tokens=0"])
    config.seed, config.run_dir = 1, "runs/mine"
    build_run(config).train()
    with Path("runs/mine/events.jsonl").open("a") as file:
        file.write('{"event": "resumed", "step": 3, "changed": {"max_steps": [3, 6]}}\n')
        file.write('{"event": "finished", "step": 6}\n')
    comparison = ask("optim.lr=0.01,0.1 seeds=1")
    comparison.run()
    assert comparison.record.runs["lr=0.01"]["1"] != "mine"


def test_other_data_is_another_run(ask, here, data_dir):
    ask("optim.lr=0.01,0.1 seeds=1").run()
    tokens = np.fromfile(data_dir / "train.bin", dtype=np.uint16)
    tokens[:10] = 0
    tokens.tofile(data_dir / "train.bin")
    ask("optim.lr=0.01,0.1 seeds=1").run()
    assert len(find_runs("runs")) == 4


def test_an_edited_helper_of_an_own_part_is_run_anew(ask, here, monkeypatch):
    """Asked as in a process of its own: the working directory is on no path yet."""
    part = "import own_scale\nfrom altgrad.model.mlp import GELU\nclass Mine(GELU): ...\n"
    Path("own_part_compared.py").write_text(part)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p).resolve() != Path.cwd()])
    for scale, runs in ((1, 4), (1, 4), (2, 6)):
        Path("own_scale.py").write_text(f"SCALE = {scale}\n")
        for name in ("own_part_compared", "own_scale"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        ask("model.mlp=gelu,own_part_compared:Mine seeds=2").run()
        assert len(find_runs("runs")) == runs


def test_a_stopped_comparison_goes_on_with_the_same_verdict(ask, here, monkeypatch, tmp_path):
    words = "optim.lr=0.01,0.1 seeds=2 max_steps=8 eval_interval=4"
    whole = conclude(ask(f"{words} runs={tmp_path}/whole").run())

    calls = []
    real = Trainer.train_step

    def stop_in_the_third_run(self, x, y):
        calls.append(1)
        if len(calls) == 2 * 8 + 7:
            raise KeyboardInterrupt
        return real(self, x, y)

    monkeypatch.setattr(Trainer, "train_step", stop_in_the_third_run)
    with pytest.raises(KeyboardInterrupt):
        ask(f"{words} runs={tmp_path}/cut").run()
    monkeypatch.setattr(Trainer, "train_step", real)
    cut = conclude(ask(f"{words} runs={tmp_path}/cut").run())
    counts = sorted(started(run) for run in find_runs(tmp_path / "cut"))
    assert counts == [1, 1, 1, 2]
    assert [e.to_dict() for e in cut.evidence] == [e.to_dict() for e in whole.evidence]


def test_an_incomplete_comparison_has_no_verdict(ask, here):
    folder = ask("optim.lr=0.01,0.1 seeds=1").run()
    run = find_runs("runs")[0]
    lines = (run / "events.jsonl").read_text().splitlines()
    (run / "events.jsonl").write_text(lines[0] + "\n")
    with pytest.raises(ValueError, match="1 of 2 runs have not ended"):
        conclude(folder)


def test_a_diverging_arm_is_an_outcome(finished):
    conclusion = finished("optim.lr=0.01,1.0e+30 seeds=2 guards.nan_patience=1 max_steps=12")
    assert [o.state for o in conclusion.outcomes["lr=1.0e+30"]] == ["diverged", "diverged"]
    assert conclusion.evidence[0].lost == 2
    assert conclusion.evidence[0].verdict != "better"


def test_a_failing_arm_is_kept_and_counted_after_its_retries(ask, here, monkeypatch):
    real = Trainer.train_step

    def fail(self, x, y):
        if self.config.optim.lr == 0.1:
            raise RuntimeError("out of memory, say")
        return real(self, x, y)

    monkeypatch.setattr(Trainer, "train_step", fail)
    conclusion = conclude(ask("optim.lr=0.01,0.1 seeds=2 retries=2").run())
    lost = conclusion.outcomes["lr=0.1"]
    assert [o.state for o in lost] == ["failed", "failed"]
    assert lost[0].error == "RuntimeError: out of memory, say"
    assert started(Path(lost[0].run)) == 3


def test_flops_are_made_equal(ask):
    comparison = ask("model.n_embd=8,32 budget=flops max_steps=40")
    comparison.prepare()
    small, large = comparison.record.spending
    assert large["steps"] < small["steps"] == 40
    assert large["total"] == pytest.approx(small["total"], rel=0.5 / large["steps"])


def test_flops_of_a_run_with_two_contexts_are_those_of_both_parts(compose):
    both, short, whole = (
        flops_per_step(compose([*words, "max_steps=10", "model.vocab_size=13"]))
        for words in (
            ["schedule.short_context=2", "schedule.short_fraction=0.3"],
            ["model.block_size=2"],
            [],
        )
    )
    short *= 8 / 2  # a step has the tokens of blocks of 8
    assert short < whole
    assert both == pytest.approx(0.3 * short + 0.7 * whole, rel=1e-12)


def test_tokens_are_made_equal(ask):
    comparison = ask("data.batch_size=2,4 max_steps=40")
    comparison.prepare()
    assert [s["steps"] for s in comparison.record.spending] == [40, 20]


def test_wall_time_is_measured_once_and_made_equal(ask, monkeypatch):
    seconds = iter([0.01, 0.02])
    measured = {}

    def measure(self, arm):
        return measured.setdefault(arm.name, next(seconds))

    monkeypatch.setattr("altgrad.compare.comparison.Comparison._measure_s", measure)
    comparison = ask("model.n_embd=8,32 budget=time max_steps=40")
    comparison.prepare()
    assert [s["steps"] for s in comparison.record.spending] == [40, 20]


def test_a_step_of_a_deeper_arm_is_measured_as_longer(compose, tmp_path):
    wanted = [
        Wanted(f"{layers}", compose([f"model.n_layer={layers}"]), tmp_path / "runs" / "measured")
        for layers in (1, 12)
    ]
    shallow, deep = measure_steps_s([as_task(w, threads=1) for w in wanted], steps=8)
    assert 0 < 1.5 * shallow < deep
    assert not (tmp_path / "runs").exists()


def test_a_run_with_two_contexts_is_timed_in_both(compose, tmp_path):
    words = ["schedule.short_context=2", "schedule.short_fraction=0.5", "max_steps=8"]
    wanted = Wanted("short", compose(words), tmp_path / "runs" / "measured")
    seen = []
    real = worker._typical
    worker._typical = lambda timed: seen.extend(timed) or real(timed)
    try:
        measure_steps_s([as_task(wanted, threads=1)], steps=8)
    finally:
        worker._typical = real
    assert [context for context, _ in seen] == [2] * 4 + [8] * 4


def test_the_seconds_of_two_contexts_are_weighed_by_their_steps():
    timed = [(4, 9.0), (4, 1.0), (4, 1.0), (4, 1.0), (8, 9.0), (8, 3.0), (8, 3.0), (8, 3.0)]
    assert worker._typical(timed) == 2.0
    assert worker._typical(timed[:4]) == 1.0


def test_tuning_chooses_on_its_own_seeds_and_reports_an_edge(ask, here):
    folder = ask("optim.eps=1e-8,1e-4 tune=optim.lr tuning.grid=0.00001,0.03 seeds=2").run()
    record = conclude(folder).record
    assert [t["value"] for t in record.tuning] == [0.03, 0.03]
    assert [t["edge"] for t in record.tuning] == ["highest", "highest"]
    assert len(record.tuning_runs) == 4
    assert not set(record.tuning_runs) & {r for runs in record.runs.values() for r in runs.values()}


def test_a_tuning_run_that_was_lost_is_null_for_programs(finished):
    words = "optim.eps=1e-8,1e-4 tune=optim.lr tuning.grid=0.01,1.0e+30 seeds=2 max_steps=12"
    conclusion = finished(f"{words} guards.nan_patience=1")
    content = json.loads(json.dumps(conclusion.to_dict(), allow_nan=False))
    assert content["record"]["tuning"][0]["outcomes"]["1e+30"] == [None]
    assert [row["mean outcome"] for row in tuning_table(conclusion)].count("lost") == 2


@pytest.mark.slow
def test_a_grid_grows_where_its_winner_lies_at_the_edge(ask, here):
    words = "optim.eps=1e-8,1e-4 tune=optim.lr tuning.grid=0.0001,0.001 tuning.extend=2 seeds=1"
    tried = conclude(ask(words).run()).record.tuning[0]["outcomes"]
    assert [float(v) for v in tried] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])


@pytest.mark.slow
def test_optuna_searches_between_the_ends(ask, here):
    pytest.importorskip("optuna")
    words = "optim.eps=1e-8,1e-4 tune=optim.lr tuning.grid=0.001,0.1 tuning.search=optuna"
    record = conclude(ask(f"{words} tuning.trials=3 seeds=1").run()).record
    for tuned in record.tuning:
        assert len(tuned["outcomes"]) == 3
        assert all(0.001 <= float(v) <= 0.1 for v in tuned["outcomes"])


def test_as_you_go_stops_when_decided(ask, here):
    folder = ask("optim.lr=0.0001,0.1 seeds=auto max_seeds=8 max_steps=30 eval_interval=30").run()
    conclusion = conclude(folder)
    assert 3 <= len(conclusion.runs["lr=0.1"]) < 8
    assert conclusion.evidence[0].verdict == "better"


@pytest.mark.slow
def test_as_you_go_gives_up_at_its_limit(ask, here):
    folder = ask("optim.eps=1e-8,1e-7 delta=1e-9 seeds=auto max_seeds=4").run()
    conclusion = conclude(folder)
    assert len(conclusion.runs["eps=1e-8"]) == 4
    assert conclusion.evidence[0].verdict == "inconclusive"


def test_a_crossed_design_has_its_contrast(finished):
    conclusion = finished("optim.lr=0.001,0.03 data.batch_size=2,4 design=crossed seeds=2")
    *_, contrast = conclusion.contrasts
    cells = {name: np.array([o.outcome for o in row]) for name, row in conclusion.outcomes.items()}
    both, low, small = "lr=0.03 + batch_size=4", "lr=0.03 + batch_size=2", "lr=0.001 + batch_size=4"
    d = (cells[both] - cells[low]) - (cells[small] - cells["lr=0.001 + batch_size=2"])
    assert contrast.mean == pytest.approx(d.mean())
    asked = "data.batch_size (2, 4) act differently on val_loss under different optim.lr"
    assert asked in conclusion.question.question


def test_an_interaction_that_is_shown_stands_in_the_headline(finished):
    conclusion = finished("optim.lr=0.001,0.03 data.batch_size=2,4 design=crossed seeds=2")
    *_, contrast = conclusion.contrasts
    shown = replace(contrast, verdict="interaction", words="4 gains more", low=-0.3, high=-0.1)
    conclusion = replace(conclusion, evidence=[], contrasts=[shown])
    assert headline(conclusion) == "4 gains more"
    (line,) = verdict_lines(conclusion)
    assert line == f"4 gains more; difference {contrast.mean:+.4f} [-0.3000, -0.1000] over 2 seeds"


def test_runs_alone_make_a_comparison(ask, here):
    ask("optim.lr=0.01,0.1 seeds=2").run()
    names = [run.name for run in find_runs("runs")]
    with pytest.raises(ValueError, match=r"optim\.lr; name it"):
        find_comparison(names, "runs")
    one_arm = [name for name in names if "lr=0.01-" in name]
    with pytest.raises(ValueError, match="differ in nothing but the seed"):
        find_comparison(one_arm, "runs")
    conclusion = conclude(find_comparison(names, "runs", axis="optim.lr"))
    assert len(conclusion.evidence) == 1
    assert len(conclusion.runs) == 2


def test_the_verdict_for_programs_is_json(finished):
    content = json.loads(json.dumps(finished("optim.lr=0.01,0.1 seeds=2").to_dict()))
    assert set(content["verdicts"]) == {"lr=0.1"}
    assert content["outcomes"]["lr=0.01"][0]["seed"] == 1


def lose_the_end_of(run):
    path = run / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))


def test_a_run_that_lost_the_end_of_its_metrics_counts_as_lost_and_is_named(ask, here):
    folder = ask("optim.lr=0.01,0.1 seeds=2").run()
    before = conclude(folder)
    (run,) = (r for r in find_runs("runs") if r.name.startswith("lr=0.1-seed2"))
    lose_the_end_of(run)
    after = conclude(folder)
    (lost,) = (o for row in after.outcomes.values() for o in row if o.lost)
    assert (lost.state, Path(lost.run).name) == ("damaged", run.name)
    assert lost.error.startswith("metrics.jsonl has ")
    assert any(run.name in note and "counts as lost" in note for note in after.fairness.notes)
    assert [row["state"] for row in failures_table(after)] == ["damaged"]
    again = conclude(ask("optim.lr=0.01,0.1 seeds=2").run())
    assert [e.to_dict() for e in again.evidence] == [e.to_dict() for e in before.evidence]


def test_a_run_that_ended_before_its_last_step_counts_as_lost(ask, here):
    folder = ask("optim.lr=0.01,0.1 seeds=1").run()
    run = find_runs("runs")[0]
    settings = run / "config.yaml"
    steps = yaml.safe_load(settings.read_text())["max_steps"]
    settings.write_text(
        settings.read_text().replace(f"\nmax_steps: {steps}\n", f"\nmax_steps: {steps + 1}\n")
    )
    found = read_outcome("a", 1, run, read_record(folder)[0])
    assert (found.state, found.error) == ("damaged", f"it ended at step {steps} of {steps + 1}")
    assert found.lost


def test_memory_is_the_gpus_where_the_run_used_one():
    events = [{"event": "finished", "peak_memory_bytes": 9, "peak_gpu_bytes": 5}]
    assert costs_of([], events)["peak_memory_bytes"] == 5
    assert costs_of([], [{**events[0], "peak_gpu_bytes": None}])["peak_memory_bytes"] == 9
