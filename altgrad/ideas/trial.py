"""The first gear: an idea against the champion, seed by seed, until it is nominated or not."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from altgrad.compare.arm import Arm, last_words
from altgrad.ideas.bench import Bench, Outcomes, finite, plain
from altgrad.ideas.idea import Idea
from altgrad.ideas.ledger import Entry
from altgrad.ideas.noise import Spread, pairing
from altgrad.ideas.price import UNITS, ratios, screened_both_ways, shifts
from altgrad.ideas.screening import LOST, MOST_SEEDS, NOMINATED, OPEN, PARKED, Screening, screen
from altgrad.ideas.state import State, words_of
from altgrad.settings import ConfigError

REFUSED, CRASHED = "refused", "crashed"
CHAMPION = "champion"


def settle_idea(bench: Bench, state: State, idea: Idea, name: str) -> tuple[list[Arm], str]:
    """Champion and idea as arms, and the idea's key.

    Raises:
        ValueError: the idea cannot be run, touches the measuring, changes nothing, or has been
            tried under this champion.
    """
    bench.refuse(idea.words)
    words = last_words([*state.words, *idea.words])
    champion, arm = bench.arms({CHAMPION: state.words, name: words})
    bench.changes(champion, arm)
    key = bench.key(arm)
    if key in state.tried:
        before = state.entries[state.tried[key]]
        raise ConfigError(
            f"it was tried under this champion: {before['id']} ({before['verdict']}: "
            f"{before['name']}); another champion may see it again"
        )
    return [champion, arm], key


def superseded(bench: Bench, state: State, idea: Idea, arm: Arm) -> list[str]:
    """Changes of the champion that do nothing beside the idea, having been set anew by it."""
    gone: list[str] = []
    for change in state.champion:
        left = [c for c in state.champion if c.id not in (*gone, change.id)]
        if not set(keys(change.words)) & set(keys(idea.words)):
            continue
        try:
            (other,) = bench.arms({"left": [*words_of(left), *idea.words]})
        except ValueError:
            continue
        same = other.config.to_dict() == {
            **arm.config.to_dict(),
            "max_steps": other.config.max_steps,
        }
        gone += [change.id] if same else []
    return gone


def keys(words: tuple[str, ...]) -> list[str]:
    return [word.partition("=")[0] for word in words]


@dataclass
class Screened:
    """gains: one a seed, nan for a run that the idea lost. outcomes: of champion and idea."""

    found: Screening
    spread: Spread
    gains: list[float]
    outcomes: Outcomes

    @property
    def verdict(self) -> str:
        return PARKED if self.found.verdict == OPEN else self.found.verdict


def screen_idea(bench: Bench, state: State, arms: list[Arm]) -> Screened:
    """Run idea and champion on this reign's seeds until it is decided."""
    champion, idea = arms
    noise = state.known_noise()
    open_ = Screening(0, math.nan, -math.inf, math.inf, 0.0, OPEN)
    made = Screened(open_, noise.spread_of([]), [], {a.name: {} for a in arms})
    for seed in state.seeds[:MOST_SEEDS]:
        for name, row in bench.run(arms, [seed]).items():
            made.outcomes[name] |= row
        before, after = (made.outcomes[a.name][seed] for a in (champion, idea))
        if before.lost:
            continue  # says nothing about the idea
        made.gains.append(before.outcome - after.outcome)
        made.spread = noise.spread_of(made.gains)
        made.found = screen(made.gains, made.spread.value, state.delta, made.spread.freedom)
        if made.found.verdict != OPEN:
            break
    return made


def facts_of(state: State, arms: list[Arm], made: Screened, step_s: Mapping[str, float]) -> Entry:
    """What an entry says of a screening. step_s: arm -> seconds of a step; empty = not measured."""
    champion, idea = arms
    rows = made.outcomes[idea.name]
    cost = ratios(champion, idea, step_s)
    lost = made.found.verdict == LOST or not made.gains
    taken = dict.fromkeys(UNITS) if lost else shifts(state.slope, cost)
    ways = screened_both_ways(made.gains, made.spread, state.delta, taken)
    return {
        **plain(asdict(made.found)),
        "verdict": made.verdict,
        "gains": [finite(g) for g in made.gains],
        "seeds": list(rows),
        "spread": made.spread.value,
        "freedom": made.spread.freedom,
        "own_spread": made.spread.own,
        **pairing(
            [made.outcomes[champion.name][s].outcome for s in rows],
            [o.outcome for o in rows.values()],
            state.known_noise(),
        ),
        "outcomes": {s: plain(_shown(o)) for s, o in rows.items()},
        "error": next((o.error for o in rows.values() if o.lost), ""),
        "costs_ratio": cost,
        **{unit: plain(way) if way else None for unit, way in ways.items()},
    }


def _shown(outcome: Any) -> dict[str, Any]:
    return {
        "outcome": outcome.outcome,
        "state": outcome.state,
        "tokens_per_s": outcome.tokens_per_s,
    }


def nomination(bench: Bench, state: State, idea: Idea, arm: Arm) -> dict[str, Any]:
    """What an entry adds where the idea becomes a part of the champion."""
    return {
        "supersedes": superseded(bench, state, idea, arm),
        "next_seeds": state.fresh_seeds(MOST_SEEDS),
        "steps": arm.config.max_steps if state.terms.budget != "tokens" else None,
        "verdict": NOMINATED,
    }
