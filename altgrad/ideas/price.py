"""What a gain is worth per token and per second: a gain at one budget, told at another.

Idea and champion spend the same of the ledger's budget, and more or less of the other. What that is
worth follows from how much the baseline loses with a quarter of its steps less, measured at `new`:
`slope`, the loss per e-fold of steps. A run that costs `ratio` times as much has bought
slope · ln(ratio) with it. First order: good for ratios near 1, and told as approximate.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from altgrad.compare.arm import Arm
from altgrad.compare.budget import tokens_per_step
from altgrad.compare.statistics.paired import paired_t
from altgrad.ideas.noise import Spread
from altgrad.ideas.screening import OPEN, PARKED, screen
from altgrad.programs import is_program

SHORTER = 0.75
"""Share of its steps that the baseline is run with, to know what steps are worth."""

UNITS = {"per_token": "tokens", "per_second": "seconds"}


def slope_of(full: Sequence[float], shorter: Sequence[float], share: float) -> float:
    """Loss per e-fold of steps: outcomes of the baseline, one a seed, and those with this share of
    its steps."""
    lost = sum(s - f for f, s in zip(full, shorter, strict=True)) / len(full)
    return lost / -math.log(share)


def ratios(reference: Arm, arm: Arm, step_s: Mapping[str, float]) -> dict[str, float | None]:
    """What a run of `arm` costs, in runs of `reference`: tokens, and seconds (None where no step
    was measured). step_s: arm -> seconds of a step, measured in turn. Of a program nobody knows."""
    if is_program(reference.config.to_dict()):
        return {"tokens": None, "seconds": None}

    def spent(each: Arm, per_step: float) -> float:
        return each.config.max_steps * per_step

    tokens = [spent(a, tokens_per_step(a.config)) for a in (arm, reference)]
    seconds = [spent(a, step_s.get(a.name, math.nan)) for a in (arm, reference)]
    known = all(math.isfinite(s) and s > 0 for s in seconds)
    return {"tokens": tokens[0] / tokens[1], "seconds": seconds[0] / seconds[1] if known else None}


def shifts(slope: float | None, cost: Mapping[str, float | None]) -> dict[str, float | None]:
    """`per_token`, `per_second` -> what to take off a gain; None where it is not known."""
    found: dict[str, float | None] = {}
    for unit, name in UNITS.items():
        ratio = cost[name]
        even = ratio is not None and abs(math.log(ratio)) < 1e-9
        known = ratio is not None and slope is not None
        found[unit] = 0.0 if even else slope * math.log(ratio) if known else None  # type: ignore
    return found


def screened_both_ways(
    gains: Sequence[float], spread: Spread, delta: float, taken: Mapping[str, float | None]
) -> dict[str, Any]:
    """What screening says of the same gains per token and per second."""
    found: dict[str, Any] = dict.fromkeys(UNITS)
    for unit, shift in taken.items():
        if shift is not None:
            s = screen([g - shift for g in gains], spread.value, delta, spread.freedom)
            verdict = PARKED if s.verdict == OPEN else s.verdict
            found[unit] = {"gain": s.gain, "low": s.low, "high": s.high, "verdict": verdict}
    return found


def reckoned_both_ways(harms: Sequence[float], taken: Mapping[str, float | None]) -> dict[str, Any]:
    """The effect of a removal per token and per second: helps, hurts or open by its 95 % interval.

    harms: of whole pairs. taken: off each of them.
    """
    found: dict[str, Any] = dict.fromkeys(UNITS)
    for unit, shift in taken.items():
        if shift is not None and len(harms) > 1:
            t = paired_t([h - shift for h in harms])
            low, high = t.interval.low, t.interval.high
            verdict = "helps" if low > 0 else "hurts" if high < 0 else "open"
            found[unit] = {"gain": t.mean, "low": low, "high": high, "verdict": verdict}
    return found
