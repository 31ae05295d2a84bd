"""One run: it learns, evaluates the whole split, stops cleanly and resumes bit for bit."""

import json
import math
import os
import signal

import pytest
import torch

from altgrad.data import load_tokens
from altgrad.optim import OptimConfig, ScheduleConfig
from altgrad.quantization.recipe import PrecisionConfig
from altgrad.runs.lines import read_jsonl
from altgrad.training import Trainer


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.fixture
def make_trainer(make_config, make_model, data_dir):
    def make(**settings) -> Trainer:
        config = make_config(**settings)
        return Trainer(config, make_model(config), data_dir, "cpu")

    return make


def test_a_step_reports_numbers(make_trainer):
    trainer = make_trainer()
    x, y = trainer.batches.next_batch()
    metrics = trainer.train_step(x, y)
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]))
    assert metrics["grad_norm"] > 0
    assert trainer.step == 1


def test_the_attributes_that_users_know_are_there(make_trainer):
    trainer = make_trainer()
    assert trainer.best_val_loss == math.inf
    assert trainer.scaler is None
    assert trainer.shadow is None
    assert trainer.checkpoint_manager.latest() is None
    assert isinstance(trainer.optimizer, torch.optim.Optimizer)


def test_it_learns(make_trainer):
    trainer = make_trainer(max_steps=150, eval_interval=150)
    before = trainer.eval_step()
    summary = trainer.train()
    assert summary["status"] == "finished"
    assert summary["val_loss"] < 0.5 * before


def test_a_step_equals_plain_torch(make_config, make_model, data_dir):
    config = make_config(grad_clip=0.0, weight_decay=0.0, max_steps=5)
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    model = make_model(config)
    options = {"lr": config.optim.lr, "betas": tuple(config.optim.betas), "eps": config.optim.eps}
    plain = torch.optim.AdamW(model.parameters(), weight_decay=0.0, **options)
    for step in range(4):
        x, y = trainer.batches.next_batch()
        plain.param_groups[0]["lr"] = config.optim.lr * trainer.schedule(step)
        plain.zero_grad()
        loss = model(x, y)[1]
        loss.backward()
        plain.step()
        assert trainer.train_step(x, y)["loss"] == pytest.approx(loss.item(), abs=1e-6)


def rates(name: str) -> list[float]:
    """By the table in docs/training: 6 steps, 2 of warm-up, down to a tenth."""
    if name == "cosine":
        falling = [0.1 + 0.9 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
        return [0.5, 1.0, *falling]
    return [0.5, 1.0, 1.0, 1.0, 1.0, 0.1 + 0.9 * 0.5]  # the last 2 of 6 fall: 1, then a half


@pytest.mark.parametrize("name", ["cosine", "trapezoid"])
def test_every_step_is_taken_at_its_own_learning_rate(make_config, make_model, data_dir, name):
    """The first at half the peak, the second at the peak; the weights are plain torch's."""
    schedule = ScheduleConfig(name=name, warmup_steps=2, decay_fraction=1 / 3)
    config = make_config(grad_clip=0.0, weight_decay=0.0, max_steps=6, schedule=schedule)
    trainer, model = Trainer(config, make_model(config), data_dir, "cpu"), make_model(config)
    options = {"betas": tuple(config.optim.betas), "eps": config.optim.eps, "weight_decay": 0.0}
    plain = torch.optim.AdamW(model.parameters(), **options)
    for factor in rates(name):
        x, y = trainer.batches.next_batch()
        plain.param_groups[0]["lr"] = config.optim.lr * factor
        plain.zero_grad()
        model(x, y)[1].backward()
        plain.step()
        assert trainer.train_step(x, y)["lr"] == pytest.approx(config.optim.lr * factor)
    theirs = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(weights(trainer), theirs, rtol=0, atol=2e-4)


def test_the_validation_loss_is_that_of_the_averaged_weights(make_trainer):
    trainer = make_trainer(optim=OptimConfig(lr=3e-2, ema_decay=0.5), max_steps=4, eval_interval=4)
    average, taken = weights(trainer), []
    take = trainer._take_step

    def watched(*arguments):
        outcome = take(*arguments)
        share = min(0.5, (1 + len(taken)) / (10 + len(taken)))
        taken.append(average.mul_(share).add_(weights(trainer), alpha=1 - share))
        return outcome

    trainer._take_step = watched
    logged = trainer.train()["val_loss"]
    own = weights(trainer)
    trainer.evaluator.average = None
    raw = trainer.eval_step()
    torch.nn.utils.vector_to_parameters(average, trainer.model.parameters())
    assert logged == pytest.approx(trainer.eval_step(), rel=1e-5)
    assert abs(logged - raw) > 1e-3
    assert not torch.equal(own, average)


def test_a_gradient_scaler_goes_on_where_it_was(make_trainer):
    settings = {"precision": PrecisionConfig(compute="16-mixed"), "max_steps": 6}
    first = make_trainer(**settings)
    first.scaler.load_state_dict(first.scaler.state_dict() | {"scale": 512.0, "_growth_tracker": 7})
    first.train(3)
    second = make_trainer(**settings)
    second.resume(first.recorder.folder.root)
    assert second.scaler.get_scale() == 512.0
    assert second.scaler.state_dict()["_growth_tracker"] == 10


def test_evaluation_predicts_every_token_once(make_trainer, data_dir):
    trainer = make_trainer()
    trainer.model.eval()
    tokens = torch.from_numpy(load_tokens(data_dir, "val").astype("int64"))
    block = trainer.config.block_size
    total, count = 0.0, 0
    for start in range(0, len(tokens) - 1, block):
        x = tokens[start : start + block][: len(tokens) - 1 - start]
        y = tokens[start + 1 : start + 1 + len(x)]
        total += trainer.model(x[None], y[None])[1].item() * len(x)
        count += len(x)
    assert count == len(tokens) - 1
    assert trainer.eval_step() == pytest.approx(total / count, rel=1e-5)


def test_evaluation_does_not_disturb_training(make_trainer, tmp_path):
    often = make_trainer(dropout=0.3, eval_interval=1, run_dir=str(tmp_path / "often"))
    often.train()
    never = make_trainer(dropout=0.3, eval_interval=-1, run_dir=str(tmp_path / "never"))
    never.train()
    assert torch.equal(weights(often), weights(never))


def test_accumulation_equals_the_larger_batch(make_trainer):
    one = make_trainer(batch_size=8, accumulation=1)
    four = make_trainer(batch_size=2, accumulation=4)
    x, y = one.batches.next_batch()
    a, b = one.train_step(x, y), four.train_step(x, y)
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)
    assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-5)


def test_metrics_have_one_line_a_step(make_trainer):
    trainer = make_trainer(max_steps=5, eval_interval=2)
    trainer.train()
    lines = list(read_jsonl(trainer.recorder.folder.metrics))
    assert [m["step"] for m in lines] == [1, 2, 3, 4, 5]
    assert [m["step"] for m in lines if "val_loss" in m] == [2, 4, 5]


def test_the_run_folder_explains_itself(make_trainer):
    trainer = make_trainer()
    trainer.train()
    folder = trainer.recorder.folder
    environment = json.loads(folder.environment.read_text())
    assert environment["torch"] == torch.__version__
    assert "n_layer: 2" in folder.config.read_text()
    events = [e["event"] for e in read_jsonl(folder.events)]
    assert (events[0], events[-1]) == ("started", "finished")


def test_a_folder_with_a_run_is_not_overwritten(make_trainer):
    make_trainer().train()
    with pytest.raises(ValueError, match="already holds a run"):
        make_trainer().train()


def test_training_can_go_on_in_the_same_object(make_trainer):
    trainer = make_trainer(max_steps=6)
    trainer.train(3)
    trainer.train(6)
    assert [m["step"] for m in read_jsonl(trainer.recorder.folder.metrics)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_resuming_equals_never_stopping(make_trainer, tmp_path, optimiser):
    settings = {"dropout": 0.2, "max_steps": 7, "eval_interval": -1}
    settings["optim"] = OptimConfig(name=optimiser)
    whole = make_trainer(**settings, run_dir=str(tmp_path / "whole"))
    whole.train()
    first = make_trainer(**settings, run_dir=str(tmp_path / "cut"))
    first.train(4)
    torch.manual_seed(99)
    second = make_trainer(**settings, run_dir=str(tmp_path / "cut"))
    second.resume(tmp_path / "cut")
    assert second.step == 4
    second.train()
    assert torch.equal(weights(whole), weights(second))
    losses = [
        [m["loss"] for m in read_jsonl(tmp_path / d / "metrics.jsonl")] for d in ("whole", "cut")
    ]
    assert losses[0] == losses[1]


def test_an_interrupt_saves_and_says_so(make_trainer):
    class Interrupter:
        def progress(self, step, end, metrics):
            if step == 2:
                os.kill(os.getpid(), signal.SIGINT)

        opened = evaluated = alert = closed = lambda self, *_: None

    trainer = make_trainer()
    trainer.recorder.listeners.append(Interrupter())
    assert trainer.train()["status"] == "interrupted"
    assert trainer.checkpoint_manager.latest().name == "step_00000002"


def test_a_bad_batch_is_skipped_kept_and_patience_ends_the_run(make_trainer, monkeypatch):
    trainer = make_trainer(nan_patience=3, max_steps=10, eval_interval=-1)
    real = trainer._take_step.network

    def poisoned(x, y):
        logits, loss = real(x, y)
        return logits, loss * (math.nan if trainer.step >= 4 else 1.0)

    trainer.train(4)
    before = weights(trainer)
    trainer._take_step.network = poisoned
    poisoned.train = lambda: None
    monkeypatch.setattr(trainer.fabric, "clip_gradients", lambda *_, **__: torch.tensor(math.nan))
    assert trainer.train()["status"] == "diverged"
    assert trainer.step == 7
    assert torch.equal(weights(trainer), before)
    assert trainer.anomalies.latest() is not None
    alerts = [e for e in read_jsonl(trainer.recorder.folder.events) if e["event"] == "alert"]
    assert len(alerts) == 3
    assert alerts[0]["reason"].startswith("loss")


@pytest.mark.parametrize("compute", ["bf16-mixed", "bf16-true", "16-mixed"])
def test_every_arithmetic_trains_and_resumes(make_trainer, tmp_path, compute):
    precision = PrecisionConfig(compute=compute)
    whole = make_trainer(precision=precision, run_dir=str(tmp_path / "a"))
    assert (whole.scaler is not None) == (compute == "16-mixed")
    whole.train()
    make_trainer(precision=precision, run_dir=str(tmp_path / "b")).train(3)
    cut = make_trainer(precision=precision, run_dir=str(tmp_path / "b"))
    cut.resume(tmp_path / "b")
    cut.train()
    assert torch.equal(weights(whole), weights(cut))


def test_evaluation_runs_the_graph_that_was_compiled_for_training(
    make_config, make_model, data_dir, monkeypatch
):
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **_: compiled(model, backend=backend))
    monkeypatch.setattr("altgrad.training.machine.can_compile", lambda device: True)
    config = make_config(compile=True, max_steps=2, eval_interval=1)
    plain = Trainer(make_config(compile=False), make_model(config), data_dir, "cpu")
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    assert trainer.eval_step() == pytest.approx(plain.eval_step())
    trainer.train()
    assert len(graphs) == 3  # embedding, layer, head; none of evaluation alone
