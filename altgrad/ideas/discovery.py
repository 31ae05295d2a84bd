"""Which of many questions, asked batch after batch, have an answer: false discoveries kept rare.

A reckoning tests all provisional changes of a champion at once: a batch of p-values. There are
several reckonings in a ledger, and how many nobody knows beforehand.

`fdr`   Batch-BH: Benjamini and Hochberg's procedure on each batch, at a level that pays for the
        batches before and for how much their rejections lean on each other. The expected share of
        false ones among all discoveries of the ledger stays below alpha.
        Source: T. Zrnic, D. Jiang, A. Ramdas, M. Jordan, "The power of batching in multiple
        hypothesis testing", arXiv 1910.04968, algorithm 1.
`fwer`  Holm's procedure on each batch, at alpha · gamma_t: the chance of *any* false discovery in
        the whole ledger stays below alpha.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

GUARANTEES = ("fdr", "fwer")


def gamma(t: int) -> float:
    """Share of alpha that batch t = 1, 2, … may spend: 6 / (pi t)², which adds up to 1."""
    return 6 / (math.pi * t) ** 2


def bh_rejections(p: Sequence[float], alpha: float) -> int:
    """How many of the p-values Benjamini and Hochberg's procedure rejects: the smallest ones."""
    below = [k for k, x in enumerate(sorted(p), 1) if x <= alpha * k / len(p)]
    return max(below, default=0)


def holm_rejections(p: Sequence[float], alpha: float) -> int:
    """How many of the p-values Holm's procedure rejects: the smallest ones."""
    for k, x in enumerate(sorted(p)):
        if x > alpha / (len(p) - k):
            return k
    return len(p)


@dataclass
class Discoveries:
    """Batches of p-values, one after the other; `test` decides a batch and remembers it.

    alpha: bound on the false discovery rate (`fdr`) or on the chance of any (`fwer`).
    """

    alpha: float = 0.1
    guarantee: str = "fdr"
    _levels: list[float] = field(default_factory=list)
    _found: list[int] = field(default_factory=list)
    _most: list[int] = field(default_factory=list)

    def test(self, p: Sequence[float]) -> list[bool]:
        """Which hypotheses of the next batch are rejected, in the order of `p`.

        p: one-sided p-values in [0, 1]; an empty batch spends nothing.
        """
        if not p:
            return []
        level, rejections = self.level(len(p)), self._rejections
        count = rejections(p, level)
        found = self.would_find(p)
        self._levels.append(level)
        self._found.append(count)
        # R⁺: rejections there would have been, had the most helpful p-value been 0.
        others = [[0.0 if i == k else x for i, x in enumerate(p)] for k in range(len(p))]
        self._most.append(max(rejections(each, level) for each in others))
        return found

    def would_find(self, p: Sequence[float]) -> list[bool]:
        """What `test` would say now; nothing is remembered."""
        count = self._rejections(p, self.level(len(p))) if p else 0
        smallest = set(sorted(range(len(p)), key=lambda i: p[i])[:count])
        return [i in smallest for i in range(len(p))]

    @property
    def _rejections(self) -> Callable[[Sequence[float], float], int]:
        return bh_rejections if self.guarantee == "fdr" else holm_rejections

    def level(self, size: int) -> float:
        """The level at which a batch of `size` p-values would be tested now."""
        t = len(self._levels) + 1
        if self.guarantee == "fwer":
            return self.alpha * gamma(t)
        total = sum(self._found)
        spent = sum(
            level * most / (most + total - found)
            for level, most, found in zip(self._levels, self._most, self._found, strict=True)
        )
        earned = self.alpha * sum(gamma(s) for s in range(1, t + 1))
        return max(0.0, (earned - spent) * (size + total) / size)
