"""`altgrad ci`: the workflow file is one that GitHub takes, and its check runs and can fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from altgrad.cli import main
from altgrad.commands import ci
from altgrad.compare.baseline import freeze_baseline
from altgrad.learn.verify import verify
from altgrad.learn.verify.overfit import CHECKS as OVERFIT
from altgrad.learn.verify.result import Check
from tests.compare.conftest import run_here
from tests.test_release import SCHEMA

TINY = [f"model.{word}" for word in ("n_layer=1", "n_head=2", "n_embd=16", "block_size=8")]
TINY += ["model=gpt2", "optim=adamw", "device=cpu", "data.path=text.txt", "data.batch_size=4"]
TINY += ["max_steps=4", "eval_interval=2", "compile=false", "precision=fp32", "sample_tokens=2"]
PART = "model.attention=ci_part:Attention"


@pytest.fixture
def part(monkeypatch):
    """A repository with a part of one's own, and a baseline frozen with it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "ci_part", raising=False)
    monkeypatch.delenv(ci.SUMMARY, raising=False)
    Path("text.txt").write_text("To be, or not to be, that is the question.\n" * 9)
    assert main(["new", "attention", "ci_part.py"]) == 0
    assert main(["train", *TINY, PART, "run_dir=runs/a"]) == 0
    freeze_baseline("own", [Path("runs/a")])


def job(path: Path = ci.WORKFLOW) -> dict:
    return yaml.safe_load(path.read_text())["jobs"]["check"]


def test_the_step_of_the_workflow_runs_and_its_verdict_is_the_jobs_summary(part, tmp_path):
    assert main(["ci", "init", PART, "--baseline", "own"]) == 0
    commands = [step["run"] for step in job()["steps"] if "run" in step]
    assert commands[0] == "python -m pip install altgrad"
    subprocess.run([*SCHEMA, ci.WORKFLOW], check=True, capture_output=True)
    here = Path(ci.__file__).parents[2]
    short = "import sys; from altgrad.learn.verify import verify, overfit;"
    short += "verify.CHECKS = overfit.CHECKS; from altgrad.cli import main; sys.exit(main())"
    (tmp_path / "altgrad").write_text(f"#!/bin/sh\nexec {sys.executable} -c '{short}' \"$@\"\n")
    (tmp_path / "altgrad").chmod(0o755)
    places = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": f"{here}:{tmp_path}"}
    ended = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", commands[1]],
        env={**os.environ, **places, ci.SUMMARY: "summary.md"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    summary = Path("summary.md").read_text()
    assert summary.startswith(f"## altgrad holds: {3 + len(OVERFIT)} checks\n")
    assert f"`altgrad ci check {PART} --baseline own`" in summary
    assert "| ✓ | baseline own | seed 1337: best validation loss" in summary
    assert all(f"| ✓ | {check.name} |" in summary for check in OVERFIT)


def test_a_check_that_fails_fails_the_job_by_name(part, monkeypatch, capsys):
    no = Check("no | good", "p", "l", lambda _: f"{1 / 0}")
    monkeypatch.setattr(verify, "CHECKS", [no])
    monkeypatch.setenv(ci.SUMMARY, "summary.md")
    assert main(["ci", "check", PART]) == 1
    assert capsys.readouterr().out.endswith("fails: no | good\n")
    assert "| ✗ | no \\| good | ZeroDivisionError: division by zero |" in (
        Path("summary.md").read_text()
    )


def test_a_baseline_that_does_not_hold_fails_the_job(part, monkeypatch, capsys):
    path = Path("experiments/baselines/own.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "target": 2 * record["target"]}))
    monkeypatch.setattr(verify, "CHECKS", [])
    run_here(monkeypatch)
    assert main(["ci", "check", PART, "--baseline", "own"]) == 1
    assert capsys.readouterr().out.endswith("fails: baseline own\n")


SAYING = 'altgrad() { printf "%s\\n" "$@"; }; python() { altgrad "$@"; }; '


def test_words_that_the_shell_or_yaml_would_read_otherwise_arrive_as_typed():
    words = ["sample_prompts=['a: b', \"c #d\"]", "run_dir=a b"]
    assert main(["ci", "init", *words, "--install", "./my wheel.whl"]) == 0
    commands = [step["run"] for step in job()["steps"] if "run" in step]
    arrived = [
        subprocess.run(
            ["bash", "-c", f"{SAYING}{c}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for c in commands
    ]
    assert arrived == [["-m", "pip", "install", "./my wheel.whl"], ["ci", "check", *words]]


def test_a_workflow_that_is_there_is_not_written_over(capsys):
    assert main(["ci", "init"]) == 0
    assert main(["ci", "init", "model=gpt2"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert job()["steps"][-1]["run"] == "altgrad ci check"
