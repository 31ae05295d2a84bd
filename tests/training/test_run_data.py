"""A run's tokens are those it was trained on, whoever reads them; only their source may change."""

import json

import numpy as np
import pytest

from altgrad.evaluate.run import Wishes, evaluate_run
from altgrad.runs.history import alterations
from altgrad.runs.lines import read_jsonl
from altgrad.settings import ConfigError
from altgrad.training import TrainConfig
from altgrad.training.build import build_run, load_run, resume_run
from altgrad.training.reproduce import reproduce

TEXT = "".join("the cat sat on a mat " for _ in range(60))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "my.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def run(make_config, text, tmp_path):
    config = make_config(vocab_size=None, max_steps=4, eval_interval=2)
    config.data.path = str(text)
    build_run(config).train()
    return tmp_path / "run"


def go_on(run, allow, **changes):
    own = load_run(run).config.to_dict()
    data = {**own["data"], **changes}
    steps = own["max_steps"] + 2
    config = TrainConfig.from_dict({**own, "data": data, "max_steps": steps})
    return resume_run(run, config=config, allow=["max_steps", *allow])


def test_an_edited_text_is_not_evaluated_as_the_runs_own(run, text):
    text.write_text(TEXT.replace("cat", "tac"))
    with pytest.raises(ConfigError, match=r"val\.bin is not what .*run was trained on"):
        evaluate_run(load_run(run), Wishes())


def test_an_edited_text_is_not_reproduced(run, text):
    text.write_text(TEXT.replace("cat", "tac"))
    with pytest.raises(ConfigError, match=r"train\.bin is not what"):
        reproduce(run)


@pytest.mark.parametrize(("name", "value"), [("batch_size", 3), ("order", "epochs")])
def test_another_way_of_reading_permits_no_other_tokens(run, text, name, value):
    text.write_text(TEXT.replace("cat", "tac"))
    with pytest.raises(ConfigError, match=r"train\.bin is not what"):
        go_on(run, ["data"], **{name: value})


def test_a_new_vocabulary_is_told_as_other_tokens(run, text):
    text.write_text(TEXT.replace("cat", "c~t"))
    with pytest.raises(ConfigError, match=r"not the text .* was trained on"):
        go_on(run, ["data.batch_size"], batch_size=3)


def test_an_allowed_change_of_the_source_is_kept_and_every_later_resume_asks_for_it(run):
    before = json.loads((run / "data.json").read_text())["sha256"]
    go_on(run, ["data.val_fraction"], val_fraction=0.3).train()
    after = json.loads((run / "data.json").read_text())["sha256"]
    assert before != after
    event = next(e for e in read_jsonl(run / "events.jsonl") if "data_before" in e)
    assert event["data_before"]["sha256"] == before
    assert alterations(run) == {"max_steps": 4, "data.val_fraction": 4, "the tokens": 4}
    assert go_on(run, []).train()["step"] == 8


def test_tokens_replaced_in_place_are_refused(run):
    folder = json.loads((run / "data.json").read_text())["data_dir"]
    tokens = np.fromfile(f"{folder}/train.bin", np.uint16)
    tokens[:4] = tokens[0]
    tokens.tofile(f"{folder}/train.bin")
    with pytest.raises(ConfigError, match=r"train\.bin is not what"):
        go_on(run, ["data.batch_size"], batch_size=3)
