"""An arm's metric against the control's: how much, in which layer, and from which step on."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from altgrad.compare.outcomes import Outcome
from altgrad.compare.statistics import paired
from altgrad.compare.why.measured import SPANS
from altgrad.compare.why.names import natural
from altgrad.compare.why.spans import Array


@dataclass(frozen=True)
class Difference:
    """An arm's metric against the control's, in the metric's units. layer: where it differs most;
    from_step: from where on it differs; empty and None where nothing stands out of the noise."""

    arm: str
    pairs: int
    mean: float
    low: float
    high: float
    layer: str = ""
    layer_mean: float | None = None
    from_step: int | None = None

    @property
    def clearness(self) -> float:
        """The mean in units of half its interval: above 1 it leaves out 0."""
        half = (self.high - self.low) / 2
        return abs(self.mean) / half if half else math.inf if self.mean else 0.0


def pairs_of(kept: Sequence[Outcome], control: str) -> dict[str, list[tuple[int, int]]]:
    """Arm -> (row of its run, row of the control's), for each seed that both have."""
    base = {o.seed: i for i, o in enumerate(kept) if o.arm == control}
    pairs: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, o in enumerate(kept):
        if o.arm != control and o.seed in base:
            pairs[o.arm].append((i, base[o.seed]))
    return dict(pairs)


def difference(
    arm: str,
    pairs: list[tuple[int, int]],
    whole: Array,
    values: Array,
    by_layer: Mapping[str, Array],
    steps: Sequence[int],
) -> Difference | None:
    """values: `whole`'s means over its spans, which are of all runs and so taken once for all
    arms: for each arm they would cost the square of the arms."""
    t = _paired(values, pairs)
    if t is None:
        return None
    layer, layer_mean = _where(by_layer, pairs)
    return Difference(
        arm=arm,
        pairs=t.n,
        mean=t.mean,
        low=t.interval.low,
        high=t.interval.high,
        layer=layer,
        layer_mean=layer_mean,
        from_step=_since(whole, pairs, steps, t),
    )


def _paired(values: Array, pairs: list[tuple[int, int]]) -> paired.PairedT | None:
    """Of `(runs,)`; None for fewer than two pairs."""
    d = np.array([values[a] - values[c] for a, c in pairs])
    d = d[np.isfinite(d)]
    return paired.paired_t(d) if len(d) >= 2 else None


def _leaves_out_0(t: paired.PairedT | None) -> bool:
    return t is not None and not t.interval.low <= 0 <= t.interval.high


def _where(by_layer: Mapping[str, Array], pairs: list[tuple[int, int]]) -> tuple[str, float | None]:
    found = {layer: t for layer, v in by_layer.items() if (t := _paired(v, pairs))}
    clear = [layer for layer in sorted(found, key=natural) if _leaves_out_0(found[layer])]
    if not clear:
        return "", None
    most = max(clear, key=lambda layer: abs(found[layer].mean))
    return most, found[most].mean


def _since(
    whole: Array, pairs: list[tuple[int, int]], steps: Sequence[int], t: paired.PairedT
) -> int | None:
    """The first step that stands out, of those after which the sign stays; None where the run as a
    whole does not stand out."""
    if not _leaves_out_0(t):
        return None
    spans = {s: at for s in range(SPANS) if (at := _paired(whole[:, s], pairs))}
    since = None
    for span in sorted(spans, reverse=True):
        if spans[span].mean * t.mean <= 0:
            break
        since = span if _leaves_out_0(spans[span]) else since
    return None if since is None else steps[since]
