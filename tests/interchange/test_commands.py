"""The words a person types, on one small run: evaluate, export, import, tune, merge, sample."""

import io
import json

import pytest

from altgrad.cli import main
from tests.evaluate.conftest import bundle_dir  # noqa: F401

TINY = [
    *("model=llama", "model.n_layer=1", "model.n_head=2", "model.n_kv_head=1", "model.n_embd=32"),
    *("model.block_size=32", "data.path=text.txt", "data.tokenizer=byte", "data.batch_size=4"),
    *("compile=false", "device=cpu", "precision=fp32", "optim=adamw", "max_steps=3"),
    *("eval_interval=3", "run_dir=runs/base"),
]


@pytest.fixture
def run(tmp_path):
    text = "To be, or not to be: 7 questions, 12 answers.\n" * 30
    (tmp_path / "text.txt").write_text(text)
    assert main(["train", *TINY]) == 0
    return tmp_path / "runs" / "base"


def test_the_loss_of_eval_is_the_runs_own_and_is_kept(run, capsys):
    capsys.readouterr()
    assert main(["eval", str(run), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    (corpus,) = report["corpora"]
    assert corpus["loss"] == pytest.approx(last["val_loss"], abs=1e-6)
    assert corpus["bits_per_byte"] == pytest.approx(last["val_bits_per_byte"], abs=1e-6)
    (kept,) = (run / "evaluations").iterdir()
    assert json.loads(kept.read_text()) == report


def test_tasks_print_a_line_each_and_a_mean_that_is_not_core(run, capsys, bundle_dir):  # noqa: F811
    words = ["--tasks", "core", "--bundle", str(bundle_dir), "--max-per-task", "4"]
    assert main(["eval", str(run), *words, "--dtype", "fp32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("openbook_qa", "winograd", "jeopardy")) for line in lines) == 3
    assert any("mean centred accuracy of 3 of CORE's 22 tasks" in line for line in lines)
    assert not any(line.startswith("CORE") for line in lines)


def test_a_text_of_another_tokenizer_and_an_unknown_task_are_refused(run, capsys, bundle_dir):  # noqa: F811
    capsys.readouterr()
    assert main(["eval", str(run), "--text", "nowhere.txt"]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["eval", str(run), "--tasks", "winogard", "--bundle", str(bundle_dir)]) == 2
    assert "did you mean 'winograd'" in capsys.readouterr().err


def test_a_run_is_exported_imported_and_sampled_alike(run, capsys):
    assert main(["export", str(run), "--to", "hf"]) == 0
    assert main(["import", str(run / "export" / "hf"), "--out", "runs/back"]) == 0
    words = ["--tokens", "12", "--temperature", "0", "--prompt", "To be"]
    texts = []
    for name in ("base", "back"):
        capsys.readouterr()
        assert main(["sample", name, *words]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


def test_adapters_are_tuned_merged_and_evaluated(run, capsys, tmp_path):
    (tmp_path / "other.txt").write_text("Call me Ishmael. Some years ago.\n" * 40)
    words = ["finetune=lora", "finetune.r=2", "init_from=base", "data.path=other.txt"]
    common = ["compile=false", "device=cpu", "precision=fp32", "max_steps=3", "eval_interval=3"]
    assert main(["train", *words, *common, "optim=adamw", "run_dir=runs/tuned"]) == 0
    assert main(["merge", "tuned", "--out", "runs/merged"]) == 0
    losses = []
    for name in ("tuned", "merged"):
        capsys.readouterr()
        assert main(["eval", name, "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["corpora"][0]["loss"])
    assert losses[0] == losses[1]
    assert main(["merge", "base"]) == 2
    assert "has no adapters" in capsys.readouterr().err


def test_interactive_sampling_answers_each_line(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("To be\n\n"))
    capsys.readouterr()
    assert main(["sample", str(run), "--interactive", "--tokens", "5"]) == 0
    assert capsys.readouterr().out.count("\n") >= 2
    assert main(["sample", str(run), "--count", "3", "--tokens", "5"]) == 0
    assert "--- 3 of 3" in capsys.readouterr().out


def test_serving_to_other_machines_is_refused_without_a_word(run, capsys):
    assert main(["serve", str(run), "--host", "0.0.0.0"]) == 2
    assert "--anywhere" in capsys.readouterr().err
