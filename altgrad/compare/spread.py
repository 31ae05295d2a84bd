"""How noisy a difference is, from pairs that were made before: a comparison's, or a ledger's."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from altgrad.compare.question import KnownSpread
from altgrad.runs import RunFolder, read_settings
from altgrad.settings import ConfigError, get_setting

if TYPE_CHECKING:
    from altgrad.compare.arm import Arm

SIZE = (
    *("model.n_layer", "model.n_embd", "model.block_size", "data.batch_size", "accumulation"),
    *("max_steps", "data.name"),
)
"""Settings that say how large a run is: the spread is another one where they differ."""

SHARED = 0.25
"""Squared correlation of two differences from one control, where all arms are equally noisy."""

Rows = Sequence[Sequence[float]]
"""Differences from one control: a row an arm, one number a seed, from the first seed on."""


def pool(blocks: Iterable[Rows]) -> tuple[float, float]:
    """Standard deviation of a difference, and its degrees of freedom.

    Rows of a block share the control's runs, so their squares rise and fall together and tell less
    than their number says. Source: F. E. Satterthwaite, Biometrics Bulletin 2 (1946): 2 E² / Var,
    here of correlated mean squares.
    """
    squares = total = freedom = 0.0
    for rows in blocks:
        kept = [np.asarray([x for x in row if math.isfinite(x)]) for row in rows]
        kept = [row for row in kept if len(row) > 1]
        squares += sum(float(((row - row.mean()) ** 2).sum()) for row in kept)
        each = [len(row) - 1 for row in kept]
        total += sum(each)
        freedom += freedom_of(each)
    return (math.sqrt(squares / total), freedom) if total else (0.0, 0.0)


def freedom_of(each: Sequence[int]) -> float:
    """Degrees of freedom of the pooled spread of arms that share a control, each with its own."""
    if not each:
        return 0.0
    pairs = sum(min(a, b) for i, a in enumerate(each) for j, b in enumerate(each) if i != j)
    return sum(each) ** 2 / (sum(each) + SHARED * pairs)


def spread_of_comparison(folder: Path) -> KnownSpread:
    """Of all paired differences of a comparison that has ended.

    Raises:
        ConfigError: no comparison, or one whose runs have not ended.
    """
    from altgrad.compare.conclusion import conclude

    conclusion = conclude(folder)
    control = [o.outcome for o in conclusion.outcomes[conclusion.control]]
    others = [row for arm, row in conclusion.outcomes.items() if arm != conclusion.control]
    rows = [[o.outcome - c for o, c in zip(row, control, strict=False)] for row in others]
    value, freedom = pool([rows])
    run = next(iter(conclusion.runs[conclusion.control].values()))
    size = size_of(read_settings(RunFolder(run).config))
    size |= {"primary": conclusion.question.primary, "last": conclusion.question.last}
    return KnownSpread(str(folder), value, freedom, size)


def size_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Of a run's nested settings those that say how large it is."""
    found = {}
    for name in SIZE:
        value: Any = settings
        for part in name.split("."):
            value = value[part]
        found[name] = value
    return found


def refuse_other_size(known: KnownSpread, control: "Arm", outcome: dict[str, Any]) -> None:
    """Raises ConfigError where the runs of the spread were of another size or outcome.

    outcome: `primary` and `last` of the question.
    """
    if not known.source:
        return
    now = {name: get_setting(control.config, name) for name in SIZE} | outcome
    other = {n: v for n, v in known.size.items() if now.get(n) != v}
    if other:
        listed = ", ".join(f"{n} is {v!r} there and {now.get(n)!r} here" for n, v in other.items())
        raise ConfigError(
            f"spread={known.source} is of other runs: {listed}. Differences of such runs are noisy "
            "in another way; leave spread out."
        )
