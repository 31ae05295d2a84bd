"""The last page of a run: a sample, the loss plot, and where everything lies."""

import math
import os
from pathlib import Path
from typing import Any

from altgrad.runs.plots import plot_runs, terminal_plot
from altgrad.runs.view import duration
from altgrad.training.recording import Console
from altgrad.training.trainer import Trainer

FINAL_SAMPLE_TOKENS = 300


def close_run(trainer: Trainer, summary: dict[str, Any], console: Console) -> None:
    """Print the end of a run; a picture that cannot be drawn is reported, no more."""
    run = Path(os.path.relpath(summary["run_dir"]))
    if summary["status"] == "diverged":
        console.say(f"stopped at step {summary['step']}: the loss or its gradient is not finite.")
    try:
        if text := final_sample(trainer, summary):
            console.sample(text)
    except Exception as error:  # a loss that is NaN, a prompt: decoration costs nothing else
        console.say(f"no sample: {error}")
    console.say(_picture(run, console))
    console.say(_figures(summary))
    console.say(f"run folder: {run}")


def final_sample(trainer: Trainer, summary: dict[str, Any]) -> str:
    """A finished run's sample; "" if there is none. Every process of a run must ask for it.

    The processes of `strategy=fsdp` hold a part of the weights each, and sample together.
    """
    if trainer.sampler is None or summary["status"] != "finished":
        return ""
    return trainer.sampler(trainer.step, FINAL_SAMPLE_TOKENS)


def _picture(run: Path, console: Console) -> str:
    try:
        path = plot_runs([run], run / "figures" / "loss.png")
        if console.is_terminal:
            console.raw(terminal_plot(run))
    except Exception as error:  # whatever a drawing library thinks of: the run has ended well
        return f"no loss plot: {error}"
    return f"loss plot: {path}"


def _figures(summary: dict[str, Any]) -> str:
    loss, best = summary["val_loss"], summary["best_val_loss"]
    evaluated = f"validation loss {loss:.4f}, best {best:.4f}"
    if math.isinf(best):  # no evaluation gave a number
        evaluated = "never evaluated" if math.isinf(loss) else f"validation loss {loss:.4f}"
    parts = [evaluated]
    parts.append(f"{duration(summary['train_s'])} of training")
    if summary["compile_s"]:
        parts.append(f"compilation {duration(summary['compile_s'])}")
    return " · ".join(parts)
