"""How often is a trend over sizes called wrongly, and how often does a forecast hold the truth?

    python benchmarks/scaling_calibration.py [--simulations 100]

Simulated ladders whose truth is known: the control's loss is 1.6 + 0.8 (N/N₁)^-0.35, the arm
differs by a function of the size. A run's noise has a standard deviation of 0.04, of which the arms
of a seed share most (they are paired) and the rungs of a seed share some (they see the same
batches); it is half as large on the largest rung as on the smallest. Printed: the tables of
docs/evidence/calibration-trends.md.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable

import numpy as np

from altgrad.compare.scaling.trend import (
    BENDS,
    GROWS,
    HOLDS,
    INCONCLUSIVE,
    MOVES,
    SHRINKS,
    TURNS,
    Trend,
    judge_trends,
)
from altgrad.compare.verdict import Rules

Difference = Callable[[np.ndarray], np.ndarray]
"""N/N₁ -> the true difference; every one starts at about -0.1."""

TRUTHS: dict[str, tuple[Difference, str]] = {
    "none anywhere": (lambda n: 0 * n, HOLDS),
    "the same everywhere": (lambda n: -0.1 + 0 * n, HOLDS),
    "grows with log N": (lambda n: -0.1 - 0.015 * np.log2(n), GROWS),
    "grows and levels off": (lambda n: -0.1 - 0.1 * (1 - n**-0.5), GROWS),
    "a better exponent": (lambda n: 0.8 * (n**-0.5 - n**-0.35) - 0.02, GROWS),
    "shrinks with log N": (lambda n: -0.1 + 0.015 * np.log2(n), SHRINKS),
    "shrinks to nothing": (lambda n: -0.1 * n**-0.4, SHRINKS),
    "turns": (lambda n: -0.1 + 0.05 * np.log2(n), TURNS),
    "dips, then comes back": (lambda n: -0.1 - 0.1 * np.sin(np.log2(n) * 0.9), BENDS),
}
"""Name -> difference, and the verdict that would be right at delta = 0.02."""

LADDERS = {4: np.array([1, 2.2, 4.6, 10.0])}
SEEDS = (3, 5)
NOISE, DELTA, BEYOND = 0.04, 0.02, 10.0
RULES = Rules(DELTA)
VERDICTS = (HOLDS, GROWS, SHRINKS, TURNS, BENDS, MOVES, INCONCLUSIVE)


def simulate(
    n: np.ndarray, difference: Difference, seeds: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Outcomes `(seeds, rungs)` of control and arm."""
    size = NOISE * np.linspace(1, 0.5, len(n))
    paired = 0.9 * rng.normal(size=(seeds, len(n))) + 0.3 * rng.normal(size=(seeds, 1))
    control = 1.6 + 0.8 * n**-0.35 + size * paired
    own = 0.3 * rng.normal(size=(seeds, len(n))) + 0.2 * rng.normal(size=(seeds, 1))
    return {"control": control, "arm": control + difference(n) + size * own}


def trends(n: np.ndarray, difference: Difference, seeds: int, count: int, seed: int) -> list[Trend]:
    rng = np.random.default_rng(seed)
    return [
        judge_trends(
            list(n),
            simulate(n, difference, seeds, rng),
            "control",
            RULES,
            target=BEYOND * n[-1],
            resamples=100,
        )[0]
        for _ in range(count)
    ]


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=100, help="per row (100)")
    count = parser.parse_args(words).simulations
    rows = [
        (rungs, seeds, name, trends(n, difference, seeds, count, k))
        for rungs, n in LADDERS.items()
        for seeds in SEEDS
        for k, (name, (difference, _)) in enumerate(TRUTHS.items())
    ]
    print_verdicts(rows)
    print_false_trends(count)
    print_forecasts(rows)


def print_verdicts(rows: list[tuple[int, int, str, list[Trend]]]) -> None:
    title("Verdicts, in percent", ["rungs", "seeds", "truth", *VERDICTS])
    for rungs, seeds, name, found in rows:
        counts = Counter(t.verdict for t in found)
        shares = [percent(counts[v], len(found)) for v in VERDICTS]
        right = TRUTHS[name][1]
        marked = [f"**{s}**" if v == right else s for v, s in zip(VERDICTS, shares, strict=True)]
        row(rungs, seeds, name, *marked)


def print_false_trends(count: int) -> None:
    """No slope at all: how often is one announced? Here delta is so small that nothing can hold."""
    title("A trend announced where there is none, in percent", ["rungs", "seeds", "line", "bend"])
    strict = Rules(1e-6)
    for rungs, n in LADDERS.items():
        for seeds in SEEDS:
            rng = np.random.default_rng(99)
            flat = TRUTHS["the same everywhere"][0]
            said = [
                judge_trends(
                    list(n), simulate(n, flat, seeds, rng), "control", strict, resamples=2
                )[0].verdict
                for _ in range(10 * count)
            ]
            lines = sum(v not in (INCONCLUSIVE, BENDS) for v in said)
            row(rungs, seeds, percent(lines, len(said)), percent(said.count(BENDS), len(said)))


def print_forecasts(rows: list[tuple[int, int, str, list[Trend]]]) -> None:
    columns = ["rungs", "seeds", "truth", "true there", "inside", "width", "check holds"]
    title(f"Forecast {BEYOND:g} times beyond the largest rung (95 wanted inside)", columns)
    for rungs, seeds, name, found in rows:
        true = float(TRUTHS[name][0](BEYOND * LADDERS[rungs][-1:])[0])
        ahead = [t.forecast for t in found if t.forecast]
        inside = sum(f.low <= true <= f.high for f in ahead)
        width = np.mean([f.high - f.low for f in ahead])
        checks = sum(bool(t.check_holds) for t in found)
        row(
            *(rungs, seeds, name, f"{true:+.3f}", percent(inside, len(ahead)), f"{width:.3f}"),
            percent(checks, len(found)),
        )


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}"


def title(text: str, columns: list[str]) -> None:
    print(f"\n{text}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
