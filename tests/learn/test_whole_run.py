"""The learner's whole model as an ordinary run: it stops, goes on, and is read back."""

import os
import signal
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from altgrad.compose import compose_config
from altgrad.learn.actions import training_words
from altgrad.learn.track import Track
from altgrad.learn.workshop import start
from altgrad.training.build import build_run, load_run, resume_run

SMALL = [
    *("model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.block_size=16"),
    *("data.batch_size=4", "data.path=text.txt", "eval_interval=2", "max_steps=4"),
    *("eval_tokens=64", "checkpoint_interval=2", "sample_tokens=5", "device=cpu"),
]


@pytest.fixture
def space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_gpt", raising=False)
    monkeypatch.setenv("ALTGRAD_CACHE", str(tmp_path / "cache"))
    Path("text.txt").write_text("to be, or not to be: that is the question. " * 40)
    made = start(tmp_path / "w", Track("nanochat"))
    monkeypatch.chdir(made.folder)
    Path("text.txt").write_text("to be, or not to be: that is the question. " * 40)
    made.file.write_text((files("altgrad.learn") / "reference" / "nanochat.py").read_text())
    yield made
    sys.modules.pop("my_gpt", None)


def run(words: list[str], stop_at: int = 0):
    trainer = build_run(compose_config(words, None))
    step = trainer.train_step

    def stopped(*batch):
        if trainer.step == stop_at - 1:
            os.kill(os.getpid(), signal.SIGTERM)  # the step at hand is finished and saved
        return step(*batch)

    trainer.train_step = stopped
    trainer.train()
    return trainer


def test_a_run_of_the_whole_model_resumes_bit_for_bit_and_is_read_back(space):
    words = training_words(space, SMALL)
    whole = run([*words, "run_dir=whole"])
    run([*words, "run_dir=parted"], 2)
    gone_on = resume_run(Path("parted"))
    assert gone_on.step == 2
    gone_on.train()
    wanted = whole.model.state_dict()
    for name, tensor in gone_on.model.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
    assert Path("whole/samples/step_00000002.txt").read_text().strip("\n")
    read = load_run(Path("whole"), which="latest")
    ids = torch.zeros(1, 3, dtype=torch.long)
    for name, tensor in read.model.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
    # Where MKL is slow, what trained multiplies by oneDNN: the same sums in another order.
    wanted_out = whole.model.eval()(ids)[0]
    torch.testing.assert_close(read.model(ids)[0], wanted_out, rtol=1e-5, atol=1e-6)


def test_a_model_that_gives_nan_ends_as_diverged(space):
    text = space.file.read_text()
    space.file.write_text(text.replace("15 * torch.tanh(logits / 15)", "logits * float('nan')"))
    words = training_words(space, [*SMALL, "guards.nan_patience=2"])
    trainer = build_run(compose_config(words, None))
    assert trainer.train()["status"] == "diverged"


def test_units_still_to_be_written_are_named_before_anything_is_built(tmp_path):
    made = start(tmp_path / "blank", Track("nanochat"))
    with pytest.raises(ValueError, match=r"are still to be written, GPT.__init__ first"):
        training_words(made, [])


def test_a_setting_that_the_class_does_not_take_is_refused(space):
    with pytest.raises(ValueError, match=r"model.position=none is read with model.network=parts"):
        compose_config(["model=my_gpt:GPT", "model.position=none"], None)
