"""A run's metrics as a spreadsheet while it runs, as a table afterwards, and as pictures."""

import csv
import re
from pathlib import Path

import pytest

from altgrad.cli import main
from altgrad.runs.lines import read_jsonl
from altgrad.training import Trainer
from altgrad.training.build import build_run, resume_run


def table(text: str) -> list[dict]:
    """Rows without what is empty, numbers as numbers."""
    rows = csv.DictReader(text.splitlines())
    return [
        {k: v if k == "run" else float(v) for k, v in row.items() if v not in ("", None)}
        for row in rows
    ]


@pytest.fixture
def make_run(make_config, make_model, data_dir):
    def make(name: str, **settings) -> Path:
        config = make_config(max_steps=3, eval_interval=2, run_dir=name, **settings)
        return Path(Trainer(config, make_model(config), data_dir, "cpu").train()["run_dir"])

    return make


def test_the_csv_tracker_has_every_number_and_a_resumed_run_no_double(make_config, data_dir):
    config = make_config(max_steps=3, eval_interval=2, run_dir="runs/a")
    config.data.path, config.tracker.names = str(data_dir), ["csv"]
    build_run(config).train()
    config.max_steps = 5
    resume_run(Path("runs/a"), config=config, allow=["max_steps"]).train()
    lines = list(read_jsonl(Path("runs/a/metrics.jsonl")))
    assert table(Path("runs/a/metrics.csv").read_text()) == lines
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]


def test_memory_is_among_the_metrics_and_only_grows(make_run):
    lines = list(read_jsonl(make_run("runs/a") / "metrics.jsonl"))
    peaks = [line["peak_memory_bytes"] for line in lines]
    assert peaks == sorted(peaks)
    assert 2**24 < peaks[-1] < 2**40


def test_export_metrics_gives_what_was_asked_of_every_run(make_run, capsys):
    for name in ("runs/a=1", "runs/b"):
        make_run(name)
    assert main(["export-metrics", "loss", "val_*", "a=1", "runs/b", "--out", "out.csv"]) == 0
    rows = table(Path("out.csv").read_text())
    assert [(row["run"], row["step"]) for row in rows] == [
        (run, step) for run in ("a=1", "b") for step in (1, 2, 3)
    ]
    lines = list(read_jsonl(Path("runs/a=1/metrics.jsonl")))
    names = [n for n in lines[-1] if n == "loss" or n.startswith("val_")]
    assert len(names) > 2
    assert rows[2] == {"run": "a=1", "step": 3, **{n: lines[-1][n] for n in names}}
    capsys.readouterr()
    assert main(["export-metrics", "runs/b"]) == 0
    everything = table(capsys.readouterr().out)[-1]
    assert {k: v for k, v in everything.items() if k != "run"} == list(
        read_jsonl(Path("runs/b/metrics.jsonl"))
    )[-1]


def test_parquet_holds_the_same_as_csv(make_run):
    parquet = pytest.importorskip("pyarrow.parquet")
    run = make_run("runs/a")
    assert main(["export-metrics", str(run), "--out", "out.parquet"]) == 0
    found = parquet.read_table("out.parquet").to_pylist()
    lines = list(read_jsonl(run / "metrics.jsonl"))
    whole = [{k: v for k, v in row.items() if v is not None and k != "run"} for row in found]
    assert whole == lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["val_los"], "no metric 'val_los' in these runs. Did you mean 'val_loss'"),
        (["--out", "x.xls"], "write a .csv or a .parquet file"),
        (["runs/none"], "runs/none is not a run folder"),
    ],
)
def test_what_is_not_there_is_refused(make_run, capsys, words, said):
    make_run("runs/a")
    assert main(["export-metrics", *words]) == 2
    assert said in capsys.readouterr().err


def test_any_metric_is_plotted_by_pattern_and_a_control_with_a_shadow_too(make_run, capsys):
    run = make_run("runs/a=1", shadow={"enabled": True}, diagnostics={"every_steps": 1})
    assert main(["plot", "grad_norm", "grad_snr_db/*", "a=1", "--out", "any.png"]) == 0
    assert Path("any.png").stat().st_size > 10_000
    assert main(["plot", "loss"]) == 0
    assert Path(capsys.readouterr().out.split()[-1]).name == "metrics_loss.png"
    assert main(["plot", "--numerics", str(run)]) == 0
    assert (run / "figures/numerics_over_time.png").is_file()
    assert not list(run.glob("figures/numerics_histograms*"))
    assert main(["plot", "grad_nrm", "a=1"]) == 2
    assert re.search(r"Did you mean 'grad_norm", capsys.readouterr().err)


def test_every_run_argument_takes_a_name_that_holds_an_equals_sign(capsys):
    Path("text.txt").write_text("To be, or not to be.\n" * 200)
    tiny = ["data.path=text.txt", "max_steps=1", "eval_interval=1", "data.batch_size=2"]
    tiny += ["device=cpu", "compile=false", "model.n_layer=1", "model.n_embd=16"]
    tiny += [
        "model=gpt2",
        "model.n_head=2",
        "model.block_size=8",
        "sample_tokens=0",
        "precision=fp32",
    ]
    name = "lr=0.1,seed=1"
    assert main(["train", *tiny, f"run_dir=runs/{name}"]) == 0
    for command in (["show"], ["resume"], ["plot"], ["gc"], ["sample", "--tokens", "2"]):
        for run in (name, f"runs/{name}"):
            assert main([command[0], run, *command[1:]]) == 0, (command, run)
    assert main(["reproduce", name]) == 0
    words = [w for w in tiny if not w.startswith("model")]
    assert main(["train", *words, f"init_from={name}", "run_dir=next"]) == 0
    assert name in Path("next/config.yaml").read_text()
