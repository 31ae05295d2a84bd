"""How often are the verdicts wrong? Simulated comparisons whose truth is known.

    python benchmarks/verdict_calibration.py [--simulations 10000] [--only stopping]

Each simulated run has a loss = seed effect (shared by the arms, since they are paired) + noise of
its own, of standard deviation 1. Printed: the tables of docs/evidence/calibration.md.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from altgrad.compare.statistics import paired
from altgrad.compare.statistics.anytime import Spread, anytime_interval, anytime_p
from altgrad.compare.stopping import Open, needed
from altgrad.compare.verdict import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE, Rules, judge

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
        ["noise", "seeds", "arms", "any better", "any worse", "equivalent", "inconclusive"],
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
                    share(v == INCONCLUSIVE for v in first),
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


MOST = 20


@dataclass(frozen=True)
class Went:
    """A simulated comparison as you go: verdict and seeds of each arm, and runs of all of them."""

    verdicts: list[str]
    seeds: list[int]
    runs: int


def as_you_go(outcomes: np.ndarray, rules: Rules, *, stopping: bool) -> Went:
    """The loop of `Comparison._test` over made-up outcomes `(1 + arms, 20)`.

    stopping: arms that are decided or hopeless stop; else every arm runs until all are decided.
    """
    control, *others = outcomes
    rows = dict.fromkeys(range(len(others)), 3)
    while True:
        longest = max(rows.values())
        arms = {str(i): others[i][:n] for i, n in rows.items()}
        found = judge(control[:longest], arms, rules, resamples=0)
        asked = [Open(e.arm, {e.arm: 1, "c": -1}, e.verdict, len(others)) for e in found]
        values = {"c": control[:longest], **arms}
        if stopping:
            open_ = [int(a) for a in needed(asked, values, rules, MOST) if a != "c"]
        else:
            open_ = list(rows) if any(e.verdict == INCONCLUSIVE for e in found) else []
        if longest == MOST or not open_:
            return Went(
                [e.verdict for e in found], list(rows.values()), longest + sum(rows.values())
            )
        rows |= dict.fromkeys(open_, longest + 1)


def stopping(count: int) -> None:
    """Arms that stop by themselves: errors, findings and runs beside those of arms that do not."""
    title(
        "As you go with four arms, up to 20 seeds: all go on (all), or an arm that is decided or "
        "hopeless stops (each)",
        [
            "noise",
            "improvements, in seed noise",
            "any false verdict, %: all",
            "each",
            "better found, %: all",
            "each",
            "runs: all",
            "each",
        ],
    )
    rng = np.random.default_rng(6)
    for noise, draw in NOISES.items():
        for effects in ((0, 0, 0, 0), (0, 0, 1.5, 3)):
            outcomes = simulate(draw, MOST, 4, 0.0, count // 40, rng)
            outcomes[:, 1:] -= np.array(effects)[None, :, None]
            rules = Rules(delta=DELTA, anytime=True)
            both = [[as_you_go(o, rules, stopping=s) for o in outcomes] for s in (False, True)]
            row(
                noise,
                ", ".join(f"{e:g}" for e in effects),
                *(share(_errs(w, effects) for w in went) for went in both),
                *(share(f for w in went for f in _found(w, effects)) for went in both),
                *(f"{np.mean([w.runs for w in went]):.1f}" for went in both),
            )


def _errs(went: Went, effects: Sequence[float]) -> bool:
    false = {0: (BETTER, WORSE)}
    return any(
        v in (false.get(e, (WORSE, EQUIVALENT) if e > DELTA else (WORSE,)))
        for v, e in zip(went.verdicts, effects, strict=True)
    )


def _found(went: Went, effects: Sequence[float]) -> list[bool]:
    return [v == BETTER for v, e in zip(went.verdicts, effects, strict=True) if e] or [False]


def known_spread(count: int) -> None:
    """A spread from earlier pairs: what it saves, and how often identical arms differ with it."""
    title(
        "As you go, looks from 1 to 20 seeds, with a spread known from earlier pairs",
        [
            "the new pairs' noise",
            "degrees of freedom",
            "ever called different, %",
            "with the spread as if it were the truth, %",
            "improvement of 3: better, %",
            "seeds used (mean)",
        ],
    )
    rng = np.random.default_rng(7)
    cells = [("as known", 1.0, nu) for nu in (0, 3, 6, 12, 40)] + [
        ("1.5 times", 1.5, 12),
        ("2 times", 2.0, 12),
    ]
    for name, factor, nu in cells:
        null = factor * np.sqrt(2) * rng.normal(0, 1, (count // 5, MOST))
        known = [_earlier(nu, rng) for _ in null]
        plugged = [Spread(k.value, 1e9) if nu else k for k in known]
        real = null[: count // 10] - 3 * factor
        stops = [_first_shown(d, k) for d, k in zip(real, known, strict=False)]
        row(
            name,
            nu or "none known",
            share(_first_shown(d, k) is not None for d, k in zip(null, known, strict=True)),
            share(_first_shown(d, k) is not None for d, k in zip(null, plugged, strict=True)),
            share(n is not None for n in stops),
            f"{np.mean([n or MOST for n in stops]):.1f}",
        )


def _earlier(freedom: int, rng: np.random.Generator) -> Spread:
    if not freedom:
        return Spread()
    return Spread(float(np.sqrt(2 * rng.chisquare(freedom) / freedom)), freedom)


def _first_shown(d: np.ndarray, known: Spread) -> int | None:
    return next((n for n in range(1, MOST + 1) if anytime_p(d[:n], known=known) < 0.05), None)


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
        if verdict != INCONCLUSIVE:
            return verdict, n
    return INCONCLUSIVE, looks[-1]


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
    parser.add_argument("--only", choices=TABLES, help="one of the tables")
    arguments = parser.parse_args(words)
    for name, table in TABLES.items():
        if arguments.only in (None, name):
            table(arguments.simulations)


TABLES = {
    "identical": identical_arms,
    "barely": barely_different,
    "coverage": coverage,
    "peeking": peeking,
    "power": power,
    "stopping": stopping,
    "spread": known_spread,
}


if __name__ == "__main__":
    main(sys.argv[1:])
