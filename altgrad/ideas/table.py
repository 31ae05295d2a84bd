"""A ledger as a table of tries and findings, for people and for programs."""

import math
from typing import Any

from altgrad.ideas.ledger import Entry
from altgrad.ideas.price import SHORTER
from altgrad.ideas.state import State

COLUMNS = (
    *("id", "idea", "why", "difference", "per token", "per second"),
    *("pairs", "gear", "verdict", "cost"),
)
WIDEST = 30


def to_dict(state: State) -> dict[str, Any]:
    """Everything that is known, recomputed: for `--json`."""
    noise = state.noise
    return {
        "terms": state.terms.to_dict(),
        "delta": state.delta if noise else None,
        "noise": vars(noise) if noise else None,
        "smallest_gain": smallest(state),
        "champion": [
            {"id": c.id, "name": c.name, "gear": "finding" if c.proven else "provisional"}
            for c in state.champion
        ],
        "headline": headline(state),
        "slope": state.slope,
        "rows": rows(state),
        "history": [row for e in _kind(state, "history") for row in e["rows"]],
        "heldout_readings": sum(bool(e["heldout"]) for e in _kind(state, "reckon")),
        "spent_s": state.spent_s(),
        "hours": state.terms.hours,
        "reckoning_begun": state.plan is not None,
    }


def smallest(state: State) -> dict[int, float]:
    """Pairs -> the smallest gain that they can see."""
    return {n: state.noise.smallest_gain(n) for n in (1, 2, 4, 8)} if state.noise else {}


def headline(state: State) -> dict[str, Any] | None:
    """Champion against baseline at the last reckoning; None before there was one."""
    reckoned = _kind(state, "reckon")
    return reckoned[-1]["headline"] if reckoned else None


def rows(state: State) -> list[dict[str, Any]]:
    """One row a try, in order; what a reckoning said of it replaces what screening said."""
    said = last_words_of_reckonings(state)
    return [_row(e, said.get(e["id"])) for e in _kind(state, "try")]


def last_words_of_reckonings(state: State) -> dict[str, dict[str, Any]]:
    """Change -> what the last reckoning that weighed it found."""
    found: dict[str, dict[str, Any]] = {}
    for entry in _kind(state, "reckon"):
        for effect in entry["effects"]:
            verdict = "finding" if effect["found"] else "barnacle"
            verdict = "kept" if effect["change"] in entry["kept"] else verdict
            found[effect["change"]] = {**effect, "verdict": verdict}
    return found


def _row(entry: Entry, reckoned: dict[str, Any] | None) -> dict[str, Any]:
    source = reckoned or entry
    gain = source.get("harm") if reckoned else entry.get("gain")
    return {
        "id": entry["id"],
        "idea": entry["name"],
        "why": entry["why"],
        "gain": gain,
        "low": source.get("low"),
        "high": source.get("high"),
        "per_token": source.get("per_token"),
        "per_second": source.get("per_second"),
        "costs_ratio": source.get("costs_ratio"),
        "pairs": source.get("pairs", 0),
        "p": reckoned["p"] if reckoned else None,
        "gear": "reckoning" if reckoned else "screening",
        "verdict": source["verdict"],
        "own_spread": entry.get("own_spread", False),
        "correlation": source.get("correlation"),
        "seeds_factor": source.get("seeds_factor"),
        "tuned": entry.get("tuned"),
        "cost_s": sum(entry.get("costs", {}).values()),
        "reason": entry.get("reason", ""),
    }


def lines(state: State) -> list[str]:
    """The table as text, its head first."""
    return [*head(state), "", *_table(rows(state))]


def head(state: State) -> list[str]:
    """Noise, champion, cost: what a reader must know before the table."""
    said = []
    if state.noise:
        seen = ", ".join(f"{n}: {v:.2g}" for n, v in smallest(state).items())
        said.append(f"smallest gain that can be seen, by pairs: {seen}; delta {state.delta:g}")
        if state.delta < state.noise.smallest_gain(30):
            said.append("delta is below what 30 pairs can see: reckonings will miss such gains")
    if found := headline(state):
        interval = f"[{_signed(found['low'])}, {_signed(found['high'])}]"
        ways = [(n, found.get(f"per_{n}")) for n in ("token", "second")]
        told = ", ".join(f"{_signed(w['gain'])} per {n}" for n, w in ways if w)
        said.append(
            f"champion against baseline: {_signed(found['gain'])} {interval} better on "
            f"{found['pairs']} reckoning seeds{f' ({told})' if told else ''}"
        )
    if state.slope:
        said.append(
            f"a quarter of the steps less costs {_signed(-state.slope * math.log(SHORTER))}: what "
            "gains per token are worth per second is told by it"
        )
    if heldout := [e["heldout"] for e in _kind(state, "reckon") if e["heldout"]]:
        last = heldout[-1]
        said.append(
            f"held-out part, read {len(heldout)} time{'s' if len(heldout) > 1 else ''}: "
            f"{_signed(last['gain'])} [{_signed(last['low'])}, {_signed(last['high'])}]"
        )
    names = [f"{c.id} {c.name}{'' if c.proven else ' (provisional)'}" for c in state.champion]
    said.append(f"champion: {'; '.join(names) or 'the baseline'}")
    hours = f" of {state.terms.hours:g} h" if state.terms.hours else ""
    said.append(f"run time: {state.spent_s() / 3600:.2f} h{hours}")
    if state.plan is not None:
        said.append("a reckoning has begun: `altgrad ideas reckon` goes on with it")
    if history := [row for e in _kind(state, "history") for row in e["rows"]]:
        said.append(f"{len(history)} rows of an earlier loop, unproven")
    return said


def _table(found: list[dict[str, Any]]) -> list[str]:
    cells = [COLUMNS, *(cells_of(row) for row in found)]
    widths = [min(WIDEST, max(len(str(row[i])) for row in cells)) for i in range(len(COLUMNS))]
    return [
        "  ".join(_fit(c, w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    ]


def _fit(text: str, width: int) -> str:
    return (text if len(text) <= width else f"{text[: width - 1]}…").ljust(width)


def cells_of(row: dict[str, Any]) -> tuple[str, ...]:
    """A row as text, in the order of `COLUMNS`."""
    difference = ""
    if row["gain"] is not None:
        difference = f"{_signed(row['gain'])} [{_signed(row['low'])}, {_signed(row['high'])}]"
    noisy = " (noisy)" if row["own_spread"] else ""
    verdict = f"{row['verdict']}{noisy}"
    why = row["reason"] or row["why"]
    ways = (way_of(row["per_token"]), way_of(row["per_second"]))
    cost = f"{row['cost_s']:.0f} s"
    return row["id"], row["idea"], why, difference, *ways, pairs_of(row), row["gear"], verdict, cost


def way_of(way: dict[str, Any] | None) -> str:
    """The gain at equal tokens, or at equal seconds, and its verdict."""
    return "" if way is None else f"{_signed(way['gain'])} {way['verdict']}"


def pairs_of(row: dict[str, Any]) -> str:
    """How many pairs, how they hang together, and what it costs where they do not."""
    said = []
    if row["correlation"] is not None:
        said.append(f"r {row['correlation']:.2f}")
    if (row["seeds_factor"] or 0) > 1.5:
        said.append(f"x{row['seeds_factor']:.1f} seeds")
    more = f" ({', '.join(said)})" if said else ""
    return f"{row['pairs']}{more}" if row["pairs"] else ""


def _signed(value: float | None) -> str:
    return "…" if value is None else f"{value:+.5f}"


def _kind(state: State, kind: str) -> list[Entry]:
    return [e for e in state.entries if e["kind"] == kind]
