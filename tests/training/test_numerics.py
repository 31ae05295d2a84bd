"""Runs in low precision: what is rounded, measured, stored, resumed, and flagged."""

import math

import pytest
import torch

from altgrad.optim import OptimConfig
from altgrad.quantization import CastConfig, PrecisionConfig, fake_quantize
from altgrad.quantization.convert import quant_layers
from altgrad.quantization.rounding import native
from altgrad.runs.lines import read_jsonl
from altgrad.training import Trainer
from altgrad.training.checkpoints.manager import load_checkpoint
from altgrad.training.health.faults import FaultConfig
from altgrad.training.instruments.config import DiagnosticsConfig, ShadowConfig
from altgrad.training.recording.recorder import Recorder


@pytest.fixture
def make_trainer(make_config, make_model, data_dir):
    def make(precision: dict | None = None, **settings) -> Trainer:
        if precision is not None:
            settings["precision"] = PrecisionConfig(simulate=True, **precision)
        config = make_config(**settings)
        return Trainer(config, make_model(config), data_dir, "cpu")

    return make


def steps(trainer: Trainer, number: int) -> list[dict[str, float]]:
    return [trainer.train_step(*trainer.batches.next_batch()) for _ in range(number)]


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def test_every_linear_layer_is_rounded_and_reported(make_trainer):
    trainer = make_trainer({"format": "e5m2"})
    assert len(quant_layers(trainer.model)) == len(trainer.rounding.report.converted) == 13
    assert "weight e5m2" in trainer.rounding.report.lines()[0]


def test_a_step_measures_every_role(make_trainer):
    (metrics,) = steps(make_trainer({"format": "e4m3"}), 1)
    for role in ("weight", "input", "grad_output"):
        assert metrics[f"overflows%/{role}/max"] == 0.0
        assert 15 < metrics[f"sqnr_db/{role}/mean"] < 45
        assert metrics[f"amax/{role}/max"] > 0
    assert 0 <= metrics["bit_stall/total"] <= 1
    assert metrics["grad_norm_l2/mean"] > 0
    assert all(math.isfinite(v) for k, v in metrics.items() if k.startswith("underflows%"))


def test_weights_may_be_scaled_by_earlier_steps_where_masters_are_kept(make_trainer):
    """The scale in use is the layer's own: twice the current one after the weights have halved."""
    trainer = make_trainer(
        {"format": "e4m3", "weight": CastConfig(scaling="delayed")},
        diagnostics=DiagnosticsConfig(every_steps=1, rank_every_steps=1),
    )
    found = steps(trainer, 2)[-1]
    assert 0 <= found["bit_stall/total"] <= 1
    assert found["code_use/mean"] > 0
    layer = next(iter(quant_layers(trainer.model).values()))
    before = (
        trainer.numerics.instruments["lost_updates"].grids[layer.weight].scale(layer.weight).clone()
    )
    with torch.no_grad():
        layer.weight.div_(2)
    assert (
        trainer.numerics.instruments["lost_updates"].grids[layer.weight].scale(layer.weight)
        == before
    )


@pytest.mark.parametrize(
    ("precision", "optim"),
    [
        ({"storage": "rounded"}, {"name": "adamw"}),
        ({}, {"name": "ulp_adamw"}),
        ({}, {"name": "grid", "nesterov": False}),
    ],
)
def test_weights_are_not_stored_or_steered_by_an_earlier_scale(make_trainer, precision, optim):
    delayed = {"format": "e4m3", "weight": CastConfig(scaling="delayed"), **precision}
    with pytest.raises(ValueError, match="delayed cannot store weights"):
        make_trainer(delayed, optim=OptimConfig(**optim))


def test_a_delayed_scale_knows_the_largest_micro_batch_and_no_evaluation(make_trainer):
    """The history against what a hook sees go into the layer, in a run that evaluates."""
    cast = CastConfig(scaling="delayed", history=4)
    trainer = make_trainer(
        {"format": "e4m3", "input": cast}, accumulation=3, max_steps=3, eval_interval=1
    )
    layer, seen = quant_layers(trainer.model)["transformer.h.1.mlp.c_proj"], []

    def look(module, arguments):
        if module.training:
            seen.append(arguments[0].detach().abs().max().item())

    layer.register_forward_pre_hook(look)
    trainer.train()
    steps = [max(seen[i : i + 3]) for i in (0, 3, 6)]
    assert len(seen) == 9
    assert layer.roundings["input"].scaling.history.tolist() == [*steps[::-1], 0.0]


def test_kernels_are_compiled_before_the_clock_runs_and_it_is_said(
    make_config, make_model, data_dir, monkeypatch, tmp_path
):
    """The library is asked for while the trainer is made, never first within a step."""
    built, told = [], []
    monkeypatch.setattr(native, "must_be_built", lambda: not built)
    library = native.library
    monkeypatch.setattr(native, "library", lambda: (built.append(True), library())[1])

    class Listening:
        def __getattr__(self, what):
            return lambda *values: told.append(values[-1]) if what == "notice" else None

    def make(name: str, **settings) -> Trainer:
        config = make_config(run_dir=str(tmp_path / name), **settings)
        recorder = Recorder(config, listeners=[Listening()])
        return Trainer(config, make_model(config), data_dir, "cpu", recorder=recorder)

    make("plain")
    assert not built
    assert not told
    make("rounded", precision=PrecisionConfig(simulate=True, format="e4m3"))
    assert built
    assert told == ["compiling the C++ kernels for rounding, once on this machine …"]


@pytest.mark.slow
def test_a_machine_that_never_compiled_the_kernels_is_as_fast_in_its_first_step(
    make_trainer, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native.library.cache_clear()
    try:
        trainer = make_trainer({"format": "e4m3"}, max_steps=2)
        assert not native.must_be_built()
        trainer.train()
    finally:
        native.library.cache_clear()
    assert trainer.train_s < 10


def test_a_plain_run_measures_nothing_unasked(make_trainer):
    (metrics,) = steps(make_trainer(), 1)
    assert set(metrics) == {"loss", "perplexity", "grad_norm", "lr", "skipped"}
    (metrics,) = steps(make_trainer(diagnostics=DiagnosticsConfig(every_steps=1)), 1)
    assert metrics["zero_updates/mean"] < 1
    assert "bit_stall/total" not in metrics


def test_the_shadow_of_a_plain_model_agrees_with_it_exactly(make_trainer):
    trainer = make_trainer(dropout=0.3, shadow=ShadowConfig(enabled=True), grad_clip=0.1)
    for metrics in steps(trainer, 3):
        assert metrics["grad_cos_sim/min"] == pytest.approx(1.0, abs=1e-12)
        assert metrics["grad_snr_db/total"] == math.inf
        assert metrics["shadow_loss"] == metrics["loss"]


def test_the_shadow_does_not_disturb_the_run(make_trainer):
    with_shadow = make_trainer(dropout=0.3, use_shadow=True, accumulation=2)
    without = make_trainer(dropout=0.3, accumulation=2)
    for trainer in (with_shadow, without):
        torch.manual_seed(5)
        for _ in range(3):
            batches = [trainer.batches.next_batch() for _ in range(2)]
            trainer.train_step(*(torch.cat(t) for t in zip(*batches, strict=True)))
    assert torch.equal(weights(with_shadow), weights(without))


def test_a_coarser_format_is_farther_from_its_shadow(make_trainer):
    def decibels(name: str) -> float:
        (metrics,) = steps(make_trainer({"format": name}, use_shadow=True), 1)
        return metrics["grad_snr_db/total"]

    assert decibels("e3m4") > decibels("e4m3") > decibels("e5m2") > decibels("e6m1")


def test_the_shadow_runs_as_often_as_it_is_asked_to(make_trainer):
    trainer = make_trainer(shadow=ShadowConfig(enabled=True, every_steps=3))
    assert ["shadow_loss" in m for m in steps(trainer, 6)] == [False, False, True] * 2


@pytest.mark.parametrize("how", ["nearest_even", "stochastic"])
@pytest.mark.parametrize("storage", ["rounded", "kahan", "error_feedback"])
def test_stored_weights_are_on_the_grid_after_every_step(make_trainer, storage, how):
    precision = {
        "format": "e4m3",
        "weight": CastConfig(scale_rule="power_of_two"),
        "storage": storage,
        "storage_rounding": how,
    }
    trainer = make_trainer(precision)
    for _ in range(3):
        steps(trainer, 1)
        for layer in quant_layers(trainer.model).values():
            w = layer.weight.detach()
            scaling = layer.roundings["weight"].scaling
            assert torch.equal(fake_quantize(w, "e4m3", scaling=scaling), w)


def test_master_weights_leave_the_grid(make_trainer):
    trainer = make_trainer({"format": "e4m3"})
    steps(trainer, 1)
    layer = next(iter(quant_layers(trainer.model).values()))
    w = layer.weight.detach()
    assert not torch.equal(fake_quantize(w, "e4m3", scaling=layer.roundings["weight"].scaling), w)


def test_nearest_storage_stalls_where_stochastic_storage_moves(make_trainer):
    def stalled(how: str) -> float:
        precision = {"format": "e5m2", "storage": "rounded", "storage_rounding": how}
        trainer = make_trainer(precision, learning_rate=1e-5)
        return steps(trainer, 2)[-1]["bit_stall/total"]

    assert stalled("nearest_even") > 0.99
    assert 0.5 < stalled("stochastic") < 0.9999


def test_stalls_are_those_that_the_grid_says(make_trainer):
    trainer = make_trainer({"format": "e5m2", "storage": "master"}, learning_rate=1e-3)
    steps(trainer, 2)
    layers = quant_layers(trainer.model)
    name, layer = next(iter(layers.items()))
    before = layer.weight.detach().clone()
    (metrics,) = steps(trainer, 1)
    after, scale = layer.weight.detach(), float(before.abs().max()) / 57344
    q = [fake_quantize(w, "e5m2", scale=scale) for w in (before, after)]
    moved, flipped = before != after, (before != after) & (q[0] != q[1])
    expected = 1 - flipped.sum().item() / moved.sum().item()
    assert metrics[f"bit_stall/{name}.weight"] == pytest.approx(expected)


OPTIMISERS = ["adamw", "muon", "manifold_adamw", "ulp_adamw", "grid", "madam", "m_adam"]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_rounded_storage_trains_and_resumes_bit_for_bit(make_trainer, tmp_path, optimiser):
    precision = {
        "format": "e4m3",
        "storage": "rounded",
        "storage_rounding": "stochastic",
        "input": CastConfig(scaling="delayed"),
        "grad_output": CastConfig(format="e5m2", rounding="stochastic"),
    }
    settings = {"optim": OptimConfig(name=optimiser, lr=1e-2), "use_shadow": True}

    def run(name: str) -> Trainer:
        folder = str(tmp_path / name)
        return make_trainer(precision, run_dir=folder, max_steps=6, **settings)

    whole = run("whole")
    assert whole.train()["status"] == "finished"
    run("cut").train(3)
    second = run("cut")
    second.resume(tmp_path / "cut")
    second.train()
    assert torch.equal(weights(whole), weights(second))
    lines = [list(read_jsonl(tmp_path / n / "metrics.jsonl")) for n in ("whole", "cut")]
    times = ("step_ms", "tokens_per_s", "train_s", "eval_s", "peak_memory_bytes", "energy_j")
    for mine, other in zip(*lines, strict=True):
        assert {k: v for k, v in mine.items() if k not in times} == {
            k: v for k, v in other.items() if k not in times
        }


def test_e0m7_and_e1m6_are_one_format_in_training(make_trainer, tmp_path):
    runs = [make_trainer({"format": f}, run_dir=str(tmp_path / f)) for f in ("e0m7", "e1m6")]
    losses = [[m["loss"] for m in steps(trainer, 5)] for trainer in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_evaluation_is_rounded_and_the_unrounded_value_stands_beside_it(make_trainer):
    trainer = make_trainer({"format": "e2m1fn"}, max_steps=2, eval_interval=2, eval_unrounded=True)
    trainer.train()
    last = list(read_jsonl(trainer.recorder.folder.metrics))[-1]
    assert last["val_loss"] != last["val_loss_unrounded"]
    assert trainer.eval_step() == last["val_loss"]


def test_ranks_are_measured_at_their_own_interval(make_trainer):
    trainer = make_trainer(diagnostics=DiagnosticsConfig(rank_every_steps=2))
    found = steps(trainer, 4)
    assert ["rank_loss/max" in m for m in found] == [False, True, False, True]
    assert found[1]["effective_rank/transformer.wte.weight"] > 1


def test_an_injected_nan_is_kept_flagged_and_ends_the_run_after_the_patience(make_trainer):
    trainer = make_trainer(
        faults=FaultConfig(loss_nan_at_step=5, steps=99), max_steps=30, checkpoint_interval=2
    )
    assert trainer.train()["status"] == "diverged"
    assert trainer.step == 14
    assert trainer.anomalies.latest().name == "step_00000005"
    trainer.resume(trainer.checkpoint_manager.best())
    assert trainer.eval_step() == pytest.approx(trainer.best_val_loss)
    alerts = [e for e in read_jsonl(trainer.recorder.folder.events) if e["event"] == "alert"]
    not_finite = [a["step"] for a in alerts if a["reason"].startswith("loss not finite")]
    assert not_finite == list(range(5, 15))


def test_faults_on_purpose_are_announced_and_the_bad_batch_can_be_read(make_trainer):
    trainer = make_trainer(faults=FaultConfig(loss_nan_at_step=2), max_steps=3)
    trainer.train()
    events = list(read_jsonl(trainer.recorder.folder.events))
    (note,) = [e["text"] for e in events if e["event"] == "note"]
    assert note == "on purpose, for 1 step(s): the loss will not be finite from step 2 on"
    kept = load_checkpoint(trainer.anomalies.latest())
    assert torch.equal(kept.extra["batch_x"], replayed(trainer, 2))


def replayed(trainer: Trainer, number: int) -> torch.Tensor:
    """The inputs of batch `number` of the run, from 1."""
    trainer.batches.load_state_dict({**trainer.batches.state_dict(), "position": 0})
    return [trainer.batches.next_batch()[0] for _ in range(number)][-1]


def test_infinite_gradients_are_told_from_an_infinite_loss_and_passed_over(make_trainer):
    trainer = make_trainer(faults=FaultConfig(gradient_inf_at_step=2), max_steps=4)
    assert trainer.train()["status"] == "finished"
    alerts = [e for e in read_jsonl(trainer.recorder.folder.events) if e["event"] == "alert"]
    assert [a["step"] for a in alerts] == [2]
    assert alerts[0]["reason"].startswith("gradient")
    assert math.isfinite(trainer.eval_step())


def test_lost_updates_raise_a_warning_once(make_trainer):
    precision = {"format": "e5m2", "storage": "rounded"}
    trainer = make_trainer(precision, learning_rate=1e-6, max_steps=4)
    trainer.train()
    alerts = [e for e in read_jsonl(trainer.recorder.folder.events) if e["event"] == "alert"]
    stalls = [a for a in alerts if "leave the rounded weights" in a["reason"]]
    assert len(stalls) == 1
    assert stalls[0]["level"] == "warning"


HEALTHY = {
    "e4m3": {"format": "e4m3"},
    "mxfp8": {
        "format": "e4m3fn",
        **{
            role: CastConfig(scaling="block", scale_rule="mx", block_size=32)
            for role in ("weight", "input", "grad_output")
        },
    },
    "stochastic": {"format": "e5m2", "storage": "rounded", "storage_rounding": "stochastic"},
    "kahan": {"format": "e5m2", "storage": "kahan"},
}


def alerts_of(trainer: Trainer) -> list[str]:
    trainer.train()
    events = read_jsonl(trainer.recorder.folder.events)
    return [e["reason"] for e in events if e["event"] == "alert"]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_has_no_alerts(make_trainer, name):
    trainer = make_trainer(HEALTHY[name], learning_rate=1e-4, max_steps=20, eval_interval=20)
    assert alerts_of(trainer) == []


def test_numbers_beyond_a_fixed_range_raise_a_warning(make_trainer):
    cast = CastConfig(format="e2m1fn", scaling="none")
    trainer = make_trainer({"format": "e4m3", "input": cast}, max_steps=2)
    with torch.no_grad():
        trainer.model.transformer.h[0].ln_1.weight.fill_(20.0)
    assert any("overflows%/input/max" in reason for reason in alerts_of(trainer))


@pytest.mark.parametrize("storage", ["master", "rounded"])
def test_only_updates_that_are_lost_change_the_format(make_trainer, storage):
    precision = {"format": "e5m2", "storage": storage, "fallback": ["none"], "fallback_after": 2}
    trainer = make_trainer(precision, learning_rate=1e-6, max_steps=4)
    trainer.train()
    assert trainer.rounding.rounds == (storage == "master")


def test_a_gradient_that_is_zero_in_theory_is_no_part_of_the_averages_and_is_named(make_trainer):
    """In bf16 without any rounding of ours: the cosine of a key's bias is a coin's toss."""
    precision = PrecisionConfig(compute="bf16-mixed")
    trainer = make_trainer(precision=None, shadow=ShadowConfig(enabled=True), max_steps=3)
    trainer.config.precision = precision
    trainer = Trainer(trainer.config, trainer.model, trainer.data_dir, "cpu")
    trainer.train()
    key_biases = [f"transformer.h.{i}.attn.c_k.bias" for i in range(2)]
    for line in read_jsonl(trainer.recorder.folder.metrics):
        assert line["grad_cos_sim/min"] > 0.99
        assert line["grad_snr_db/min"] > 20
        assert not [name for name in line if "c_k.bias" in name and "grad_cos_sim" in name]
        assert line["grad_cos_sim/transformer.h.1.attn.c_q.bias"] > 0.99
    notes = [e for e in read_jsonl(trainer.recorder.folder.events) if e["event"] == "note"]
    (told,) = [e["text"] for e in notes if "left out" in e["text"]]
    assert told.endswith(", ".join(key_biases))


def test_a_run_in_trouble_changes_its_format_and_says_so(make_trainer, tmp_path):
    precision = {"format": "e7m0", "fallback": ["e4m3", "none"], "fallback_after": 3}
    settings = {"faults": FaultConfig(loss_nan_at_step=2, steps=6), "max_steps": 12}
    whole = make_trainer(precision, run_dir=str(tmp_path / "whole"), **settings)
    assert whole.train()["status"] == "finished"
    events = list(read_jsonl(whole.recorder.folder.events))
    notes = [(e["step"], e["text"].split()[-1]) for e in events if e["event"] == "note"]
    assert notes[1:] == [(4, "e4m3"), (7, "rounded")]
    assert not whole.rounding.rounds
    make_trainer(precision, run_dir=str(tmp_path / "cut"), **settings).train(5)
    cut = make_trainer(precision, run_dir=str(tmp_path / "cut"), **settings)
    cut.resume(tmp_path / "cut")
    assert cut.rounding.precision.format == "e4m3"
    cut.train()
    assert torch.equal(weights(whole), weights(cut))


def test_gradients_can_be_clipped_to_the_formats_range(make_trainer):
    trainer = make_trainer({"format": "e2m1fn", "grad_clip_range": 1e-3}, grad_clip=0.0)
    steps(trainer, 1)
    layers = quant_layers(trainer.model).values()
    assert max(layer.weight.grad.abs().max().item() for layer in layers) == pytest.approx(6e-3)


def test_impossible_faults_and_instruments_are_refused():
    for bad in (
        lambda: FaultConfig(loss_nan_at_step=0),
        lambda: FaultConfig(steps=0),
        lambda: ShadowConfig(every_steps=0),
        lambda: DiagnosticsConfig(every_steps=0),
        lambda: DiagnosticsConfig(dead_neuron_window=0),
    ):
        with pytest.raises(ValueError, match="must"):
            bad()
