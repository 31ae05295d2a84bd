"""Contrasts that the question itself names: weights for arms, chosen before any run."""

from altgrad.compare.designs.planned import Asked, Planned
from altgrad.settings import require, require_choice


def named_contrasts(asked: Asked) -> list[Planned]:
    """`contrasts: {rounding at 4 bits: {arm: 1, other: -1}}`.

    Raises:
        ConfigError: an arm that is not there, or weights that do not add up to 0.
    """
    return [_planned(name, weights, asked) for name, weights in asked.contrasts.items()]


def _planned(name: str, weights: dict[str, float], asked: Asked) -> Planned:
    for arm in weights:
        require_choice(arm, asked.arms, f"contrasts.{name}")
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
        weights=weights,
        good=f"{name}: {higher} is better than {lower}",
        bad=f"{name}: {higher} is worse than {lower}",
        same=f"{name}: {higher} does as well as {lower}",
        unknown=f"{name}: not shown whether {higher} differs from {lower}",
    )


def _side(weights: dict[str, float]) -> str:
    return " + ".join(arm if w == 1 else f"{w:g} ({arm})" for arm, w in weights.items())
