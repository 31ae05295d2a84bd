"""docs/reference/metrics.md is complete: what runs write is in it, and what is in it is written."""

import re
from functools import cache
from pathlib import Path

import pytest

from altgrad.quantization import PrecisionConfig
from altgrad.runs.lines import read_jsonl
from altgrad.training import Trainer
from altgrad.training.instruments.config import DiagnosticsConfig, ShadowConfig

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
ROW = re.compile(r"^\| (?P<names>`[^|]*) \| (?P<unit>[^|]+) \| (?P<better>[^|]+) \| .+ \|$")
PLACEHOLDERS = {
    "NAME": r"[\w.]+",
    "LAYER": r"[\w.]+",
    "BINADE": "[0-7]",
    "ROLE": "(?:weight|input|grad_output)",
}
NOT_HERE = {"mfu", "compile_s", "val_bits_per_byte", "peak_gpu_bytes", "energy_j"}
"""Known peak, compiled run, corpus with bytes, a GPU, a machine that tells its energy."""


@cache
def documented() -> dict[str, str]:
    """Name as documented -> `better`, row by row."""
    rows = [ROW.match(line) for line in TABLE.read_text().splitlines()]
    return {
        name: row["better"]
        for row in rows
        if row
        for name in re.findall(r"`([^`]+)`", row["names"])
    }


def pattern_of(name: str) -> re.Pattern:
    text = re.escape(name)
    for placeholder, regex in PLACEHOLDERS.items():
        text = text.replace(placeholder, regex)
    return re.compile(text)


@pytest.fixture
def written(make_config, make_model, data_dir) -> set[str]:
    """Every name in the metrics of a run that measures all it can."""
    config = make_config(
        precision=PrecisionConfig(simulate=True, format="e4m3"),
        shadow=ShadowConfig(enabled=True),
        diagnostics=DiagnosticsConfig(every_steps=1, rank_every_steps=1),
        max_steps=2,
        eval_interval=1,
        eval_unrounded=True,
    )
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    trainer.train()
    lines = read_jsonl(trainer.recorder.folder.metrics)
    return {name for line in lines for name in line} - {"step"}


def test_every_name_that_a_run_writes_is_documented(written):
    patterns = [pattern_of(name) for name in documented()]
    assert [n for n in sorted(written) if not any(p.fullmatch(n) for p in patterns)] == []


def test_every_documented_name_is_written(written):
    silent = {
        name for name in documented() if not any(pattern_of(name).fullmatch(n) for n in written)
    }
    assert silent <= NOT_HERE


def test_every_row_says_which_direction_is_better():
    assert set(documented().values()) == {"↑", "↓", "="}
    assert len(documented()) > 60
