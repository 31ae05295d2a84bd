"""How often are the verdicts wrong? Simulated comparisons whose truth is known.

    python benchmarks/verdict_calibration.py [--simulations 10000]

Each simulated run has a loss = seed effect (shared by the arms, since they are paired) + noise of
its own, of standard deviation 1. Printed: the tables of docs/how-to-know.md.
"""

import argparse
import sys
from collections.abc import Callable

import numpy as np

from altgrad.compare.statistics import paired
from altgrad.compare.statistics.anytime import anytime_interval
from altgrad.compare.verdict import BETTER, EQUIVALENT, NOT_SHOWN, WORSE, Rules, judge

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def student_3(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(3, shape) / np.sqrt(3)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Exponential: a run is now and then much worse, never much better."""
    return rng.exponential(1, shape) - 1


NOISES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "heavy tails (t3)": student_3,
    "skewed (exponential)": skewed,
}
SEEDS = (5, 8, 20)
DELTA = 1.0
"""Smallest difference that matters, in units of a run's own noise."""


def simulate(
    draw: Draw, n: int, arms: int, effect: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Outcomes `(count, 1 + arms, n)`; the control first, `effect` added to every other arm."""
    shared = 3 * rng.normal(0, 1, (count, 1, n))
    outcomes = shared + draw(rng, (count, 1 + arms, n))
    outcomes[:, 1:] += effect
    return outcomes


def verdicts(outcomes: np.ndarray, rules: Rules) -> list[list[str]]:
    """Verdict of every arm in every simulated comparison."""
    said = []
    for control, *others in outcomes:
        arms = {str(i): arm for i, arm in enumerate(others)}
        said.append([e.verdict for e in judge(control, arms, rules, resamples=0)])
    return said


def identical_arms(count: int) -> None:
    """False verdicts when no arm differs from the control."""
    title(
        "Identical arms: what is said, % of comparisons",
        ["noise", "seeds", "arms", "any better", "any worse", "equivalent", "not shown"],
    )
    rng = np.random.default_rng(1)
    for noise, draw in NOISES.items():
        for n in SEEDS:
            for arms in (1, 4):
                said = verdicts(simulate(draw, n, arms, 0.0, count // arms, rng), Rules(DELTA))
                first = [row[0] for row in said]
                row(
                    noise,
                    n,
                    arms,
                    share(BETTER in r for r in said),
                    share(WORSE in r for r in said),
                    share(v == EQUIVALENT for v in first),
                    share(v == NOT_SHOWN for v in first),
                )


def barely_different(count: int) -> None:
    """False "equivalent": every arm differs by exactly the smallest difference that matters."""
    title(
        "Arms that differ by exactly delta: any called equivalent, % of comparisons",
        ["noise", "seeds", "1 arm", "4 arms", "as you go, looks from 3 seeds on"],
    )
    rng = np.random.default_rng(5)
    for noise, draw in NOISES.items():
        for n in SEEDS:
            found = []
            for arms in (1, 4):
                outcomes = simulate(draw, n, arms, DELTA, count // arms, rng)
                found.append(share(EQUIVALENT in r for r in verdicts(outcomes, Rules(DELTA))))
            several = simulate(draw, n, 1, DELTA, count // 10, rng)
            stops = [_stop(o, range(3, n + 1)) for o in several]
            row(noise, n, *found, share(v == EQUIVALENT for v, _ in stops))


def coverage(count: int) -> None:
    """How often the interval contains the true difference."""
    title(
        "95 % intervals: how often they contain the true difference, %",
        ["noise", "seeds", "t (decides)", "BCa bootstrap"],
    )
    rng = np.random.default_rng(2)
    for noise, draw in NOISES.items():
        for n in SEEDS:
            outcomes = simulate(draw, n, 1, 0.7, count, rng)
            d = outcomes[:, 1] - outcomes[:, 0]
            t = [_contains(paired.paired_t(x).interval, 0.7) for x in d]
            few = d[: max(1, count // 10)]
            bca = [_contains(paired.bca_interval(x, resamples=1999), 0.7) for x in few]
            row(noise, n, share(t), share(bca))


def _contains(interval: paired.Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


def peeking(count: int) -> None:
    """False verdicts of identical arms when one looks after every seed from 3 to 20."""
    title(
        "Identical arms, looked at after every seed from 3 to 20: ever called different, %",
        ["noise", "t test at every look", "as you go", "sequence misses the truth once"],
    )
    rng = np.random.default_rng(3)
    looks = range(3, 21)
    for noise, draw in NOISES.items():
        outcomes = simulate(draw, 20, 1, 0.0, count // 4, rng)
        naive = share(_ever(o, looks, Rules(DELTA)) for o in outcomes)
        valid = share(_ever(o, looks, Rules(DELTA, anytime=True)) for o in outcomes)
        d = outcomes[:, 1] - outcomes[:, 0]
        missed = share(any(not _contains(anytime_interval(x[:n]), 0.0) for n in looks) for x in d)
        row(noise, naive, valid, missed)


def _ever(outcome: np.ndarray, looks: range, rules: Rules) -> bool:
    """Whether any look calls the arm better or worse; "equivalent" stops the looking."""
    for n in looks:
        verdict = judge(outcome[0, :n], {"arm": outcome[1, :n]}, rules, resamples=0)[0].verdict
        if verdict in (BETTER, WORSE):
            return True
        if verdict == EQUIVALENT:
            return False
    return False


def power(count: int) -> None:
    """How often a real improvement is found."""
    title(
        "A real improvement (normal noise): called better, %",
        [
            "improvement, in seed noise",
            *(f"{n} seeds" for n in SEEDS),
            "as you go, up to 20",
            "seeds used (mean)",
        ],
    )
    rng = np.random.default_rng(4)
    for effect in (1.5, 2.0, 3.0):
        found = []
        for n in SEEDS:
            said = verdicts(
                simulate(NOISES["normal"], n, 1, -effect, count // 4, rng), Rules(DELTA)
            )
            found.append(share(r[0] == BETTER for r in said))
        outcomes = simulate(NOISES["normal"], 20, 1, -effect, count // 10, rng)
        stops = [_stop(o, range(3, 21)) for o in outcomes]
        row(
            effect,
            *found,
            share(v == BETTER for v, _ in stops),
            f"{np.mean([n for _, n in stops]):.1f}",
        )


def _stop(outcome: np.ndarray, looks: range) -> tuple[str, int]:
    """The first verdict of a comparison that is judged at every look, and the seeds it took."""
    rules = Rules(DELTA, anytime=True)
    for n in looks:
        verdict = judge(outcome[0, :n], {"arm": outcome[1, :n]}, rules, resamples=0)[0].verdict
        if verdict != NOT_SHOWN:
            return verdict, n
    return NOT_SHOWN, looks[-1]


# -- printing -------------------------------------------------------------------------------------


def share(found) -> str:
    found = list(found)
    return f"{100 * sum(found) / len(found):.1f}"


def title(text: str, columns: list[str]) -> None:
    print(f"\n{text}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=10_000, help="per cell (10000)")
    count = parser.parse_args(words).simulations
    identical_arms(count)
    barely_different(count)
    coverage(count)
    peeking(count)
    power(count)


if __name__ == "__main__":
    main(sys.argv[1:])
