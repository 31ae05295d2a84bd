"""A part of all combinations, chosen so that main effects stay apart: 1/2, 1/4, 1/8 of a crossed
design whose axes have two values each.

Of k axes, the last p are tied to the others: each changes exactly where an even number of the axes
in its *word* changes along with it. Every product of such words is a defining word; an effect and
its product with a defining word have the same weights, up to their sign, and cannot be told apart.
The words taken are those whose shortest product is longest (resolution), and of these the ones with
the fewest so short (aberration). The arm in which every axis has its first value always belongs.

Source: G. E. P. Box, J. S. Hunter, The 2^(k-p) fractional factorial designs, Technometrics 3
(1961); A. Fries, W. G. Hunter, Minimum aberration 2^(k-p) designs, Technometrics 22 (1980).
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from altgrad.settings import ConfigError, require

Word = frozenset[int]
"""Places of axes."""

MOST_AXES = 8


def halvings(fraction: str) -> int:
    """`1/4` -> 2; empty -> 0. Raises ConfigError for what is no such part."""
    if not fraction:
        return 0
    found = re.fullmatch(r"1/(\d+)", fraction)
    part = int(found[1]) if found else 0
    require(
        part >= 2 and part & (part - 1) == 0,
        f"fraction={fraction} is no part that can be run; write 1/2, 1/4 or 1/8 "
        "(or leave it out: all combinations).",
    )
    return part.bit_length() - 1


def check_fraction(fraction: str, axes: Mapping[str, Sequence[str]]) -> None:
    """Raises ConfigError where there is no such part."""
    p = halvings(fraction)
    if not p:
        return
    more = [axis for axis, values in axes.items() if len(values) != 2]
    require(
        not more,
        f"fraction={fraction} needs two values on every axis; {', '.join(more)} has more. Leave "
        "the fraction out, or give each axis its two most different values.",
    )
    require(
        len(axes) <= MOST_AXES,
        f"fraction={fraction} takes at most {MOST_AXES} axes, not {len(axes)}.",
    )
    generators(len(axes), p)


@lru_cache
def generators(k: int, p: int) -> tuple[Word, ...]:
    """The words that define 1/2^p of the combinations of k axes.

    Raises:
        ConfigError: main effects would not stay apart.
    """
    base = range(k - p)
    subsets = [s for size in range(k - p, 1, -1) for s in itertools.combinations(base, size)]
    tried = (
        tuple(frozenset((*subset, k - p + i)) for i, subset in enumerate(chosen))
        for chosen in itertools.combinations(subsets, p)
    )
    best = min(tried, key=lambda words: _badness(words, k), default=None)
    if best is None:
        raise ConfigError(
            f"fraction=1/{2**p} of {k} axes leaves too few arms to tell their main effects apart; "
            "run a larger part."
        )
    return best


def _badness(words: tuple[Word, ...], k: int) -> tuple[int, ...]:
    """How many defining words have 1, 2, 3, … axes: the smaller tuple is the better design."""
    lengths = [len(word) for word in products(words) if word]
    return tuple(lengths.count(size) for size in range(1, k + 1))


def products(words: Sequence[Word]) -> list[Word]:
    """All products of words, the empty one first: an axis taken twice is gone."""
    made: list[Word] = [frozenset()]
    for word in words:
        made += [word ^ other for other in made]
    return made


def belongs(changed: Word, words: Sequence[Word]) -> bool:
    """Whether the combination in which these axes have their second value is in the part."""
    return all(len(changed & word) % 2 == 0 for word in words)


def aliases(effect: Word, words: Sequence[Word]) -> list[Word]:
    """What has the weights of an effect up to their sign, shortest first; without itself."""
    return sorted((effect ^ word for word in products(words) if word), key=_order)


def _order(effect: Word) -> tuple[int, list[int]]:
    return len(effect), sorted(effect)
