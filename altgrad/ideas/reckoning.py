"""The second gear: which of the champion's changes do anything, on seeds that no one has used.

Arms: the baseline, the champion, and the champion without each provisional change in turn. The
plan (seeds and arms) is an entry before any run, so a reckoning that was killed goes on with it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from altgrad.compare.arm import Arm
from altgrad.compare.dependence import moved_together
from altgrad.compare.statistics.paired import paired_t, tost_p
from altgrad.ideas.bench import Bench, Outcomes, costs_of, plain
from altgrad.ideas.discovery import Discoveries
from altgrad.ideas.effects import Effect, harm_p, seeds_for, weigh_changes
from altgrad.ideas.ledger import Entry
from altgrad.ideas.screening import MOST_SEEDS
from altgrad.ideas.state import Change, State, words_of
from altgrad.settings import ConfigError, require

BASELINE, CHAMPION, REDUCED = "baseline", "champion", "reckoned"
FASTER = 1.02
"""A useless change stays if the run is so much faster with it, and it is equivalent."""

EQUIVALENT = 0.05
REDUNDANT = 0.05
"""p below which taking out all useless changes at once hurts: some stand in for others."""


def without(name: str) -> str:
    return f"without {name}"


def plan_of(bench: Bench, state: State) -> dict[str, Any]:
    """Seeds and groups of a reckoning, before any run.

    Raises:
        ConfigError: there is nothing to reckon.
    """
    changes = state.provisional
    require(bool(changes), "nothing to reckon: the champion has no provisional change.")
    level = state.discoveries.level(len(changes)) / 2  # as if half of them were found
    count = seeds_for(state.delta, state.known_noise().spread, max(level, 1e-6))
    groups = {c.id: depending(bench, state.champion, c.id) for c in changes}
    return {"groups": groups, "seeds": state.fresh_seeds(count)}


def depending(bench: Bench, champion: Sequence[Change], id_: str) -> list[str]:
    """The change, and those of the others that cannot be composed, or are read by nothing, once it
    is gone: they are taken out together.

    Raises:
        ConfigError: the rest cannot be run even without all that came later.
    """
    later = [c.id for c in champion[[c.id for c in champion].index(id_) + 1 :]]
    group = moved_together(id_, later, lambda gone: _works(bench, champion, gone))
    if group is None:
        raise ConfigError(
            f"the champion cannot be run without {id_}, nor without all that came later"
        )
    return group


def _works(bench: Bench, champion: Sequence[Change], gone: Sequence[str]) -> bool:
    words = words_of(c for c in champion if c.id not in gone)
    try:
        bench.arms({BASELINE: [], "left": words})
    except ValueError:
        return False
    return True


@dataclass
class Reckoning:
    """One reckoning as it goes on. batches: p-values in the order in which they were spent."""

    bench: Bench
    state: State
    plan: Entry
    measured: Callable[[list[Arm]], dict[str, float]]
    discoveries: Discoveries
    outcomes: Outcomes = field(default_factory=dict)
    batches: list[dict[str, Any]] = field(default_factory=list)
    arms: dict[str, Arm] = field(default_factory=dict)

    def reckon(self) -> dict[str, Any]:
        """What the entry says."""
        seeds, groups = self.plan["seeds"], self.plan["groups"]
        self._run(
            self._leaving({CHAMPION: [], **{without(i): g for i, g in groups.items()}}), seeds
        )
        effects = self._weigh(CHAMPION, {i: without(i) for i in groups}, seeds)
        found = {e.change for e in effects if e.found}
        useless = [e for e in effects if not e.found]
        kept_anyway = {e.change: why for e in useless if (why := self._worth_keeping(e))}
        gone = [e.change for e in useless if e.change not in kept_anyway]
        gone, found_later = self._without_all(effects, gone, seeds)
        found |= found_later
        effects = [e if e.change not in found_later else _now_found(e) for e in effects]
        return self._entry(effects, found, gone, kept_anyway, seeds)

    def _leaving(self, gone: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Arm -> its words: the baseline, and champions without some changes."""
        champion = self.state.champion
        words = {n: words_of(c for c in champion if c.id not in ids) for n, ids in gone.items()}
        return {BASELINE: [], **words}

    def _run(self, named: dict[str, list[str]], seeds: Sequence[int]) -> None:
        arms = self.bench.arms(named)
        arms = self.bench.spend_equally(arms, self.measured(arms))
        self.arms |= {a.name: a for a in arms}
        for name, row in self.bench.run(arms, seeds).items():
            self.outcomes[name] = {**self.outcomes.get(name, {}), **row}

    def harms(self, reference: str, arm: str, seeds: Sequence[int]) -> list[float]:
        """What is lost with `arm` instead of `reference`, one a seed; nan for a lost run."""
        return [self.outcomes[arm][s].outcome - self.outcomes[reference][s].outcome for s in seeds]

    def _weigh(self, reference: str, arms: dict[str, str], seeds: Sequence[int]) -> list[Effect]:
        rows = {change: self.harms(reference, arm, seeds) for change, arm in arms.items()}
        effects = weigh_changes(rows, self.discoveries)
        self.batches.append({"changes": [e.change for e in effects], "p": [e.p for e in effects]})
        return effects

    def _worth_keeping(self, effect: Effect) -> str:
        """Why a change that gains nothing stays: the run is faster with it, at an equal loss."""
        harms = self.harms(CHAMPION, without(effect.change), self.plan["seeds"])
        harms = [h for h in harms if math.isfinite(h)]
        ratio = self._speed(CHAMPION) / (self._speed(without(effect.change)) or math.inf)
        equal = len(harms) > 1 and tost_p(harms, self.state.delta) < EQUIVALENT
        return f"the run is {ratio:.2f} times as fast with it" if equal and ratio > FASTER else ""

    def _speed(self, arm: str) -> float:
        rates = sorted(o.tokens_per_s or 0.0 for o in self.outcomes[arm].values())
        return rates[len(rates) // 2]

    def _without_all(
        self, effects: list[Effect], gone: list[str], seeds: Sequence[int]
    ) -> tuple[list[str], set[str]]:
        """What is really taken out, and what turns out to be a finding once its double is gone.

        Changes that stand in for each other look useless one by one: where taking all of them out
        hurts, the least useful one goes alone, and the others are weighed again beside it.
        """
        out, found, reference, at = list[str](), set[str](), CHAMPION, list(seeds)
        left = sorted(gone, key=lambda i: -next(e.p for e in effects if e.change == i))
        while left:
            everything = self._groups([*out, *left])
            self._run(self._leaving({REDUCED: everything}), sorted({*seeds, *at}))
            if len(left) < 2 or harm_p(self._finite(reference, REDUCED, at)) > REDUNDANT:
                return [*out, *left], found
            out.append(left.pop(0))
            # Fresh seeds: those before have chosen which one goes.
            at = self._next_seeds(len(seeds))
            reference = without(" ".join(out))
            arms = {i: without(" ".join([*out, i])) for i in left}
            ids = {reference: self._groups(out)}
            ids |= {arm: self._groups([*out, i]) for i, arm in arms.items()}
            self._run(self._leaving(ids), at)
            again = self._weigh(reference, arms, at)
            found |= {e.change for e in again if e.found}
            left = [i for i in left if i not in found]
        self._run(self._leaving({REDUCED: self._groups(out)}), seeds)
        return out, found

    def _finite(self, reference: str, arm: str, seeds: Sequence[int]) -> list[float]:
        return [h for h in self.harms(reference, arm, seeds) if math.isfinite(h)]

    def _groups(self, ids: Sequence[str]) -> list[str]:
        """The changes, with what depends on them."""
        return list(dict.fromkeys(x for i in ids for x in self.plan["groups"].get(i, [i])))

    def _entry(
        self,
        effects: list[Effect],
        found: set[str],
        gone: list[str],
        kept_anyway: dict[str, str],
        seeds: Sequence[int],
    ) -> dict[str, Any]:
        dropped = self._groups(gone)
        final = REDUCED if gone else CHAMPION
        champion = [c.id for c in self.state.champion if c.id not in dropped]
        gains = [-h for h in self.harms(BASELINE, final, seeds)]
        arms = {n: self._shown(n) for n in self.outcomes}
        return {
            "groups": self.plan["groups"],
            "seeds": self._all_seeds(),
            "batches": self.batches,
            "effects": [plain(asdict(e)) for e in effects],
            "found": sorted(found, key=_number),
            "barnacles": dropped,
            "kept": kept_anyway,
            "champion": champion,
            "steps": self.arms[final].config.max_steps
            if self.state.terms.budget != "tokens"
            else None,
            "headline": headline_of(gains),
            "outcomes": arms,
            "harms": {
                e.change: [h if math.isfinite(h) else None for h in row]
                for e in effects
                for row in [self.harms(CHAMPION, without(e.change), seeds)]
            },
            "costs": costs_of(self.outcomes, self.state.runs()),
            "final": final,
            "folders": {n: self._folders(n, seeds) for n in (BASELINE, final)},
            "next_seeds": self._next_seeds(MOST_SEEDS),
        }

    def _shown(self, name: str) -> dict[int, Any]:
        return {s: plain({"outcome": o.outcome})["outcome"] for s, o in self.outcomes[name].items()}

    def _folders(self, name: str, seeds: Sequence[int]) -> dict[int, str]:
        """Seed -> run folder, of the runs that ended well."""
        rows = {s: self.outcomes[name][s] for s in seeds}
        return {s: Path(o.run).name for s, o in rows.items() if not o.lost}

    def _all_seeds(self) -> list[int]:
        return sorted({*self.plan["seeds"], *(s for row in self.outcomes.values() for s in row)})

    def _next_seeds(self, count: int) -> list[int]:
        first = max([*self.state.used_seeds(), *self._all_seeds()]) + 1
        return list(range(first, first + count))


def _now_found(effect: Effect) -> Effect:
    return Effect(**{**asdict(effect), "found": True})


def _number(id_: str) -> int:
    return int(id_.lstrip("i"))


def headline_of(gains: Sequence[float]) -> dict[str, Any]:
    """Baseline minus champion on reckoning seeds: mean, 95 % interval, pairs without lost ones."""
    whole = [g for g in gains if math.isfinite(g)]
    if not whole:
        return {"pairs": 0, "gain": None, "low": None, "high": None}
    t = paired_t(whole)
    return plain({"pairs": t.n, "gain": t.mean, "low": t.interval.low, "high": t.interval.high})
