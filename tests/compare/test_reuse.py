"""When is a run that is there already the run that is wanted?"""

import json
from pathlib import Path

import pytest

from altgrad.compare.conclusion import conclude
from altgrad.compare.identity import data_hash, run_key
from altgrad.runs.folder import find_runs
from altgrad.training.build import build_run

CODE, DATA = {"altgrad": "a"}, data_hash({"train": "1", "val": "2"})


def settings(**changes):
    return {"seed": 1, "max_steps": 6, "optim": {"name": "adamw", "lr": 0.1}, **changes}


def test_a_run_is_its_settings_its_code_and_its_data():
    keys = {
        run_key(settings(), CODE, DATA),
        run_key(settings(seed=2), CODE, DATA),
        run_key(settings(optim={"name": "adamw", "lr": 0.2}), CODE, DATA),
        run_key(settings(), {"altgrad": "b"}, DATA),
        run_key(settings(), CODE, data_hash({"train": "1", "val": "3"})),
        run_key(settings(), CODE, data_hash({"train": "0", "val": "2"})),
    }
    assert len(keys) == 6


@pytest.mark.parametrize(
    "change", [{"run_dir": "x"}, {"tracker": {"name": "wandb"}}, {"data": {"path": "y"}}]
)
def test_where_a_run_lies_and_who_watches_it_is_not_what_it_is(change):
    empty = {name: {} for name in change if name == "data"}
    assert run_key(settings(**change), CODE, DATA) == run_key(settings(**empty), CODE, DATA)


@pytest.mark.parametrize("ended", ["interrupted", "failed"])
def test_a_run_made_by_hand_that_did_not_end_well_is_not_taken_up(ask, here, compose, ended):
    config = compose(["optim.lr=0.01", "sample_tokens=0"])
    config.seed, config.run_dir = 1, "runs/mine"
    build_run(config).train()
    with Path("runs/mine/events.jsonl").open("a") as file:
        file.write(json.dumps({"event": ended}) + "\n")
    folder = ask("optim.lr=0.01,0.1 seeds=1").run()
    assert conclude(folder).record.reused == []
    assert len(find_runs("runs")) == 3


def test_runs_that_were_evaluated_in_other_blocks_are_no_comparison(ask, here):
    folder = ask("optim.lr=0.01,0.1 seeds=1").run()
    record = json.loads((folder / "record.json").read_text())
    path = Path("runs") / record["runs"]["lr=0.1"]["1"] / "config.yaml"
    path.write_text(path.read_text().replace("block_size: 8", "block_size: 4"))
    with pytest.raises(ValueError, match=r"blocks of \[4, 8\] tokens"):
        conclude(folder)
