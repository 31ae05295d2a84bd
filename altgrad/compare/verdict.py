"""What may be concluded about one arm against the control, in words.

The rules, fixed before any run:

worse        lost runs (failed, diverged) in seeds where the control finished, beyond chance
             (exact McNemar test); or the mean difference is on the bad side and its p is below
             alpha. All p-values are corrected for the number of arms
equivalent   the difference is shown to be smaller than delta (TOST); wins over
             better and worse, since such a difference was declared not to matter
better       the same p, on the good side, and the arm lost no run that the control finished
inconclusive everything else, with the number of further seeds that would probably decide

With `anytime` the p-values and the interval are those of `anytime.py`, valid at every look.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from altgrad.compare.statistics import anytime, paired, seeds_needed
from altgrad.compare.statistics.anytime import UNKNOWN, Spread

BETTER, WORSE, EQUIVALENT, INCONCLUSIVE = "better", "worse", "equivalent", "inconclusive"


@dataclass(frozen=True)
class Rules:
    """How the evidence is judged; from the question, before the runs.

    delta: smallest difference that matters, in units of the outcome. alpha: chance of a false
    "better" or "worse" over all arms together. correction: `holm` or `none`. higher_is_better: of
    the primary outcome. anytime: judged after every seed. spread: of a paired difference, from
    earlier pairs; read with `anytime` alone.
    """

    delta: float = 0.01
    alpha: float = 0.05
    correction: str = "holm"
    higher_is_better: bool = False
    anytime: bool = False
    spread: Spread = UNKNOWN


@dataclass(frozen=True)
class Evidence:
    """Everything known about one arm against the control. Differences are arm - control.

    low, high: interval of the mean difference with chance 1 - alpha, not corrected for the number
    of arms; bca: the bootstrap's. p: of "no difference"; p_equivalent: of "differs by delta or
    more"; both before correction, with `p_corrected`, `p_equivalent_corrected` after it. lost: runs
    that failed or diverged, of `runs`. `seeds_more`: further seeds that would probably decide.
    """

    arm: str
    control: str
    runs: int
    pairs: int
    mean: float
    sd: float
    low: float
    high: float
    bca_low: float
    bca_high: float
    p: float
    p_corrected: float
    p_sign_flip: float
    p_equivalent: float
    p_equivalent_corrected: float
    effect_in_noise: float
    lost: int
    lost_control: int
    p_less_stable: float
    p_less_stable_corrected: float
    verdict: str
    seeds_more: int | None
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; what is not finite becomes null."""
        content = asdict(self)
        infinite = {k for k, v in content.items() if isinstance(v, float) and not math.isfinite(v)}
        return {k: None if k in infinite else v for k, v in content.items()}


@dataclass(frozen=True)
class _Tests:
    """The numbers that the rules look at, of one arm."""

    d: np.ndarray
    interval: paired.Interval
    p: float
    p_equivalent: float
    p_less_stable: float
    lost_more: bool
    arms: int


def judge(
    control: ArrayLike,
    arms: Mapping[str, ArrayLike],
    rules: Rules,
    *,
    control_name: str = "control",
    resamples: int = 9999,
    beside: Sequence[tuple[float, float]] = (),
) -> list[Evidence]:
    """Evidence for every arm. Outcomes are `(seeds,)`, paired by position; nan is a lost run.

    An arm may have fewer seeds than the control, or more: the first ones are those they share.

    resamples: of the bootstrap; 0 leaves out whatever does not decide: bootstrap, sign flips and
    the advice on seeds. beside: (p, p of "delta or more") of further questions that share alpha.
    """
    base = np.asarray(control, dtype=np.float64)
    outcomes = {name: np.asarray(values, dtype=np.float64) for name, values in arms.items()}
    several = len(arms) + len(beside)
    tests = [_test(base, values, rules, several) for values in outcomes.values()]
    corrected = correct([t.p for t in tests] + [p for p, _ in beside], rules)
    equivalent = correct([t.p_equivalent for t in tests] + [p for _, p in beside], rules)
    less_stable = correct([t.p_less_stable for t in tests], rules)
    # What stands beside the arms is corrected with them and concluded elsewhere.
    own = zip(corrected[: len(tests)], equivalent[: len(tests)], less_stable, strict=True)
    return [
        _conclude(name, control_name, base, outcomes[name], t, three, rules, resamples)
        for name, t, three in zip(outcomes, tests, own, strict=True)
    ]


def _test(control: np.ndarray, arm: np.ndarray, rules: Rules, arms: int) -> _Tests:
    control, arm = _shared(control, arm)
    lost_arm, lost_control = ~np.isfinite(arm), ~np.isfinite(control)
    d = (arm - control)[~lost_arm & ~lost_control]
    alone = paired.lost_alone(lost_arm, lost_control)
    p_less_stable = (
        anytime.anytime_less_stable_p(*alone)
        if rules.anytime
        else paired.less_stable_p(lost_arm, lost_control)
    )
    return _Tests(d, *weigh(d, rules, arms), p_less_stable, lost_more=alone[0] > 0, arms=arms)


def _shared(control: np.ndarray, arm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    seeds = min(len(control), len(arm))
    return control[:seeds], arm[:seeds]


def weigh(
    d: np.ndarray, rules: Rules, several: int, scale: float = 1.0
) -> tuple[paired.Interval, float, float]:
    """Interval of the mean of d, p of "it is 0", p of "it is delta or more": by the t test, or
    with `rules.anytime` by the sequence.

    several: how many such questions are asked at once; the p-values are not corrected for it yet.
    scale: standard deviation of d in those of a difference of two arms.
    """
    if len(d) == 0:
        return paired.Interval(-math.inf, math.inf), 1.0, 1.0
    if rules.anytime:
        return _anytime(d, rules, several, rules.spread.times(scale))
    t = paired.paired_t(d, 1 - rules.alpha)
    return t.interval, t.p, paired.tost_p(d, rules.delta)


def _anytime(
    d: np.ndarray, rules: Rules, arms: int, known: Spread
) -> tuple[paired.Interval, float, float]:
    """The interval at 1 - alpha/arms decides; its p-values are 1/B of the nearest mean in question.

    Bonferroni, since Holm's order may change from look to look.
    """
    share = share_of_alpha(rules, arms)
    p = anytime.anytime_p(d, known=known)
    inside = abs(float(d.mean())) < rules.delta
    p_equivalent = max(anytime.anytime_p(d + s * rules.delta, known=known) for s in (-1, 1))
    return anytime.anytime_interval(d, share, known=known), p, p_equivalent if inside else 1.0


def share_of_alpha(rules: Rules, several: int) -> float:
    """What one of several questions gets where the correction is Bonferroni's."""
    return rules.alpha / several if rules.correction == "holm" else rules.alpha


def correct(p: Sequence[float], rules: Rules) -> list[float]:
    """p-values of several questions, so that the chance that any of them errs stays below alpha."""
    if rules.correction == "none":
        return list(p)
    return [min(1.0, len(p) * x) for x in p] if rules.anytime else paired.holm(p)


def _conclude(
    name: str,
    control_name: str,
    control: np.ndarray,
    arm: np.ndarray,
    tests: _Tests,
    corrected: Sequence[float],
    rules: Rules,
    resamples: int,
) -> Evidence:
    d = tests.d
    control, arm = _shared(control, arm)
    mean = float(d.mean()) if len(d) else math.nan
    sd = paired.standard_deviation(d) if len(d) > 1 else math.nan
    verdict = _verdict(mean, tests, corrected, rules)
    both = np.isfinite(arm) & np.isfinite(control)
    bca = (
        paired.bca_interval(d, 1 - rules.alpha, resamples=resamples)
        if resamples and len(d)
        else None
    )
    advise = resamples > 0 and verdict == INCONCLUSIVE
    more = _seeds_more(len(arm), mean, sd, rules, tests.arms) if advise else None
    lost, lost_control = int((~np.isfinite(arm)).sum()), int((~np.isfinite(control)).sum())
    return Evidence(
        arm=name,
        control=control_name,
        runs=len(arm),
        pairs=len(d),
        mean=mean,
        sd=sd,
        low=tests.interval.low,
        high=tests.interval.high,
        bca_low=bca.low if bca else math.nan,
        bca_high=bca.high if bca else math.nan,
        p=tests.p,
        p_corrected=corrected[0],
        p_sign_flip=paired.sign_flip_p(d) if resamples and len(d) else math.nan,
        p_equivalent=tests.p_equivalent,
        p_equivalent_corrected=corrected[1],
        effect_in_noise=paired.effect_in_noise(control[both], arm[both]),
        lost=lost,
        lost_control=lost_control,
        p_less_stable=tests.p_less_stable,
        p_less_stable_corrected=corrected[2],
        verdict=verdict,
        seeds_more=more,
        words=_words(verdict, mean, tests, corrected, rules, more, (lost, lost_control, len(arm))),
    )


def _verdict(mean: float, tests: _Tests, corrected: Sequence[float], rules: Rules) -> str:
    p, p_equivalent, p_less_stable = corrected
    if tests.lost_more and p_less_stable < rules.alpha:
        return WORSE
    if p_equivalent < rules.alpha and not tests.lost_more:
        return EQUIVALENT
    if p < rules.alpha:
        good = (mean > 0) == rules.higher_is_better
        if not good:
            return WORSE
        if not tests.lost_more:
            return BETTER
    return INCONCLUSIVE


def _seeds_more(n: int, mean: float, sd: float, rules: Rules, arms: int) -> int | None:
    """With the strictest share of alpha that the correction may ask of one of several arms."""
    alpha = rules.alpha if rules.correction == "none" else rules.alpha / arms
    needed = seeds_needed(mean, sd, rules.delta, alpha=alpha)
    return None if needed is None else max(1, needed - n)


def _words(
    verdict: str,
    mean: float,
    tests: _Tests,
    corrected: Sequence[float],
    rules: Rules,
    more: int | None,
    counts: tuple[int, int, int],
) -> str:
    lost, lost_control, runs = counts
    stability = f"{lost} of {runs} runs lost, control {lost_control} of {runs}"
    if verdict == WORSE and tests.lost_more and corrected[2] < rules.alpha:
        return f"worse: {stability} (p = {corrected[2]:.3g})"
    if verdict == EQUIVALENT:
        shown = corrected[0] < rules.alpha
        small = f"; a difference of {mean:+.4f} is shown, too small to matter" if shown else ""
        return f"equivalent within {rules.delta:g}{small}"
    if verdict == INCONCLUSIVE:
        blocked = f"; {stability}" if tests.lost_more else ""
        return f"inconclusive ({_advice(more, len(tests.d))}){blocked}"
    return f"{verdict} by {abs(mean):.4f}"


def _advice(more: int | None, pairs: int) -> str:
    if pairs < 2:
        return "at least two pairs of runs are needed"
    if more is None:
        return "more than 1000 seeds would be needed"
    return f"{more} more seed{'s' if more > 1 else ''} would probably decide"
