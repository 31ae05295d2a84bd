"""What a ledger says now, recomputed from its entries: champion, noise, findings, seeds, cost."""

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from altgrad.compare.arm import last_words
from altgrad.ideas.discovery import Discoveries
from altgrad.ideas.ledger import Entry
from altgrad.ideas.noise import Noise, pool
from altgrad.ideas.screening import NOMINATED
from altgrad.ideas.terms import ALPHA, Terms
from altgrad.settings import ConfigError, from_dict

FIRST_SEEDS = (1, 2, 3, 4)
"""Of the baseline, and of the first champion, which is the baseline: nobody chose it."""


@dataclass(frozen=True)
class Change:
    """A change that is part of the champion: the entry that nominated it, and what it was.

    instead: words that stand in its place once it is taken out, so that the rest is tuned as it is.
    """

    id: str
    words: tuple[str, ...]
    why: str
    proven: bool = False
    instead: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join(self.words)


@dataclass
class State:
    """tried: under this champion, idea's key -> entry's number. seeds: of this reign. steps: of the
    champion's runs, where the time budget changed them. plan: of a reckoning that has begun. slope:
    loss per e-fold of steps; None = not known."""

    terms: Terms
    entries: list[Entry]
    champion: list[Change] = field(default_factory=list)
    reign: int = 0
    seeds: tuple[int, ...] = FIRST_SEEDS
    steps: int | None = None
    tried: dict[str, int] = field(default_factory=dict)
    noise: Noise | None = None
    delta: float = math.nan
    slope: float | None = None
    discoveries: Discoveries = field(default_factory=Discoveries)
    plan: Entry | None = None
    gains: list[list[float]] = field(default_factory=list)

    @property
    def provisional(self) -> list[Change]:
        return [c for c in self.champion if not c.proven]

    @property
    def words(self) -> list[str]:
        """Of the champion, without the base."""
        return words_of(self.champion)

    def known_noise(self) -> Noise:
        """Raises ConfigError where the baseline has not been measured yet."""
        if self.noise is None:
            raise ConfigError(
                "the baseline's runs are not all there; type the `altgrad ideas new` again"
            )
        return self.noise

    def fresh_seeds(self, count: int) -> list[int]:
        """The next seeds that no run of this ledger has used."""
        first = max(self.used_seeds(), default=0) + 1
        return list(range(first, first + count))

    def used_seeds(self) -> set[int]:
        found = {*FIRST_SEEDS, *self.seeds}
        for entry in self.entries:
            found |= {*entry.get("seeds", ()), *(entry.get("next_seeds") or ())}
        return found

    def runs(self) -> set[str]:
        """Folders of all runs that entries name."""
        return {run for e in self.entries for run in e.get("costs", {})}

    def spent_s(self) -> float:
        """Seconds of all runs, each counted once."""
        return sum(sum(e.get("costs", {}).values()) for e in self.entries)

    def done(self) -> set[str]:
        """Items of queues that have an entry."""
        return {e["item"] for e in self.entries if e.get("item")}


def words_of(changes: Iterable[Change], without: Container[str] = ()) -> list[str]:
    """Of a champion, some of its changes taken out."""
    kept = [c.instead if c.id in without else c.words for c in changes]
    return last_words([word for words in kept for word in words])


def read_state(entries: Sequence[Entry]) -> State:
    """Recompute everything from the entries, in their order.

    Raises:
        ConfigError: the first entry begins no ledger, or one is of a kind nobody knows.
    """
    if not entries or entries[0]["kind"] != "new":
        raise ConfigError("the ledger has no beginning; begin a new one: altgrad ideas new NAME …")
    terms = from_dict(Terms, entries[0]["terms"])
    state = State(terms, list(entries))
    state.discoveries = Discoveries(ALPHA[terms.guarantee], terms.guarantee)
    for entry in entries[1:]:
        reader = READERS.get(entry["kind"])
        if reader is None:
            raise ConfigError(f"entry {entry['n']} is a {entry['kind']!r}, which nobody knows here")
        reader(state, entry)
    return state


def _noise(state: State, entry: Entry) -> None:
    state.delta = entry["delta"]
    state.slope = entry.get("slope")
    state.noise = pool(entry["outcomes"], entry["repeat"])


def _pool_again(state: State, rows: Iterable[Sequence[float | None]]) -> None:
    state.gains += [[g for g in row if g is not None] for row in rows]
    first = next(e for e in state.entries if e["kind"] == "noise")
    state.noise = pool(first["outcomes"], first["repeat"], state.gains)


def _try(state: State, entry: Entry) -> None:
    if entry["verdict"] != "refused":
        state.tried[entry["key"]] = entry["n"]
    if entry.get("gains"):
        _pool_again(state, [entry["gains"]])
    if entry["verdict"] == NOMINATED:
        gone = set(entry["supersedes"])
        words, instead = tuple(entry["words"]), tuple(entry.get("instead", ()))
        change = Change(entry["id"], words, entry["why"], instead=instead)
        champion = [*(c for c in state.champion if c.id not in gone), change]
        _begin_reign(state, champion, entry["next_seeds"], entry["steps"])


def _begin_reign(
    state: State, champion: list[Change], seeds: Sequence[int], steps: int | None
) -> None:
    state.champion, state.seeds, state.steps = champion, tuple(seeds), steps
    state.reign, state.tried = state.reign + 1, {}


def _plan(state: State, entry: Entry) -> None:
    state.plan = entry


def _reckon(state: State, entry: Entry) -> None:
    state.plan = None
    for batch in entry["batches"]:
        state.discoveries.test(batch["p"])
    _pool_again(state, entry["harms"].values())
    kept, found = set(entry["champion"]), set(entry["found"])
    champion = [_reckoned(c, c.id in kept, c.id in found) for c in state.champion]
    champion = [c for c in champion if c.words]
    _begin_reign(state, champion, entry["next_seeds"], entry["steps"])


def _reckoned(change: Change, kept: bool, found: bool) -> Change:
    """A barnacle leaves behind what the champion was tuned to beside it: a change of its own, to be
    reckoned next."""
    if kept:
        return replace(change, proven=change.proven or found)
    return Change(f"{change.id}t", change.instead, f"tuned beside {change.id}")


def _nothing(state: State, entry: Entry) -> None:
    """A table of an earlier loop and measured times change no champion."""


READERS: dict[str, Any] = {
    "noise": _noise,
    "try": _try,
    "plan": _plan,
    "reckon": _reckon,
    "history": _nothing,
    "measured": _nothing,
}
