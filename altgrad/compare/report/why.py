"""The section `Why, as far as the counts say`: what else differed, and moved with the outcome."""

import math

from altgrad.compare.conclusion import Conclusion
from altgrad.compare.report.tables import Table
from altgrad.compare.why import Association, Difference

WHY = "Why, as far as the counts say"
WHY_REMARK = (
    "Association, not cause: an arm changes many numbers at once, and some of them follow from the "
    "outcome. The strongest association comes first. Rank correlation: Spearman's, of the metric's "
    "mean over the run with the outcome, over the runs that were not lost; it has no p, since the "
    "runs of one arm are alike. Difference: arm - control, paired by seed, for the arm in which it "
    "is clearest, with its 95 % interval, which is not corrected for the number of metrics looked "
    "at. Most in: the layer where the difference is largest. From step: where it begins to stand "
    "out of the seeds and stays so."
)


def why_table(conclusion: Conclusion) -> Table:
    """One row a group of metrics, the strongest association first."""
    tried, several = conclusion.why.tried, len(conclusion.arms) > 2
    return [
        _row(a, f"{place} of {tried}", several) for place, a in enumerate(conclusion.why.rows, 1)
    ]


def _row(found: Association, place: str, several: bool) -> dict[str, str]:
    """several: whether it has to be said which arm a difference is of."""
    d = found.clearest
    return {
        "": place,
        "metric": f"{found.metric}/{found.item}" if found.item not in ("", "all") else found.metric,
        "rank correlation": f"{found.correlation:+.2f} over {found.runs} runs, {found.arms} arms",
        "arm": d.arm if several else "",
        "difference": f"{_amount(d.mean)} [{_amount(d.low)}, {_amount(d.high)}]",
        "most in": _layer(d),
        "from step": "" if d.from_step is None else str(d.from_step),
    }


def _layer(d: Difference) -> str:
    return f"{d.layer} ({_amount(d.layer_mean)})" if d.layer_mean is not None else ""


def _amount(value: float) -> str:
    """Three digits and a sign; metrics are shares as well as norms in the thousands."""
    return f"{value:+.3g}" if math.isfinite(value) else str(value)
