"""The table of runs: found by words, sorted, each held against the one above it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from altgrad.settings import require_choice
from altgrad.studio.card import Card
from altgrad.studio.index import Index
from altgrad.studio.plain import finite

MOST_ROWS = 200
MOST_DIFFERENCES = 6
"""Settings that a row names; the others are counted."""


@dataclass(frozen=True)
class Query:
    """words: each must be in a run (`-word`: must not; `optim.lr=0.1`: a setting). first, count:
    the rows that are wanted."""

    words: str = ""
    sort: str = "newest"
    down: bool = True
    first: int = 0
    count: int = 50


def table(index: Index, query: Query) -> dict[str, Any]:
    """The rows that are wanted, and how many there are.

    Raises:
        ConfigError: a column that is none.
    """
    require_choice(query.sort, COLUMNS, "sort")
    found = [card for card in index.cards() if matches(card, query.words)]
    _sort(found, query)
    first = max(0, min(query.first, len(found)))
    shown = found[first : first + max(0, min(query.count, MOST_ROWS))]
    above = found[first - 1 : first] if first else []
    index.look_at([*above, *shown])
    pairs = zip([above[0] if above else None, *shown], shown, strict=False)
    rows = [row_of(card, before) for before, card in pairs]
    return {**index.counts(), "version": index.version, "found": len(found), "rows": rows}


def matches(card: Card, words: str) -> bool:
    return all(_has(card, word) for word in words.lower().split())


def _has(card: Card, word: str) -> bool:
    if len(word) > 1 and word.startswith("-"):
        return not _has(card, word[1:])
    name, equals, value = word.partition("=")
    if not equals:
        return word in card.words or word == card.status
    return any(
        value == v.lower()
        for n, v in zip(card.names, card.values, strict=True)
        if n == name or n.endswith(f".{name}")
    )


def _sort(cards: list[Card], query: Query) -> None:
    """What has no value stands last, whichever way; equal ones newest first."""
    key = COLUMNS[query.sort]
    cards.sort(key=lambda c: c.began, reverse=True)
    having = [c for c in cards if not _is_none(key(c))]
    lacking = [c for c in cards if _is_none(key(c))]
    having.sort(key=key, reverse=query.down)
    cards[:] = having + lacking


def _is_none(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _last(name: str) -> Callable[[Card], float | None]:
    return lambda card: card.progress.last.get(name)


def left_s(card: Card) -> float:
    return card.progress.left_s(card.max_steps) if card.status == "running" else math.nan


COLUMNS: dict[str, Callable[[Card], Any]] = {
    "newest": lambda card: card.began,
    "name": lambda card: card.name,
    "status": lambda card: card.status or None,
    "step": _last("step"),
    "loss": _last("loss"),
    "val_loss": lambda card: card.progress.best_val_loss,
    "speed": _last("tokens_per_s"),
    "left": left_s,
}
"""What a table can be sorted by."""


def row_of(card: Card, above: Card | None) -> dict[str, Any]:
    """One line; what is not finite is null."""
    progress = card.progress
    last = progress.last
    differs = differences([above, card]) if above and above.names and card.names else []
    return {
        "name": card.name,
        "status": card.status,
        "trouble": card.trouble,
        "began": card.began,
        "step": last.get("step", 0),
        "max_steps": card.max_steps,
        "loss": finite(last.get("loss")),
        "val_loss": finite(progress.val_loss),
        "best_val_loss": finite(progress.best_val_loss),
        "tokens_per_s": finite(last.get("tokens_per_s")),
        "left_s": finite(left_s(card)),
        "spark": progress.spark,
        "alerts": card.alerts,
        "differs": [[name, mine] for name, (_, mine) in differs[:MOST_DIFFERENCES]],
        "more": max(0, len(differs) - MOST_DIFFERENCES),
    }


def differences(cards: Sequence[Card]) -> list[tuple[str, list[str | None]]]:
    """Settings in which runs differ -> the value in each; None where a run has no such setting."""
    names = dict.fromkeys(name for card in cards for name in card.names)
    if len({card.names for card in cards}) == 1:  # the usual case: one version of altgrad
        columns = zip(*(card.values for card in cards), strict=True)
    else:
        known = [card.settings() for card in cards]
        columns = ((each.get(name) for each in known) for name in names)  # type: ignore[assignment]
    rows = ((name, list(values)) for name, values in zip(names, columns, strict=True))
    return [(name, values) for name, values in rows if len(set(values)) > 1]
