"""What an experiment found: a table, a picture's data, and a sentence computed from them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from altgrad.learn.questions.bench import NOISE, Arm, Ours, Progress, Trained, run_arms
from altgrad.runs.plots import smooth

Tokens = dict[str, np.ndarray]


@dataclass
class Finding:
    """`bars` is label -> values (one per seed); `curves` is label -> (x, y)."""

    rows: list[dict[str, Any]]
    verdict: str
    bars: dict[str, list[float]] = field(default_factory=dict)
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    x_label: str = ""
    y_label: str = "validation bits per byte"
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Bench:
    """What an experiment may use."""

    tokens: Tokens
    seeds: int
    progress: Progress | None = None
    maker: Any = field(default_factory=Ours)

    def run(self, arms: list[Arm]) -> dict[str, list[Trained]]:
        return run_arms(arms, self.tokens, self.seeds, self.progress, self.maker)


Experiment = Callable[[Bench], Finding]


def compare(results: dict[str, list[Trained]]) -> Finding:
    """Arms against the first, in paired seeds; what is measured beside the loss is in the table."""
    control, *others = results
    base = [t.bits_per_byte for t in results[control]]
    rows, sentences = [], []
    for label, trained in results.items():
        values = [t.bits_per_byte for t in trained]
        measured = {
            k: float(np.mean([t.measured[k] for t in trained])) for k in trained[0].measured
        }
        row = {"arm": label, "bits per byte": float(np.mean(values))}
        row |= {f"seed {t.seed}": t.bits_per_byte for t in trained}
        rows.append(row | {"parameters": trained[0].parameters} | measured)
        if label in others:
            differences = [v - b for v, b in zip(values, base, strict=True)]
            sentences.append(f"{label}: {_judged(differences)}")
    bars = {label: [t.bits_per_byte for t in trained] for label, trained in results.items()}
    curves = {
        label: (list(map(float, range(len(t[0].losses)))), smooth(t[0].losses))
        for label, t in results.items()
    }
    verdict = f"against {control}: " + "; ".join(sentences)
    return Finding(rows, verdict, bars, curves, x_label="step")


def _judged(differences: list[float]) -> str:
    """In words that two or three seeds support; a verdict is `altgrad compare`'s."""
    each = "both" if len(differences) == 2 else f"all {len(differences)}"
    mean = float(np.mean(differences))
    if len(differences) < 2:
        return f"{mean:+.4f} bits per byte (one seed: no verdict)"
    one_sided = all(d > 0 for d in differences) or all(d < 0 for d in differences)
    clear = one_sided and abs(mean) > NOISE
    word = (
        f"{'higher' if mean > 0 else 'lower'} with {each} seeds" if clear else "no clear difference"
    )
    return f"{mean:+.4f} bits per byte, {word}"
