"""`altgrad compare`, `report` and `baseline` as a person types them."""

import json
import os
import shlex
import signal
import time
from pathlib import Path

import pytest

from altgrad.cli import main
from altgrad.runs.folder import find_runs

pytest.importorskip("altair")


@pytest.fixture
def words(data_dir) -> list[str]:
    tiny = "model=gpt2 model.n_layer=1 model.n_head=1 model.n_embd=8 model.block_size=8"
    run = "model.vocab_size=13 data.batch_size=2 max_steps=4 eval_interval=2 device=cpu"
    return [*tiny.split(), *run.split(), "compile=false", "threads=1", f"data.path={data_dir}"]


def test_presets_are_compared_and_the_verdict_is_printed(words, here, capsys):
    assert main(["compare", "optim=adamw,muon", "seeds=2", "precision=fp32", *words]) == 0
    out = capsys.readouterr().out
    assert "Does muon change val_loss against adamw?" in out
    assert "[4/4] muon seed 2: finished" in out
    (html,) = Path("runs/compare").glob("*/report.html")
    assert f"report: {html}" in out
    assert (html.parent / "verdict.json").is_file()


def test_rounding_is_compared_in_the_controls_arithmetic(words, here, capsys):
    assert main(["compare", "precision=bf16,e5m2", "seeds=2", "optim=adamw", *words]) == 0
    report = next(Path("runs/compare").glob("*/report.md")).read_text()
    assert "| arithmetic | bf16-mixed |" in report


def test_json_goes_to_programs_and_words_to_people(words, here, capsys):
    main(["compare", "optim.lr=0.01,0.02", "seeds=2", "precision=fp32", "--json", *words])
    captured = capsys.readouterr()
    assert set(json.loads(captured.out)["verdicts"]) == {"lr=0.02"}
    assert "seed 2: finished" in captured.err


def test_a_dry_run_runs_nothing(words, capsys):
    assert main(["compare", "optim=adamw,muon", "precision=fp32", "--dry-run", *words]) == 0
    assert "4 steps" in capsys.readouterr().out
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["precision=fp32,bf16"], "allow=[precision.compute]"),
        (["optim=adamw,muonn"], "Did you mean 'muon'"),
        (["optim=adamw,muon", "seed=3"], "write seeds=5"),
        (["optim=adamw,muon", "launcher=k8s"], "launcher='k8s'"),
        (["optim=adamw,muon", "tune=optim.name"], "is not a number"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(words, here, capsys, typed, expected):
    assert main(["compare", *typed, *words]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_stopped_comparison_says_how_to_go_on(words, capsys, monkeypatch, number):
    """As clusters, terminals and people stop it; the handlers of before come back."""

    def stop(*_):
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setattr("altgrad.compare.comparison.Comparison.run", stop)
    asked = ["compare", "optim.lr=0.01,0.02", "seeds=2", "precision=fp32", *words]
    handed_down = signal.getsignal(number)
    if number == signal.SIGINT:  # a shell's background job is born with it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        before = signal.getsignal(number)
        assert main(asked) == 130
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, handed_down)
    assert f"Go on with: altgrad {shlex.join(asked)}" in capsys.readouterr().out


def test_a_report_is_written_again_from_the_folders(words, here, capsys):
    main(["compare", "optim.lr=0.01,0.02", "seeds=2", "precision=fp32", *words])
    (folder,) = Path("runs/compare").iterdir()
    (folder / "report.html").unlink()
    assert main(["report"]) == 0
    assert (folder / "report.html").is_file()
    assert main(["report", folder.name]) == 0


def test_a_report_without_runs_says_what_to_do(capsys):
    assert main(["report"]) == 2
    assert "altgrad compare" in capsys.readouterr().err


@pytest.mark.slow
def test_a_baseline_is_frozen_and_verified(words, here, data_dir, capsys):
    run = [w for w in words if not w.startswith("threads")]
    for seed in (1, 2):
        main(["train", f"seed={seed}", f"run_dir=runs/s{seed}", "precision=fp32", *run])
    names = [r.name for r in find_runs("runs")]
    assert main(["baseline", "freeze", "mine", *names, "--spread", "0.5"]) == 0
    place = ["threads=1", f"data.path={data_dir}"]
    capsys.readouterr()
    assert main(["baseline", "verify", "mine", "--seeds", "1", *place]) == 0
    assert "holds: within 5%" in capsys.readouterr().out
    assert main(["baseline", "verify"]) == 0
    assert "mine: validation loss" in capsys.readouterr().out
