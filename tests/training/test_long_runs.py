"""A run of very many lines is read once, and only what is shown is kept."""

import json
import tracemalloc
from hashlib import sha256

import pytest
import yaml

from altgrad.runs import run_status, summarise_run

LINES = 20_000


@pytest.fixture
def long_run(tmp_path, make_config):
    run = tmp_path / "long"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(make_config().to_dict()))
    made = (
        {"step": i, "loss": 2.5, "tokens_per_s": 100.0 + i, "train_s": 0.5 * i, "x": 0.1, "y": 0.2}
        | ({"val_loss": 3.0 + (i != 1000)} if i % 1000 == 0 else {})
        for i in range(1, LINES + 1)
    )
    content = "".join(json.dumps(line) + "\n" for line in made).encode()
    (run / "metrics.jsonl").write_bytes(content)
    written = {"lines": LINES, "step": LINES, "sha256": sha256(content).hexdigest()}
    event = {"time": 0, "event": "finished", "step": LINES, "metrics": written}
    (run / "events.jsonl").write_text(json.dumps(event) + "\n")
    return run


def test_a_long_run_is_summarised_in_little_memory(long_run):
    summarise_run(long_run)  # what is imported on the way is not the run's
    tracemalloc.start()
    found = summarise_run(long_run)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.status, found.step, found.train_s) == ("finished", LINES, LINES / 2)
    assert (found.best_val_loss, found.val_loss) == (3.0, 4.0)
    assert found.tokens_per_s == 101.0 + LINES / 2
    assert most < (long_run / "metrics.jsonl").stat().st_size


@pytest.mark.parametrize("damage", ["cut", "changed", "longer", "torn"])
def test_a_damaged_long_run_is_still_noticed(long_run, damage):
    path = long_run / "metrics.jsonl"
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: content.rindex(b"\n", 0, -1) + 1],
            "changed": content.replace(b'"loss": 2.5', b'"loss": 2.4', 1),
            "longer": content + b'{"step": 20001}\n',
            "torn": content[:-5],
        }[damage]
    )
    assert run_status(long_run) == "damaged"
