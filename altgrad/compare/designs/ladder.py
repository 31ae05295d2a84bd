"""Settings of `design=scaling`: a ladder of sizes, and what every rung of it may spend.

A rung is a size (`4x128`: depth x width) or a list of words of one's own; each gets a budget by one
of three rules. Typed beside the other words of a question (`sizes=2x64,3x96
tokens_per_parameter=20`), in an experiment file below `ladder`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from altgrad.settings import ConfigError, require, require_choice

AXES = ("parameters", "flops")
FEWEST_RUNGS = 2
FEWEST_FOR_A_FORECAST = 4
SIZE = re.compile(r"(\d+)x(\d+)(?:x(\d+))?")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SIZE_SETTINGS = ("model.n_layer", "model.n_embd", "model.n_head")
"""What a size sets: these words belong to the rungs, not to the base or an arm."""


@dataclass
class Ladder:
    """A comparison over sizes; empty for every other design."""

    sizes: list[str] = field(default_factory=list)
    """Rungs, smallest first: depth x width (`4x128`), or with a number of heads (`4x128x8`)."""
    rungs: dict[str, list[str]] = field(default_factory=dict)
    """Rungs of your own instead of `sizes`: name -> the settings of its size."""
    head_width: int = 32
    """Width of a head, the same on every rung, where a size does not say its heads."""
    tokens_per_parameter: float | None = None
    """Budget of a rung: so many tokens for each parameter of its control."""
    flops_per_run: float | None = None
    """Budget of a rung instead: so many FLOPs, the same for all rungs."""
    max_epochs: float = 4.0
    """How often a rung may read the training text (beyond four, repeated text teaches less and
    less: Muennighoff et al., arXiv 2305.16264)."""
    fit_over: str = "parameters"
    """What the curves are fitted over: parameters, or flops (of the control's run)."""
    forecast_to: str = ""
    """Larger size the difference is forecast for; empty = ten times the largest rung's
    parameters."""

    def asked(self) -> bool:
        """Whether anything was said about a ladder."""
        return self != Ladder()

    def names(self) -> list[str]:
        """Of the rungs, smallest first."""
        return list(self.rungs or self.sizes)

    def words_of_rungs(self) -> dict[str, list[str]]:
        """Name of a rung -> the words that make it.

        Raises:
            ConfigError: a size that is none.
        """
        return dict(self.rungs) or {size: self.words_of(size) for size in self.sizes}

    def words_of(self, size: str) -> list[str]:
        """`4x128` -> its settings. Raises ConfigError for what is no size."""
        found = SIZE.fullmatch(size)
        if found is None or not all(int(n) for n in found.groups() if n is not None):
            raise ConfigError(
                f"{size!r} is no size; write depth x width (4x128), or depth x width x heads "
                "(4x128x8)."
            )
        depth, width, heads = (int(n) if n else 0 for n in found.groups())
        heads = heads or self._heads(size, width)
        require(
            width % heads == 0,
            f"size {size}: a width of {width} does not divide into {heads} heads.",
        )
        values = dict(zip(SIZE_SETTINGS, (depth, width, heads), strict=True))
        return [f"{name}={value}" for name, value in values.items()]

    def check(self, base: Sequence[str], arms: Mapping[str, Sequence[str]]) -> None:
        """Refuse a ladder that cannot be climbed, before anything is composed. Raises
        ConfigError."""
        require(
            not (self.sizes and self.rungs), "sizes and ladder.rungs both name rungs; give one."
        )
        named = self.names()
        require(
            len(named) >= FEWEST_RUNGS,
            f"design=scaling needs at least {FEWEST_RUNGS} rungs, this has {len(named)}; write "
            f"sizes=2x64,3x96,4x128,5x192 ({FEWEST_FOR_A_FORECAST} or more for a forecast).",
        )
        require(len(set(named)) == len(named), f"sizes={','.join(named)} names a rung twice.")
        for name in self.rungs:
            require(bool(PLAIN_NAME.fullmatch(name)), f"ladder.rungs: {name!r} is no plain name.")
        require_choice(self.fit_over, AXES, "fit_over")
        require(self.head_width >= 1, f"head_width={self.head_width} must be at least 1.")
        require(self.max_epochs > 0, f"max_epochs={self.max_epochs} must be above 0.")
        words = self.words_of_rungs()
        if self.forecast_to:
            self.words_of(self.forecast_to)
        self._check_budget([*base, *(w for own in arms.values() for w in own)])
        _refuse_words_of_rungs(_keys(w for own in words.values() for w in own), base, arms)

    def _heads(self, size: str, width: int) -> int:
        require(
            width % self.head_width == 0,
            f"size {size}: heads of {self.head_width} do not divide a width of {width}; write a "
            f"multiple of {self.head_width}, the number of heads ({size}x1), or head_width=…",
        )
        return width // self.head_width

    def _check_budget(self, words: Iterable[str]) -> None:
        given = {
            "tokens_per_parameter": self.tokens_per_parameter,
            "flops_per_run": self.flops_per_run,
        }
        for name, value in given.items():
            require(
                value is None or 0 < value < math.inf, f"{name}={value} must be a number above 0."
            )
        rules = [name for name, value in given.items() if value is not None]
        rules += ["max_steps"] * ("max_steps" in _keys(words))
        require(
            len(rules) == 1,
            f"design=scaling needs one budget for a rung, it has {' and '.join(rules) or 'none'}; "
            "give tokens_per_parameter=20, or flops_per_run=1e13, or max_steps=… (equal steps).",
        )


def _keys(words: Iterable[str]) -> set[str]:
    return {word.partition("=")[0] for word in words}


def _refuse_words_of_rungs(
    taken: set[str], base: Sequence[str], arms: Mapping[str, Sequence[str]]
) -> None:
    for place, words in {"the question": base, **arms}.items():
        both = sorted(taken & _keys(words))
        require(
            not both,
            f"{', '.join(both)} is set by the rungs and by {place}; leave it to the rungs.",
        )
