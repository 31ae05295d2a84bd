"""A frozen control arm: recorded once, rerun later, and a failure when it no longer holds."""

import json

import pytest

from altgrad.compare.baseline import (
    SHIPPED,
    find_baseline,
    freeze_baseline,
    narrow_spread,
    verify_baseline,
)
from altgrad.compose import compose_config
from altgrad.runs.folder import find_runs
from altgrad.training.build import build_run
from altgrad.training.config import TrainConfig


@pytest.fixture
def runs(compose):
    for seed in (1, 2):
        config = compose(["optim.lr=0.01", "max_steps=20"])
        config.seed, config.run_dir = seed, f"runs/seed{seed}"
        build_run(config).train()
    return find_runs("runs")


def path_word(data_dir) -> list[str]:
    return [f"data.path={data_dir}", "threads=1"]


def test_a_frozen_run_verifies(runs, here, data_dir):
    path = freeze_baseline("mine", runs, spread=0.5)
    record = json.loads(path.read_text())
    assert set(record["runs"]) == {"1", "2"}
    assert "run_dir" not in record["settings"]
    holds, lines = verify_baseline("mine", path_word(data_dir))
    assert holds
    assert lines[0].startswith("seed 1: best validation loss")
    assert find_baseline("mine").runs["1"]["best_val_loss"] == pytest.approx(
        record["runs"]["1"]["best_val_loss"]
    )


def test_a_baseline_on_ones_own_text_knows_where_it_lay(runs, here, data_dir):
    freeze_baseline("mine", runs, spread=0.5)
    assert find_baseline("mine").data_path == str(data_dir)
    assert verify_baseline("mine", ["threads=1"], seeds=1)[0]
    moved = data_dir.rename(data_dir.with_name("moved"))
    with pytest.raises(ValueError, match=r"text of your own.*tokens.*not here.*data.path="):
        verify_baseline("mine", ["threads=1"], seeds=1)
    assert verify_baseline("mine", path_word(moved), seeds=1)[0]
    (moved / "val.bin").write_bytes(bytes(200))
    with pytest.raises(ValueError, match=r"moved is not the record's data.*data.path="):
        verify_baseline("mine", path_word(moved), seeds=1)


def test_verifying_runs_anew_each_time(runs, here, data_dir):
    freeze_baseline("mine", runs, spread=0.5)
    verify_baseline("mine", path_word(data_dir), seeds=1)
    verify_baseline("mine", path_word(data_dir), seeds=1)
    assert len(find_runs("runs/baselines")) == 2


def test_a_loss_outside_the_tolerance_fails(runs, here, data_dir):
    path = freeze_baseline("mine", runs, spread=0.5)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "target": 0.9 * record["target"]}))
    holds, lines = verify_baseline("mine", path_word(data_dir), seeds=1)
    assert not holds
    assert "outside" in lines[-1]


def test_seeds_that_spread_too_far_fail(runs):
    with pytest.raises(ValueError, match="the seeds spread by"):
        freeze_baseline("mine", runs, spread=1e-9)


def test_a_record_whose_seeds_nearly_use_up_what_is_allowed_is_told(runs):
    path = freeze_baseline("mine", runs, spread=0.5)
    assert narrow_spread(path) == ""
    losses = [r["best_val_loss"] for r in json.loads(path.read_text())["runs"].values()]
    apart = (max(losses) - min(losses)) / (sum(losses) / len(losses))
    assert "--spread" in narrow_spread(freeze_baseline("tight", runs, spread=1.1 * apart))


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_a_record_that_ships_leaves_room_for_other_sums(path):
    assert narrow_spread(path) == ""


def test_the_control_that_ships_is_the_preset_of_its_name():
    record = json.loads((SHIPPED / "baseline-control.json").read_text())["settings"]
    preset = compose_config(["experiment=control"]).to_dict()
    preset["model"]["vocab_size"] = 65  # of the text
    for group in ("model", "precision", "optim", "schedule", "max_steps", "compile"):
        assert record[group] == preset[group], group
    assert record["data"].items() <= preset["data"].items()


def test_runs_that_differ_in_more_than_the_seed_are_no_baseline(runs, compose):
    config = compose(["optim.lr=0.02", "max_steps=20"])
    config.seed, config.run_dir = 3, "runs/other"
    build_run(config).train()
    with pytest.raises(ValueError, match="more than the seed"):
        freeze_baseline("mine", [*runs, "runs/other"])


def test_other_data_is_not_the_same_baseline(runs, here, data_dir):
    freeze_baseline("mine", runs, spread=0.5)
    (data_dir / "val.bin").write_bytes((data_dir / "val.bin").read_bytes()[:-2])
    with pytest.raises(ValueError, match="is not the record's data"):
        verify_baseline("mine", path_word(data_dir))


def test_what_is_verified_cannot_be_changed(runs, data_dir):
    freeze_baseline("mine", runs, spread=0.5)
    with pytest.raises(ValueError, match="verified as it is recorded"):
        verify_baseline("mine", [*path_word(data_dir), "max_steps=3"])


def test_an_unknown_baseline_names_the_nearest(runs):
    freeze_baseline("mine", runs, spread=0.5)
    with pytest.raises(ValueError, match="Did you mean 'mine'"):
        find_baseline("mini")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda p: p.stem)
def test_every_shipped_record_is_a_configuration_of_today(path):
    record = find_baseline(path.stem)
    settings = TrainConfig.from_dict(record.settings).to_dict()
    assert settings["max_steps"] == record.settings["max_steps"]
    assert record.runs


def test_a_damaged_run_is_refused_with_what_it_lost(runs):
    metrics = runs[1] / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match=r"seed2 is damaged \(metrics.jsonl has .* lines"):
        freeze_baseline("mine", runs, spread=0.5)
