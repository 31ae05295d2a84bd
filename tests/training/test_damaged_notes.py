"""What a run noted of itself may be damaged as well: told in words, never a traceback."""

import json

import pytest

from altgrad.runs.folder import run_status, what_is_lost
from altgrad.runs.metrics_record import record_of


def run_with(folder, line, noted):
    (folder / "metrics.jsonl").write_text(line + "\n")
    events = [{"event": "started"}, {"event": "finished", "step": 3, "metrics": noted}]
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    return folder


@pytest.mark.parametrize(
    "noted", [3, "whole", [1], {"lines": "1"}, {"lines": 1}, {"lines": 1.5, "step": 3, "sha256": 0}]
)
def test_a_damaged_note_of_the_metrics_is_said(tmp_path, noted):
    run = run_with(tmp_path, '{"step": 3}', noted)
    assert what_is_lost(run) == "what was noted of metrics.jsonl is damaged"
    assert run_status(run) == "damaged"


@pytest.mark.parametrize("line", ['{"step": Infinity}', '{"step": 1e999}', "[" * 200_000])
def test_a_line_without_an_end_is_a_changed_file(tmp_path, line):
    noted = record_of(tmp_path / "none").to_dict() | {"lines": 1, "step": 3}
    run = run_with(tmp_path, line, noted)
    assert "line 1 cannot be read" in what_is_lost(run)
