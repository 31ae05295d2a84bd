"""Pictures of what low precision did: what they are drawn from, and that they are drawn."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from altgrad.quantization import PrecisionConfig, Recipe, apply_recipe
from altgrad.runs.layers import layer_table
from altgrad.training import Trainer
from altgrad.training.instruments.config import ShadowConfig
from altgrad.training.recording import numerics_plots
from altgrad.training.recording.operands import operand_spreads


class OneLayer(nn.Module):
    """A linear layer with a mean square loss, called like a language model."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3, bias=False)
        self.layer.weight.data.copy_(weight)

    def forward(self, x, y):
        out = self.layer(x)
        return out, (out * y).sum()


def test_operands_are_counted_by_octave_in_units_of_their_scale():
    weight = torch.tensor([[448.0, 1.0, 1.5, 0.0], [-2.0, 3.9, 2.0**-9, 2.0**-30], [1, 1, 1, 1.0]])
    x, y = torch.ones(2, 4), torch.full((2, 3), 0.5)
    model = OneLayer(weight)
    apply_recipe(model, Recipe.of(PrecisionConfig(simulate=True, format="e4m3")))
    spreads = {s.role: s for s in operand_spreads(model, x, y, compute="32-true")}
    found, at = spreads["weight"], -spreads["weight"].lowest
    assert found.lowest == -9 - 8
    assert found.zero == pytest.approx(1 / 12)
    twelfths = [round(12 * share) for share in found.shares]
    assert (twelfths[at + 8], twelfths[at + 0], twelfths[at + 1]) == (1, 6, 2)
    assert (twelfths[at - 9], twelfths[0]) == (1, 1)  # what is below the picture counts at its edge
    for role in ("input", "grad_output"):  # constants: everything at the largest number, 448
        assert spreads[role].shares[at + 8] == 1.0


@pytest.fixture
def run(make_config, make_model, data_dir, monkeypatch):
    """A short run with counts and shadow, and its own data where the pictures look for it."""

    def make(**settings):
        config = make_config(max_steps=3, eval_interval=3, **settings)
        trainer = Trainer(config, make_model(config), data_dir, "cpu")
        trainer.train()
        monkeypatch.setattr("altgrad.training.token_hashes.prepare", lambda *a, **k: data_dir)
        return trainer.recorder.folder.root

    return make


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_with_two_recipes_gives_a_picture_for_each(run):
    modules = {"*.mlp.*": {"format": "e4m3"}}
    precision = PrecisionConfig(simulate=True, format="e5m2", modules=modules)
    root = run(precision=precision, shadow=ShadowConfig(enabled=True))
    paths = numerics_plots.plot_numerics(root)
    names = ["numerics_histograms.png", "numerics_histograms_2.png", "numerics_over_time.png"]
    assert [p.name for p in paths] == names
    assert all(p.read_bytes()[:4] == b"\x89PNG" for p in paths)


def test_layers_and_steps_come_from_what_was_logged():
    lines = [
        {"step": 1, "sqnr_db/input/lm_head": 20.0, "sqnr_db/input/mean": 1.0},
        {"step": 2, "sqnr_db/input/lm_head": float("inf"), "sqnr_db/input/h.0.fc": 30.0},
        {"step": 3, "loss": 2.0},
    ]
    layers, steps, values = layer_table(lines, "sqnr_db/input")
    assert (layers, steps) == (["lm_head", "h.0.fc"], [1, 2])
    assert values[0][0] == 20.0
    assert values[1][1] == 30.0
    assert values[0][1] == float("inf")
    assert str(values[1][0]) == "nan"
    assert layer_table(lines, "bit_stall") is None


def logged(tmp_path, lines: list[dict]) -> Path:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, by file name."""
    figures = {}
    monkeypatch.setattr(
        numerics_plots, "_save", lambda figure, path: figures.update({path.name: figure})
    )
    return figures


def test_a_skipped_step_is_a_gap_not_a_stall_of_zero(tmp_path, drawn):
    lines = [
        {"step": 1, "skipped": 0.0, "bit_stall/a": 0.5, "bit_stall/b": 0.25},
        {"step": 2, "skipped": 1.0, "flips/a": 0.0},
        {"step": 3, "skipped": 1.0, "bit_stall/a": 0.0, "bit_stall/b": 0.0},  # an older run's
        {"step": 4, "skipped": 0.0, "bit_stall/a": 0.75, "bit_stall/b": 1.0},
    ]
    numerics_plots.plot_over_time(logged(tmp_path, lines))
    axes = drawn["numerics_over_time.png"].axes[0]
    (mesh,) = axes.collections
    assert mesh.get_array().tolist() == [[0.5, None, None, 0.75], [0.25, None, None, 1.0]]
    assert axes.patch.get_hatch()
    assert axes.get_xlim() == (0.5, 4.5)


def test_infinity_is_named_and_never_called_zero(tmp_path, drawn):
    inf = float("inf")
    lines = [
        {"step": 1, "sqnr_db/weight/a": inf, "sqnr_db/input/a": 30.0, "bit_stall/a": 0.0},
        {"step": 2, "sqnr_db/weight/a": inf, "sqnr_db/input/a": inf, "bit_stall/a": 0.0},
    ]
    numerics_plots.plot_over_time(logged(tmp_path, lines))
    figure = drawn["numerics_over_time.png"]
    weight, stall = (numerics_plots.OVER_TIME[m] for m in ("sqnr_db/weight", "bit_stall"))
    assert figure.get_supxlabel().splitlines() == [
        f"infinite (no error) in all layers and steps: {weight}",
        f"zero in all layers and steps: {stall}",
    ]
    title = figure.axes[0].get_title("left")
    assert title == f"{numerics_plots.OVER_TIME['sqnr_db/input']} [white: inf]"
    mesh = figure.axes[0].collections[0]
    assert mesh.to_rgba(mesh.get_array())[0, 1].tolist() == [1, 1, 1, 1]
    assert mesh.get_array()[0, 0] == 30.0


def test_a_run_without_any_error_still_has_its_picture(tmp_path):
    lines = [{"step": 1, "sqnr_db/weight/a": float("inf")}]
    assert numerics_plots.plot_over_time(logged(tmp_path, lines)).exists()


def test_parameters_left_out_of_the_comparison_are_named(tmp_path, drawn):
    line = {"step": 1, "grad_snr_db/total": 20.0, "grad_snr_db/transformer.h.0.fc.weight": 20.0}
    norms = {f"grad_norm_l2/transformer.h.0.{n}": 1e-9 for n in ("fc.weight", "attn.c_k.bias")}
    numerics_plots.plot_over_time(logged(tmp_path, [{**line, **norms, "grad_norm_l2/mean": 1.0}]))
    words = drawn["numerics_over_time.png"].get_supxlabel()
    assert words == "no gradient in FP32 but rounding, left out: 0.attn.c_k.bias"


def test_a_run_that_rounds_nothing_has_no_such_pictures(run):
    with pytest.raises(ValueError, match="rounds nothing"):
        numerics_plots.plot_numerics(run())
