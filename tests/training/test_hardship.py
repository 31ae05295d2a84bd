"""What may happen to a run while it lives, and what it does then."""

import fcntl
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from altgrad.optim import OptimConfig
from altgrad.quantization import CastConfig, PrecisionConfig
from altgrad.runs.folder import RunFolder
from altgrad.runs.lines import read_jsonl
from altgrad.training import Trainer
from altgrad.training.build import build_run, resume_run
from altgrad.training.checkpoints.background import Saver
from altgrad.training.run_differences import read_numbers


@pytest.fixture
def make_run(make_config, data_dir):
    def make(**settings) -> Trainer:
        config = make_config(**{"max_steps": 6, "eval_interval": -1, **settings})
        config.data.path = str(data_dir)
        return build_run(config)

    return make


class Listener:
    """Does something at a step."""

    def __init__(self, step, act):
        self.at, self.act = step, act

    def progress(self, step, end, metrics):
        if step == self.at:
            self.act()

    opened = evaluated = alert = notice = closed = lambda self, *_: None


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def events(trainer, kind):
    return [e for e in read_jsonl(trainer.recorder.folder.events) if e["event"] == kind]


def steps_saved(trainer):
    return [int(p.name[5:]) for p in trainer.checkpoint_manager.all()]


# -- batches that are not finite -------------------------------------------------------------------


def spoil(trainer, how, first, count):
    """Steps `first` .. `first + count - 1` get a loss, or only gradients, that are not finite."""
    real = trainer._take_step.network

    def hit():
        return first <= trainer.step + 1 < first + count

    class Spoilt(torch.nn.Module):
        def forward(self, x, y):
            logits, loss = real(x, y)
            if how == "gradient":
                loss.register_hook(lambda g: g * math.nan if hit() else g)
                return logits, loss
            return logits, loss * (float(how) if hit() else 1.0)

    trainer._take_step.network = Spoilt()


@pytest.mark.parametrize("how", ["nan", "inf", "gradient"])
def test_one_bad_step_is_skipped_kept_and_costs_that_step(make_run, how):
    trainer = make_run()
    spoil(trainer, how, first=3, count=1)
    assert trainer.train()["status"] == "finished"
    assert torch.isfinite(weights(trainer)).all()
    (alert,) = events(trainer, "alert")
    assert alert["reason"].startswith("gradient" if how == "gradient" else "loss")
    assert len(events(trainer, "anomaly")) == 1


@pytest.mark.parametrize("how", ["nan", "gradient"])
def test_ten_bad_steps_end_the_run_with_good_weights(make_run, how):
    trainer = make_run(max_steps=20)
    spoil(trainer, how, first=3, count=10)
    summary = trainer.train()
    assert (summary["status"], summary["step"]) == ("diverged", 12)
    assert torch.isfinite(weights(trainer)).all()
    assert steps_saved(trainer)[-1] == 12


def test_a_bad_loss_does_not_confuse_the_gradient_scaler(make_run):
    trainer = make_run(precision=PrecisionConfig(compute="16-mixed"))
    spoil(trainer, "nan", first=3, count=2)
    assert trainer.train()["status"] == "finished"


# -- exceptions -----------------------------------------------------------------------------------


def test_a_failing_data_source_loses_nothing(make_run, tmp_path):
    whole = make_run(run_dir=str(tmp_path / "whole"), accumulation=2, dropout=0.1)
    whole.train()
    trainer = make_run(accumulation=2, dropout=0.1)
    real, calls = trainer.batches.next_batch, []

    def failing():
        calls.append(1)
        if len(calls) == 8:
            raise OSError("the file system has gone")
        return real()

    trainer.batches.next_batch = failing
    with pytest.raises(OSError, match="has gone"):
        trainer.train()
    assert steps_saved(trainer) == [3]
    assert "has gone" in events(trainer, "failed")[0]["error"]
    again = resume_run(tmp_path / "run")
    again.train()
    assert torch.equal(weights(again), weights(whole))


def test_a_failure_within_a_step_saves_no_half_step(make_run, monkeypatch):
    trainer = make_run(checkpoint_interval=2)

    def failing(*_):
        raise RuntimeError("out of memory")

    trainer.recorder.listeners.append(
        Listener(3, lambda: monkeypatch.setattr(trainer._take_step, "_judge", failing))
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.train()
    assert steps_saved(trainer)[-1] == 2


def test_a_failing_listener_and_a_closed_pipe_end_no_run(make_run):
    trainer = make_run()

    def broken():
        raise BrokenPipeError

    trainer.recorder.listeners.append(Listener(2, broken))
    assert trainer.train()["status"] == "finished"
    assert trainer.recorder.listeners == []


def test_a_failing_sample_ends_no_run(make_run):
    trainer = make_run(sample_tokens=5, eval_interval=2)

    def failing(step):
        raise ValueError("no such letter")

    trainer.sampler = failing
    assert trainer.train()["status"] == "finished"
    assert "no such letter" in events(trainer, "trouble")[0]["error"]


def test_a_failing_plot_costs_the_plot(make_run, monkeypatch, capsys):
    from altgrad.commands import end_of_run
    from altgrad.training.recording.console import Console

    trainer = make_run(eval_interval=3)
    summary = trainer.train()

    def failing(*_):
        raise AttributeError("no space for a picture")

    monkeypatch.setattr(end_of_run, "plot_runs", failing)
    end_of_run.close_run(trainer, summary, Console())
    assert "no loss plot: no space for a picture" in capsys.readouterr().out


# -- clocks and signals ---------------------------------------------------------------------------


def test_saving_by_minutes_follows_a_clock_that_nobody_sets(tmp_path):
    now = [1000.0]
    saver = Saver(None, every_minutes=2.0, clock=lambda: now[0])
    now[0] += 119
    assert not saver.due_by_time()
    now[0] += 1
    assert saver.due_by_time()
    saver.restart_clock()
    assert not saver.due_by_time()


def test_a_clock_that_jumps_changes_nothing(make_run, monkeypatch):
    real, jumps = time.time, itertools.cycle([0, -1e9, 1e9])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    trainer = make_run(checkpoint_minutes=10.0, checkpoint_interval=3)
    assert trainer.train()["status"] == "finished"
    assert steps_saved(trainer) == [3, 6]


def test_minutes_alone_save_too(make_run):
    trainer = make_run(checkpoint_minutes=1e-9, max_checkpoints=9)
    trainer.train()
    assert steps_saved(trainer) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_request_to_stop_saves_the_step_at_hand(make_run, number):
    trainer = make_run()
    trainer.recorder.listeners.append(Listener(4, lambda: os.kill(os.getpid(), number)))
    assert trainer.train()["status"] == "interrupted"
    assert steps_saved(trainer) == [4]


def test_sigusr1_saves_and_goes_on(make_run):
    trainer = make_run()
    trainer.recorder.listeners.append(Listener(4, lambda: os.kill(os.getpid(), signal.SIGUSR1)))
    assert trainer.train()["status"] == "finished"
    assert steps_saved(trainer) == [4, 6]


# -- places and processes -------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_one_clear_line(make_run):
    trainer = make_run(run_dir="/proc/altgrad/run")
    with pytest.raises(ValueError, match=r"cannot make the run folder /proc/altgrad/run") as caught:
        trainer.train()
    assert "\n" not in str(caught.value)


def test_two_processes_cannot_write_one_run(make_run, tmp_path):
    code = (
        "import sys, time; from altgrad.runs.folder import RunFolder\n"
        "RunFolder(sys.argv[1]).create(); print('locked', flush=True); time.sleep(60)"
    )
    root = str(Path(__file__).parents[2])
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(ValueError, match="another process is writing"):
            make_run().train()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert make_run().train()["status"] == "finished"


def test_asking_for_the_state_of_a_run_does_not_stop_it_from_starting(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.unlock()
    asking = (tmp_path / "run" / ".lock").open()
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.1, asking.close).start()
    folder.create()
    folder.unlock()


def test_runs_killed_at_random_moments_end_like_one_that_never_was():
    """A sample; the whole campaign's table stands in docs/evidence/kills.md."""
    root = Path(__file__).parents[2]
    script = root / "benchmarks" / "kill_campaign.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "4", "--kinds", "AdamW"],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| runs that lost something | 0 |" in done.stdout


# -- every kind of state --------------------------------------------------------------------------

KINDS = {
    "muon with dropout": {"optim": OptimConfig(name="muon"), "dropout": 0.2},
    "fp16 scaler": {"precision": PrecisionConfig(compute="16-mixed")},
    "average and accumulation": {"optim": OptimConfig(ema_decay=0.9), "accumulation": 3},
    "saved by a thread": {"checkpoint_background": True},
    "saved by the step": {"checkpoint_background": False},
    "all at once": {
        "precision": PrecisionConfig(
            simulate=True,
            format="e4m3",
            input=CastConfig(scaling="delayed"),
            storage="rounded",
            storage_rounding="stochastic",
        ),
        "optim": OptimConfig(name="ulp_adamw", lr=1e-2, ema_decay=0.9),
        "accumulation": 3,
        "dropout": 0.2,
        "eval_interval": 2,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_state_resumes_exactly(make_run, tmp_path, kind):
    settings = {"checkpoint_interval": 1, **KINDS[kind]}
    whole = make_run(**settings, run_dir=str(tmp_path / "whole"))
    whole.train()
    first = make_run(**settings)
    first.recorder.listeners.append(Listener(3, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert first.train()["status"] == "interrupted"
    torch.manual_seed(99)
    second = resume_run(tmp_path / "run")
    assert second.step == 3
    second.train()
    assert torch.equal(weights(whole), weights(second))
    assert read_numbers(tmp_path / "whole") == read_numbers(tmp_path / "run")


def test_a_new_part_joins_with_one_line(make_run, tmp_path):
    class Counter:
        def __init__(self):
            self.count = 0

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    trainer = make_run()
    trainer.parts["counter"] = Counter()
    trainer.parts["counter"].count = 7
    trainer.train()
    again = make_run(run_dir=str(tmp_path / "other"))
    again.parts["counter"] = Counter()
    again.resume(tmp_path / "run")
    assert again.parts["counter"].count == 7
    with pytest.raises(ValueError, match="counter is left out"):
        make_run(run_dir=str(tmp_path / "third")).resume(tmp_path / "run")


def test_an_evaluation_that_gave_no_number_is_not_called_none(make_run, capsys):
    from altgrad.commands import end_of_run
    from altgrad.training.recording.console import Console

    trainer = make_run(eval_interval=3)
    trainer.evaluator.loss = lambda: math.nan
    end_of_run.close_run(trainer, trainer.train(), Console())
    said = capsys.readouterr().out
    assert "validation loss nan" in said
    assert "never evaluated" not in said


def test_a_run_without_an_evaluation_is_called_never_evaluated(make_run, capsys):
    from altgrad.commands import end_of_run
    from altgrad.training.recording.console import Console

    trainer = make_run(eval_interval=-1)
    end_of_run.close_run(trainer, trainer.train(), Console())
    assert "never evaluated" in capsys.readouterr().out
