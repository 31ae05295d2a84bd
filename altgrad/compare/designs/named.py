"""Contrasts that the question itself names: weights for arms, chosen before any run."""

from collections.abc import Mapping

from altgrad.compare.designs.design import label
from altgrad.compare.designs.planned import Asked, Planned
from altgrad.settings import ConfigError, require, require_choice

Cells = Mapping[str, Mapping[str, str]]
"""Of a crossed design: arm -> axis -> value."""


def named_contrasts(asked: Asked, cells: Cells | None = None) -> list[Planned]:
    """`contrasts: {rounding at 4 bits: {arm: 1, other: -1}}`.

    With `cells` a side may be a value, or several with ` + ` between: it stands for the mean of all
    arms that have them (`{e5m2: 1, e4m3: -1}`, `{muon + e5m2: 1, muon + bf16: -1}`).

    Raises:
        ConfigError: an arm that is not there, or weights that do not add up to 0.
    """
    return [_planned(name, weights, asked, cells) for name, weights in asked.contrasts.items()]


def _planned(name: str, weights: Mapping[str, float], asked: Asked, cells: Cells | None) -> Planned:
    total = sum(weights.values())
    require(
        len(weights) > 1 and any(weights.values()) and abs(total) < 1e-9,
        f"contrasts.{name}: the weights add up to {total:g}; a contrast's add up to 0, "
        "such as {muon: 1, adamw: -1}.",
    )
    higher = _side({arm: w for arm, w in weights.items() if w > 0})
    lower = _side({arm: -w for arm, w in weights.items() if w < 0})
    return Planned(
        kind="named",
        name=name,
        weights=_shared_out(name, weights, asked, cells),
        good=f"{name}: {higher} is better than {lower}",
        bad=f"{name}: {higher} is worse than {lower}",
        same=f"{name}: {higher} does as well as {lower}",
        unknown=f"{name}: inconclusive whether {higher} differs from {lower}",
    )


def _shared_out(
    name: str, weights: Mapping[str, float], asked: Asked, cells: Cells | None
) -> dict[str, float]:
    """Arm -> weight; a group's weight is shared equally among its arms.

    Raises:
        ConfigError: no such arm or group, or sides that are the same arms.
    """
    made: dict[str, float] = {}
    for side, weight in weights.items():
        arms = [side] if side in asked.arms else _group(side, cells or {})
        if not arms:
            _refuse(name, side, asked, cells)
        for arm in arms:
            made[arm] = made.get(arm, 0.0) + weight / len(arms)
    kept = {arm: weight for arm, weight in made.items() if abs(weight) > 1e-12}
    require(bool(kept), f"contrasts.{name}: both sides are the same arms.")
    return kept


def _group(side: str, cells: Cells) -> list[str]:
    """The arms that have all values of `muon + e5m2`."""
    wanted = {part.strip() for part in side.split(" + ")}
    return [arm for arm, own in cells.items() if wanted <= {label(a, v) for a, v in own.items()}]


def _refuse(name: str, side: str, asked: Asked, cells: Cells | None) -> None:
    if not cells:
        require_choice(side, asked.arms, f"contrasts.{name}")
    values = dict.fromkeys(label(a, v) for own in (cells or {}).values() for a, v in own.items())
    raise ConfigError(
        f"contrasts.{name}: {side!r} is no arm, and no value (or values, with ' + ' between) that "
        f"an arm has; the values are {', '.join(values)}."
    )


def _side(weights: Mapping[str, float]) -> str:
    return " + ".join(arm if w == 1 else f"{w:g} ({arm})" for arm, w in weights.items())
