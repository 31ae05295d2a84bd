"""What a person sees: plain lines without a terminal, a believable time left."""

import io
from pathlib import Path

from rich.console import Console as RichConsole

from altgrad.runs.view import duration
from altgrad.training.recording.console import Console, one_line


def make(width: int = 80, terminal: bool = False):
    out = io.StringIO()
    rich = RichConsole(
        file=out, width=width, force_terminal=terminal, highlight=False, soft_wrap=True
    )
    ticks = iter(range(0, 10_000, 20))
    return Console(console=rich, clock=lambda: next(ticks)), out


STEP = {"loss": 2.0, "step_ms": 500.0, "tokens_per_s": 1000.0, "train_s": 1.0}


def test_without_a_terminal_there_are_plain_lines():
    console, out = make()
    console.opened(Path("runs/x"), 0, {"model": "small"})
    console.progress(1, 100, {"loss": 2.0, "compile_s": 9.0})
    console.progress(2, 100, STEP)
    text = out.getvalue()
    assert "runs/x" in text
    assert "step 2/100 · loss 2.000 · 1,000 tokens/s · 49 s left" in text
    assert "\x1b" not in text


def test_the_time_left_counts_evaluations_and_forgets_compilation():
    console, out = make()
    console.opened(Path("runs/x"), 0, {})
    console.progress(1, 100, {"loss": 2.0, "compile_s": 900.0})
    for step in range(2, 10):
        console.progress(step, 100, STEP)
    console.progress(10, 100, {**STEP, "eval_s": 5.0})
    # 90 steps of 0.5 s, and an evaluation of 5 s every ten steps
    assert "step 10/100 · loss 2.000 · 1,000 tokens/s · 1 min 30 s left" in out.getvalue()


def test_an_evaluation_is_a_line_and_a_sample():
    console, out = make()
    metrics = {"val_loss": 1.5, "val_perplexity": 4.48, "val_bits_per_byte": 2.2, "train_s": 61.0}
    console.evaluated(10, metrics, "To be,\nor [not]")
    text = out.getvalue()
    assert "validation loss 1.5000" in text
    assert "2.2000 bits/byte" in text
    assert "To be, ⏎ or [not]" in text


def test_a_narrow_terminal_survives():
    console, out = make(width=20, terminal=True)
    console.opened(Path("runs/x"), 0, {})
    console.progress(2, 100, STEP)
    console.closed("finished")
    assert "runs/x" in out.getvalue()


def test_durations_read_well():
    assert [duration(s) for s in (0.4, 59, 61, 3725)] == ["0 s", "59 s", "1 min 01 s", "1 h 02 min"]


def test_long_samples_are_cut():
    assert one_line("a" * 100, width=10) == "aaaaaaaaa…"
