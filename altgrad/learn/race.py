"""The end of the workshop: the learner's model and the reference, trained side by side.

Same seed, same batches, same initial weights, steps taken in turn so that both meet the same
machine: training loss at step 50, activation memory, speed, final validation loss, bits per byte.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from altgrad.learn.harness import harness_of
from altgrad.learn.proof import same_start
from altgrad.learn.track import Track
from altgrad.learn.transplant import load_file, load_reference

SAME_LOSS = 1e-3  # relative; float32 sums in another order part by less over a short race
LANDMARK_STEP = 50
EVALUATION_BATCHES = 12
WINDOW = 10  # steps between progress lines

# What else is measured of a trained model: from its logits (ids -> logits) and the longest
# sequence it takes, the columns to add to the table.
Examination = Callable[[Callable[[Tensor], Tensor], int], dict[str, str]]


@dataclass(frozen=True)
class RaceSettings:
    """Sizes of the two models and of the race."""

    steps: int = 300
    seed: int = 0
    batch_size: int = 8
    length: int = 128
    n_layer: int = 3
    n_head: int = 4
    n_kv_head: int = 4
    n_embd: int = 128


@dataclass
class Runner:
    """One of the two."""

    name: str
    model: Any
    optimizers: list[Any]
    harness: Any
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    activation_bytes: int = 0
    val_loss: float = math.nan
    examined: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What the table and the page show; plain values."""

    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    losses: dict[str, list[float]]
    parted_at: int | None

    @property
    def sentence(self) -> str:
        if self.parted_at is None:
            return f"matches the reference at every one of {self.settings['steps']} steps"
        return f"differs from the reference from step {self.parted_at} on"


def race(
    track: Track,
    path: Path,
    tokens: dict[str, np.ndarray],
    vocab_size: int,
    settings: RaceSettings,
    examination: Examination | None = None,
) -> Iterator[str | Outcome]:
    """Progress lines, then the outcome. Runs the learner's code in this very process."""
    runners = _line_up(track, path, vocab_size, settings)
    generator = np.random.default_rng(settings.seed)
    for step in range(settings.steps):
        batch = _batch(tokens["train"], generator, settings)
        for runner in runners if step % 2 else reversed(runners):
            _advance(runner, batch, step, settings)
        if (step + 1) % WINDOW == 0:
            losses = "  ".join(f"{r.name} {r.losses[-1]:.4f}" for r in runners)
            yield f"step {step + 1:4}  {losses}"
    for runner in runners:
        runner.val_loss = _evaluate(runner, tokens["val"], settings)
    if examination:
        yield from _examine_all(runners, examination, settings.length)
    yield _outcome(runners, settings)


def _line_up(track: Track, path: Path, vocab_size: int, settings: RaceSettings) -> list[Runner]:
    sizes = {k: v for k, v in asdict(settings).items() if k.startswith(("n_", "length"))}
    sizes["vocab_size"] = vocab_size
    harness, models = harness_of(track.name), []
    for namespace in (load_reference(track.path), load_file(path.read_text(), path)):
        torch.manual_seed(settings.seed)
        model = harness.make(namespace, sizes)
        harness.initialise(model)
        models.append(model)
    same_start(*models)
    names = ("reference", "yours")
    return [
        Runner(n, m, harness.optimizers(m), harness) for n, m in zip(names, models, strict=True)
    ]


def _batch(tokens: np.ndarray, generator: Any, settings: RaceSettings) -> tuple[Tensor, Tensor]:
    length = settings.length
    starts = generator.integers(0, len(tokens) - length - 1, settings.batch_size)
    rows = np.stack([tokens[s : s + length + 1] for s in starts]).astype(np.int64)
    return torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())


def _advance(
    runner: Runner, batch: tuple[Tensor, Tensor], step: int, settings: RaceSettings
) -> None:
    for optimizer in runner.optimizers:
        for group in optimizer.param_groups:  # linear decay to zero over the last half
            left = min(1.0, 2 * (1 - step / settings.steps))
            group["lr"] = group["initial_lr"] * left
    start = time.perf_counter()
    saved = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.numel() * tensor.element_size()
        return tensor

    if step == 0:
        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            loss = runner.harness.loss(runner.model, *batch)
        runner.activation_bytes = saved
    else:
        loss = runner.harness.loss(runner.model, *batch)
    loss.backward()
    for optimizer in runner.optimizers:
        optimizer.step()
    runner.model.zero_grad(set_to_none=True)
    runner.losses.append(loss.item())
    runner.seconds.append(time.perf_counter() - start)


@torch.no_grad()
def _evaluate(runner: Runner, tokens: np.ndarray, settings: RaceSettings) -> float:
    generator = np.random.default_rng(12345)
    runner.model.eval()
    losses = [
        runner.harness.loss(runner.model, *_batch(tokens, generator, settings))
        for _ in range(EVALUATION_BATCHES)
    ]
    return float(torch.stack(losses).mean())


def _examine_all(runners: list[Runner], examination: Examination, length: int) -> Iterator[str]:
    """Nothing of a race that is run is lost by an examination that fails: that is said instead."""
    for runner in runners:
        yield f"{runner.name}: answering questions"
        try:
            runner.examined = _examine(runner, examination, length)
        except Exception as error:
            yield f"{runner.name}: the questions could not be asked: {error}"


def _examine(runner: Runner, examination: Examination, length: int) -> dict[str, str]:
    return examination(lambda idx: runner.harness.logits(runner.model, idx), length)


def _outcome(runners: list[Runner], settings: RaceSettings) -> Outcome:
    tokens = settings.batch_size * settings.length
    at = min(LANDMARK_STEP, settings.steps) - 1
    rows = [
        {
            "model": r.name,
            f"train loss at step {at + 1}": r.losses[at],
            "activations (MB)": r.activation_bytes / 1e6,
            "tokens/s": round(tokens / statistics.median(r.seconds[1:] or r.seconds)),
            "val loss": r.val_loss,
            "bits per byte": r.val_loss / math.log(2),
            **r.examined,
        }
        for r in runners
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    rows = [{name: row.get(name, "–") for name in columns} for row in rows]
    pairs = zip(runners[0].losses, runners[1].losses, strict=True)
    apart = (i for i, (a, b) in enumerate(pairs) if not abs(a - b) <= SAME_LOSS * abs(a))
    losses = {r.name: r.losses for r in runners}
    return Outcome(asdict(settings), rows, losses, next(apart, None))


def table(outcome: Outcome) -> list[str]:
    """The outcome for a terminal."""
    head = list(outcome.rows[0])
    cells = [[_cell(v) for v in r.values()] for r in outcome.rows]
    widths = [max(len(x) for x in column) for column in zip(head, *cells, strict=True)]
    lines = [head, *cells]
    return ["  ".join(x.rjust(w) for x, w in zip(line, widths, strict=True)) for line in lines]


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def page(outcome: Outcome, proof: str) -> str:
    """The outcome as one self-contained HTML page with both curves."""
    rows = "".join(
        "<tr>" + "".join(f"<td>{_cell(v)}</td>" for v in r.values()) for r in outcome.rows
    )
    head = "".join(f"<th>{name}</th>" for name in outcome.rows[0])
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>race</title>
<style>body{{font:16px system-ui;max-width:60em;margin:2em auto;padding:0 1em;color:#222}}
table{{border-collapse:collapse}}td,th{{padding:.3em .8em;text-align:right;
border-bottom:1px solid #ccc}}svg{{width:100%;height:auto}}text{{font-size:12px;fill:#555}}</style>
<h1>Your GPT and the reference</h1><p><b>{outcome.sentence}</b></p><p>Proof before it: {proof}</p>
<table><tr>{head}</tr>{rows}</table>{_curves(outcome)}
<p>{", ".join(f"{k} {v}" for k, v in outcome.settings.items())}</p></html>
"""


def _curves(outcome: Outcome) -> str:
    """Both training curves in one SVG; the reference is thick and grey, yours thin and blue."""
    width, height, margin = 800, 360, 40
    every = [x for losses in outcome.losses.values() for x in losses if math.isfinite(x)]
    low, high = min(every), max(every)
    steps = max(len(losses) for losses in outcome.losses.values())

    def place(i: int, loss: float) -> str:
        x = margin + (width - 2 * margin) * i / max(steps - 1, 1)
        y = margin + (height - 2 * margin) * (high - loss) / max(high - low, 1e-9)
        return f"{x:.1f},{y:.1f}"

    styles = {"reference": 'stroke="#999" stroke-width="5"', "yours": 'stroke="#06c"'}
    lines = "".join(
        f'<polyline fill="none" {styles[name]} points="'
        + " ".join(place(i, v) for i, v in enumerate(losses) if math.isfinite(v))
        + f'"><title>{name}</title></polyline>'
        for name, losses in outcome.losses.items()
    )
    labels = (
        f'<text x="4" y="{margin}">{high:.2f}</text>'
        f'<text x="4" y="{height - margin}">{low:.2f}</text>'
        f'<text x="{width - 2 * margin}" y="{height - 10}">step {steps}</text>'
        '<text x="60" y="20">training loss: grey the reference, blue yours</text>'
    )
    return f'<svg viewBox="0 0 {width} {height}">{lines}{labels}</svg>'
