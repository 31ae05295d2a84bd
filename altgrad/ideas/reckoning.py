"""The second gear: which of the champion's changes do anything, on seeds that no one has used.

Arms: the baseline, the champion, and the champion without each provisional change in turn. The
plan (seeds and arms) is an entry before any run, so a reckoning that was killed goes on with it.
Seeds are spent look by look (`effects`): what is decided early costs no more.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from altgrad.compare.arm import Arm
from altgrad.compare.dependence import moved_together
from altgrad.compare.statistics.paired import paired_t, tost_p
from altgrad.ideas.bench import Bench, Outcomes, costs_of, finite, plain
from altgrad.ideas.effects import Effect, Weighing, harm_p, looks_of, planned_seeds
from altgrad.ideas.ledger import Entry
from altgrad.ideas.noise import pairing
from altgrad.ideas.price import ratios, reckoned_both_ways, shifts
from altgrad.ideas.screening import MOST_SEEDS
from altgrad.ideas.state import Change, State, words_of
from altgrad.settings import ConfigError, require

BASELINE, CHAMPION, REDUCED = "baseline", "champion", "reckoned"
FASTER = 1.02
"""A useless change stays if the run is so much faster with it, and it is equivalent."""

MEASURED_AGAIN = 2
"""How often more it must turn out to be faster: one measuring is some percent off."""

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
    count = planned_seeds(state.delta, state.known_noise().spread, level)
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
    try:
        bench.arms({BASELINE: [], "left": words_of(champion, gone)})
    except ValueError:
        return False
    return True


@dataclass
class Reckoning:
    """One reckoning as it goes on.

    measured: arms (and a word, to measure them again) -> seconds of a step of each, taken in turn,
    once; empty = not measured here.
    batches: p-values in the order in which they were spent. gone: arm -> changes it lacks.
    cost_ratio: arm -> what the champion costs, in its runs.
    """

    bench: Bench
    state: State
    plan: Entry
    measured: Callable[..., dict[str, float]]
    outcomes: Outcomes = field(default_factory=dict)
    batches: list[dict[str, Any]] = field(default_factory=list)
    arms: dict[str, Arm] = field(default_factory=dict)
    gone: dict[str, list[str]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    cost_ratio: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def reckon(self) -> dict[str, Any]:
        """What the entry says."""
        seeds, groups = self.plan["seeds"], self.plan["groups"]
        self.gone |= {CHAMPION: [], **{without(i): g for i, g in groups.items()}}
        arms = {i: without(i) for i in groups}
        self._run([BASELINE, CHAMPION, *arms.values()], self.first_seeds)
        self._measure(arms.values())
        effects = self._weigh(CHAMPION, arms, seeds)
        found = {e.change for e in effects if e.found}
        useless = [e for e in effects if not e.found]
        kept_anyway = {e.change: why for e in useless if (why := self._worth_keeping(e))}
        gone = [e.change for e in useless if e.change not in kept_anyway]
        gone, found_later = self._without_all(effects, gone)
        effects = [e if e.change not in found_later else replace(e, found=True) for e in effects]
        return self._entry(effects, found | found_later, gone, kept_anyway)

    @property
    def first_seeds(self) -> list[int]:
        """Of the first look: every arm has run on them."""
        seeds = self.plan["seeds"]
        return list(seeds[: looks_of(len(seeds))[0]])

    def _run(self, names: Sequence[str], seeds: Sequence[int]) -> None:
        """Runs of arms; an arm is composed, and its steps are counted, once in a reckoning."""
        new = [n for n in dict.fromkeys([BASELINE, *names]) if n not in self.arms]
        if new:
            self._settle([BASELINE, *(n for n in new if n != BASELINE)])
        made = self.bench.run([self.arms[n] for n in names], seeds)
        self.costs |= costs_of(made, self.state.runs())
        for name, row in made.items():
            self.outcomes[name] = {**self.outcomes.get(name, {}), **row}

    def _settle(self, names: Sequence[str]) -> None:
        champion = self.state.champion
        words = {n: words_of(champion, self.gone[n]) if n != BASELINE else [] for n in names}
        arms = self.bench.arms(words)
        step_s = self.measured(arms) if self.state.terms.budget == "time" else {}
        arms = self.bench.spend_equally(arms, step_s)
        self.arms |= {a.name: a for a in arms}
        if CHAMPION in step_s:
            self.cost_ratio |= {
                a.name: ratios(a, self.arms[CHAMPION], step_s) for a in arms if a.name != BASELINE
            }

    def _measure(self, names: Iterable[str]) -> None:
        """Each arm beside the champion in turn: two networks in memory, not all of them."""
        for name in names:
            if name not in self.cost_ratio:
                pair = [self.arms[CHAMPION], self.arms[name]]
                self.cost_ratio[name] = ratios(pair[1], pair[0], self.measured(pair))

    def harms(self, reference: str, arm: str, seeds: Sequence[int]) -> list[float]:
        """What is lost with `arm` instead of `reference`, one a seed; nan for a lost run."""
        return [self.outcomes[arm][s].outcome - self.outcomes[reference][s].outcome for s in seeds]

    def _weigh(self, reference: str, arms: dict[str, str], seeds: Sequence[int]) -> list[Effect]:
        """Look by look; a change that is decided gets no more seeds."""
        looks = looks_of(len(seeds))
        weighing = Weighing(list(arms), len(looks), self.state.delta, self.state.discoveries)
        for look in looks:
            at = seeds[:look]
            self._run([reference, *(arms[c] for c in weighing.open)], at)
            weighing.look({c: self.harms(reference, arms[c], at) for c in weighing.open})
            if not weighing.open:
                break
        effects = weighing.end()
        self.batches.append({"changes": [e.change for e in effects], "p": [e.p for e in effects]})
        return effects

    def _seeds_of(self, change: str) -> list[int]:
        """Planned seeds that its removal got."""
        return [s for s in self.plan["seeds"] if s in self.outcomes[without(change)]]

    def _pairs(self, change: str) -> list[float]:
        """Harms of its removal from the champion, of whole pairs."""
        found = self.harms(CHAMPION, without(change), self._seeds_of(change))
        return [h for h in found if math.isfinite(h)]

    def _worth_keeping(self, effect: Effect) -> str:
        """Why a change that gains nothing stays: the run is faster with it, at an equal loss. With
        budget=time its speed has been counted already."""
        harms, seconds = (
            self._pairs(effect.change),
            self.cost_ratio[without(effect.change)]["seconds"],
        )
        if self.state.terms.budget == "time" or not seconds or len(harms) < 2:
            return ""
        if tost_p(harms, self.state.delta) >= EQUIVALENT:
            return ""
        pair, ratio = [self.arms[CHAMPION], self.arms[without(effect.change)]], 1 / seconds
        for again in range(1, MEASURED_AGAIN + 1):
            if ratio <= FASTER:
                return ""
            once_more = ratios(pair[1], pair[0], self.measured(pair, f"again {again}"))["seconds"]
            ratio = min(ratio, 1 / once_more) if once_more else 0.0
        return f"the run is {ratio:.2f} times as fast with it" if ratio > FASTER else ""

    def _without_all(self, effects: list[Effect], gone: list[str]) -> tuple[list[str], set[str]]:
        """What is really taken out, and what turns out to be a finding once its double is gone.

        Changes that stand in for each other look useless one by one: where taking all of them out
        hurts, the least useful one goes alone, and the others are weighed again beside it.
        """
        out, found, reference, at = list[str](), set[str](), CHAMPION, self.first_seeds
        left = sorted(gone, key=lambda i: -next(e.p for e in effects if e.change == i))
        while left:
            self._reduce([*out, *left], sorted({*self.first_seeds, *at}))
            if len(left) < 2 or harm_p(self._finite(reference, REDUCED, at)) > REDUNDANT:
                return [*out, *left], found
            out.append(left.pop(0))
            # Fresh seeds: those before have chosen which one goes.
            fresh = self._next_seeds(len(self.plan["seeds"]))
            reference = without(" ".join(out))
            arms = {i: without(" ".join([*out, i])) for i in left}
            self.gone[reference] = self._groups(out)
            self.gone |= {arm: self._groups([*out, i]) for i, arm in arms.items()}
            again = self._weigh(reference, arms, fresh)
            at = [s for s in fresh if s in self.outcomes[reference]]
            found |= {e.change for e in again if e.found}
            left = [i for i in left if i not in found]
        if out:
            self._reduce(out, self.first_seeds)
        return out, found

    def _reduce(self, ids: Sequence[str], seeds: Sequence[int]) -> None:
        """Run the champion without all of these; what was called so before is forgotten."""
        self.arms.pop(REDUCED, None)
        self.outcomes.pop(REDUCED, None)
        self.gone[REDUCED] = self._groups(ids)
        self._run([REDUCED], seeds)

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
    ) -> dict[str, Any]:
        dropped, seeds = self._groups(gone), self.first_seeds
        final = REDUCED if gone else CHAMPION
        champion = [c.id for c in self.state.champion if c.id not in dropped]
        gains = [-h for h in self.harms(BASELINE, final, seeds)]
        steps = self.arms[final].config.max_steps
        return {
            "groups": self.plan["groups"],
            "seeds": self._all_seeds(),
            "batches": self.batches,
            "effects": [self._told(e) for e in effects],
            "found": sorted(found, key=_number),
            "barnacles": dropped,
            "kept": kept_anyway,
            "champion": champion,
            "steps": steps if self.state.terms.budget != "tokens" else None,
            "headline": self._headline(gains, final),
            "outcomes": {n: self._shown(n) for n in self.outcomes},
            "harms": {e.change: self._pairs(e.change) for e in effects},
            "costs": self.costs,
            "final": final,
            "folders": {n: self._folders(n, seeds) for n in (BASELINE, final)},
            "next_seeds": self._next_seeds(MOST_SEEDS),
        }

    def _headline(self, gains: Sequence[float], final: str) -> dict[str, Any]:
        """Champion against baseline, and the same per token and per second."""
        pair = [self.arms[BASELINE], self.arms[final]]
        cost = ratios(pair[0], pair[1], self.measured(pair))
        whole = [g for g in gains if math.isfinite(g)]
        ways = reckoned_both_ways(whole, shifts(self.state.slope, cost))
        return {**headline_of(gains), "costs_ratio": cost, **ways}

    def _told(self, effect: Effect) -> dict[str, Any]:
        """An effect with its price per token and per second, and what pairing was worth."""
        arm, cost = without(effect.change), self.cost_ratio[without(effect.change)]
        seeds = self._seeds_of(effect.change)
        champion, rest = ([self.outcomes[n][s].outcome for s in seeds] for n in (CHAMPION, arm))
        return {
            **plain(asdict(effect)),
            **pairing(champion, rest, self.state.known_noise()),
            "costs_ratio": cost,
            **reckoned_both_ways(self._pairs(effect.change), shifts(self.state.slope, cost)),
        }

    def _shown(self, name: str) -> dict[int, Any]:
        return {s: finite(o.outcome) for s, o in self.outcomes[name].items()}

    def _folders(self, name: str, seeds: Sequence[int]) -> dict[int, str]:
        """Seed -> run folder, of the runs that ended well."""
        rows = {s: self.outcomes[name][s] for s in seeds}
        return {s: Path(o.run).name for s, o in rows.items() if not o.lost}

    def _all_seeds(self) -> list[int]:
        return sorted({*self.plan["seeds"], *(s for row in self.outcomes.values() for s in row)})

    def _next_seeds(self, count: int) -> list[int]:
        first = max([*self.state.used_seeds(), *self._all_seeds()]) + 1
        return list(range(first, first + count))


def _number(id_: str) -> int:
    return int(id_.strip("it"))


def headline_of(gains: Sequence[float]) -> dict[str, Any]:
    """Baseline minus champion on reckoning seeds: mean, 95 % interval, pairs without lost ones."""
    whole = [g for g in gains if math.isfinite(g)]
    if not whole:
        return {"pairs": 0, "gain": None, "low": None, "high": None}
    t = paired_t(whole)
    return plain({"pairs": t.n, "gain": t.mean, "low": t.interval.low, "high": t.interval.high})
