"""The loss picture: the numbers that are drawn, and what becomes of numbers that are none."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from altgrad.runs import plots


@pytest.fixture
def run(tmp_path):
    """`run(name, losses, {step: validation loss})`: a folder with such a `metrics.jsonl`."""

    def make(name: str, losses: list[float], validation: dict[int, float] | None = None) -> Path:
        (tmp_path / name).mkdir()
        lines = [{"step": i + 1, "loss": loss} for i, loss in enumerate(losses)]
        for step, loss in (validation or {}).items():
            lines[step - 1]["val_loss"] = loss
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / name / "metrics.jsonl").write_text(text)
        return tmp_path / name

    return make


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """`drawn(runs)`: the axes of their picture."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, path: (figures.append(f), save(f, path)))

    def draw(*runs: Path):
        plots.plot_runs(runs, tmp_path / "loss.png")
        return figures[-1].axes[0]

    return draw


def falling(number: int) -> np.ndarray:
    """As a language model's loss falls: from 4.2, steeply first, to 1.5."""
    return 1.5 + 2.7 / np.sqrt(1 + np.arange(number) / 8)


@pytest.mark.parametrize("number", [5, 40, 300, 5000])
def test_the_smoothed_curve_lies_on_data_without_noise(number):
    losses = falling(number)
    assert np.abs(np.array(plots.smooth(losses)) - losses).max() < 0.01


def test_a_straight_line_is_not_moved_at_either_end():
    line = 3.0 - 0.01 * np.arange(400)
    np.testing.assert_allclose(plots.smooth(line), line, atol=1e-9)


def test_smoothing_takes_noise_away():
    noise = np.random.default_rng(0).normal(0, 0.1, 2000)
    left = np.array(plots.smooth(falling(2000) + noise)) - falling(2000)
    assert left[200:].std() < 0.3 * noise.std()
    assert abs(left[200:].mean()) < 0.01


def test_one_bad_step_is_a_gap_and_the_curve_goes_on():
    losses = falling(200)
    spoilt = losses.copy()
    spoilt[[50, 120]] = math.nan, math.inf
    found = np.array(plots.smooth(spoilt))
    assert np.flatnonzero(np.isnan(found)).tolist() == [50, 120]
    kept = ~np.isnan(found)
    assert np.abs(found - losses)[kept].max() < 0.01


def test_few_points_are_drawn_as_they_are(run, drawn):
    losses = [4.0, 3.0, 2.5, 2.2, 2.0]
    axes = drawn(run("a", losses, {5: 2.05}))
    thick = max(axes.lines, key=lambda line: line.get_linewidth())
    assert thick.get_ydata() == pytest.approx(losses, abs=1e-12)


@pytest.mark.parametrize("order", [("low", "high"), ("high", "low")])
def test_every_run_lies_within_the_picture(run, drawn, order):
    runs = {"low": run("low", [1.0, 0.5]), "high": run("high", [9.0, 8.0], {2: 8.5})}
    bottom, top = drawn(*(runs[name] for name in order)).get_ylim()
    assert bottom == pytest.approx(0.95 * 0.5)
    assert top > 9.0


def test_losses_that_are_no_numbers_are_counted_in_the_legend(run, drawn):
    spoilt = run("a", [3.0, math.nan, 2.0, math.inf], {2: math.nan, 4: 2.1})
    axes = drawn(spoilt)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        "a training (2 not finite)",
        "a validation, best 2.1000 (1 not finite)",
    ]
    assert np.isfinite(axes.get_ylim()).all()
    assert "loss" in plots.terminal_plot(spoilt)


def test_a_validation_loss_that_is_never_finite_ends_no_plot(run, drawn):
    axes = drawn(run("a", [3.0, 2.0], {2: math.nan}))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[1] == "a validation (1 not finite)"


def test_runs_without_a_finite_loss_are_refused_in_one_line(run, tmp_path):
    with pytest.raises(ValueError, match="no finite loss in"):
        plots.plot_runs([run("a", [math.nan, math.nan])], tmp_path / "loss.png")
