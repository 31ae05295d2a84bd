"""The first gear: an idea against the champion, seed by seed, until it is nominated or not."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from altgrad.compare.arm import Arm, last_words
from altgrad.ideas.bench import Bench, Outcomes, costs_of, plain
from altgrad.ideas.idea import Idea, changes_of, refuse_typed
from altgrad.ideas.screening import MOST_SEEDS, NOMINATED, OPEN, Screening, screen
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
    refuse_typed(idea.words)
    words = last_words([*state.words, *idea.words])
    champion, arm = bench.arms({CHAMPION: state.words, name: words})
    changes_of(champion, arm)
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


def screen_idea(bench: Bench, state: State, arms: list[Arm]) -> tuple[Screening, dict[str, Any]]:
    """Run idea and champion on this reign's seeds until it is decided, and what an entry says."""
    champion, idea = arms
    noise, outcomes, gains = state.known_noise(), Outcomes({a.name: {} for a in arms}), []
    found, spread, own = Screening(0, math.nan, -math.inf, math.inf, 0.0, OPEN), 0.0, False
    for seed in state.seeds[:MOST_SEEDS]:
        for name, row in bench.run(arms, [seed]).items():
            outcomes[name] |= row
        if outcomes[champion.name][seed].lost:
            continue  # says nothing about the idea
        gains.append(outcomes[champion.name][seed].outcome - outcomes[idea.name][seed].outcome)
        spread, own = noise.spread_of(gains)
        found = screen(gains, spread, state.delta)
        if found.verdict != OPEN:
            break
    facts = {
        "gains": [g if math.isfinite(g) else None for g in gains],
        "seeds": list(outcomes[idea.name]),
        "spread": spread,
        "own_spread": own,
        "correlation": _correlation(outcomes, champion.name, idea.name),
        "outcomes": {s: plain(_shown(o)) for s, o in outcomes[idea.name].items()},
        "costs": costs_of(outcomes, state.runs()),
        "error": next((o.error for o in outcomes[idea.name].values() if o.lost), ""),
    }
    return found, {**plain(asdict(found)), **facts}


def _shown(outcome: Any) -> dict[str, Any]:
    return {
        "outcome": outcome.outcome,
        "state": outcome.state,
        "tokens_per_s": outcome.tokens_per_s,
    }


def _correlation(outcomes: Outcomes, champion: str, idea: str) -> float | None:
    """Of champion and idea over the seeds: how much pairing them takes away; None below three."""
    rows = [[outcomes[n][s].outcome for s in outcomes[idea]] for n in (champion, idea)]
    pairs = [(a, b) for a, b in zip(*rows, strict=True) if math.isfinite(a) and math.isfinite(b)]
    x, y = (np.array(v) for v in zip(*pairs, strict=True)) if pairs else (np.zeros(1), np.zeros(1))
    if len(pairs) < 3 or not x.std() or not y.std():
        return None
    return float(np.corrcoef(x, y)[0, 1])


def nomination(bench: Bench, state: State, idea: Idea, arm: Arm) -> dict[str, Any]:
    """What an entry adds where the idea becomes a part of the champion."""
    return {
        "supersedes": superseded(bench, state, idea, arm),
        "next_seeds": state.fresh_seeds(MOST_SEEDS),
        "steps": arm.config.max_steps if state.terms.budget != "tokens" else None,
        "verdict": NOMINATED,
    }
