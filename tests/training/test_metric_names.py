"""The catalogue of metrics is complete: what runs write is in it, and what is in it is written."""

import re

import pytest

from altgrad.quantization import PrecisionConfig
from altgrad.runs.lines import read_jsonl
from altgrad.runs.metric_catalogue import EITHER, HIGHER, LOWER, metric_rows
from altgrad.training import Trainer, trainer
from altgrad.training.instruments import shadow
from altgrad.training.instruments.config import DiagnosticsConfig, ShadowConfig
from altgrad.training.recording import RunClock

PLACEHOLDERS = {
    "NAME": r"(?:\w+\.)+(?:weight|bias)",
    "LAYER": r"(?:\w+\.)*(?:c_\w+|lm_head)",
    "BINADE": "[0-7]",
    "ROLE": "(?:weight|input|grad_output)",
}
"""Narrow ones: a summary without a row (`grad_snr/max`) must not pass for a parameter."""


def pattern_of(name: str) -> re.Pattern:
    text = re.escape(name)
    for placeholder, regex in PLACEHOLDERS.items():
        text = text.replace(placeholder, regex)
    return re.compile(text)


def not_in_the_catalogue(names) -> list[str]:
    patterns = [pattern_of(known) for known in metric_rows()]
    return [n for n in sorted(names) if not any(p.fullmatch(n) for p in patterns)]


@pytest.fixture
def richer_machine(monkeypatch):
    """What not every machine has: a compiler, a GPU, and a meter of energy."""
    monkeypatch.setattr(trainer, "compile_network", lambda network, **how: network)
    monkeypatch.setattr(shadow, "compile_network", lambda network, **how: network)
    monkeypatch.setattr(RunClock, "energy_j", 1.0)
    monkeypatch.setattr(RunClock, "peak_gpu_bytes", 1)


@pytest.fixture
def written(make_config, make_model, data_dir, richer_machine) -> set[str]:
    """Every name in the metrics of a run that measures all it can."""
    config = make_config(
        precision=PrecisionConfig(simulate=True, format="e4m3"),
        shadow=ShadowConfig(enabled=True),
        diagnostics=DiagnosticsConfig(every_steps=1, rank_every_steps=1),
        max_steps=2,
        eval_interval=1,
        eval_unrounded=True,
        compile=True,
    )
    run = Trainer(config, make_model(config), data_dir, "cpu")
    run._speed.peak = 1e12
    run.evaluator.text_bytes = lambda limit: 500
    run.train()
    lines = read_jsonl(run.recorder.folder.metrics)
    return {name for line in lines for name in line} - {"step"}


def test_every_name_that_a_run_writes_is_in_the_catalogue(written):
    assert len(written) > 500
    assert not_in_the_catalogue(written) == []


def test_every_name_of_the_catalogue_is_written(written):
    silent = [k for k in metric_rows() if not any(pattern_of(k).fullmatch(n) for n in written)]
    assert silent == []


def test_a_summary_without_a_row_is_noticed():
    assert not_in_the_catalogue(["grad_snr/max", "amax/input/median"]) == [
        "amax/input/median",
        "grad_snr/max",
    ]


def test_no_name_has_two_rows_and_every_row_says_what_it_is():
    rows = set(metric_rows().values())
    assert len(metric_rows()) == sum(len(row.names.split()) for row in rows) > 60
    assert {row.better for row in rows} == {HIGHER, LOWER, EITHER}
    assert all(row.unit and row.meaning for row in rows)
