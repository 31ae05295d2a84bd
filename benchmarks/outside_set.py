"""The outside set: mistakes and right solutions by someone who had not seen the catalogue.

`outside/TRACK.toml` holds right bodies in a stranger's style (`base`), mistakes as replacements in
them, pairs of such mistakes at once, further right bodies (`rewrite`), and whole right files that
are built in another way (`file`). Every mistake has the name a teacher would give and a pattern
that a sentence naming it must contain; both were written before the tool's answers were seen.
"""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad.learn.checker import Verdict, judge
from altgrad.learn.source import replace_bodies
from altgrad.learn.track import Track

FOLDER = Path(__file__).parent / "outside"


@dataclass(frozen=True)
class Case:
    """A learner's whole file, and the patterns of the sentences that would be right about it."""

    unit: str  # empty: all units
    name: str
    source: str
    right: list[str] = field(default_factory=list)  # none: the file is right


def edited(text: str, edits: list[list[str]], name: str) -> str:
    for old, new in edits:
        if old not in text:
            raise ValueError(f"{name!r}: {old!r} is not there to be replaced")
        text = text.replace(old, new)
    return text


def exists(track: Track, which: str) -> bool:
    """Has such a set been written for the track?"""
    return (FOLDER / f"{track.name}{which}.toml").is_file()


def load(track: Track, which: str = "") -> dict[str, list[Case]]:
    """`mistake`, `pair`, and `right` (bases, rewrites and files).

    which: "", "_second" or "_third".
    """
    data = tomllib.loads((FOLDER / f"{track.name}{which}.toml").read_text())
    bases = {entry["unit"]: entry["body"].lstrip("\n") for entry in data["base"]}
    known = {(m["unit"], m["name"]): m for m in data["mistake"]}

    def case(unit: str, names: list[str]) -> Case:
        body = bases[unit]
        for name in names:
            body = edited(body, known[unit, name]["edits"], f"{unit}, {name}")
        source = replace_bodies(track.source, {unit: body})
        return Case(unit, " + ".join(names), source, [known[unit, n]["right"] for n in names])

    def right(unit: str, name: str, body: str) -> Case:
        return Case(unit, name, replace_bodies(track.source, {unit: body.lstrip("\n")}))

    return {
        "mistake": [case(m["unit"], [m["name"]]) for m in data["mistake"]],
        "pair": [case(p["unit"], p["of"]) for p in data["pair"]],
        "right": [
            *(right(unit, "base", body) for unit, body in bases.items()),
            *(right(r["unit"], r["name"], r["body"]) for r in data.get("rewrite", [])),
            *(
                Case("", f["name"], edited(track.source, f["edits"], f["name"]))
                for f in data.get("file", [])
            ),
        ],
    }


def answer(case: Case, verdict: Verdict) -> dict[str, Any]:
    """What the tool said, and whether each shown sentence is right.

    `named`: how many of the case's mistakes some sentence names; `wrong`: sentences about none.
    """
    shown = verdict.named[:3]
    hits = [[bool(re.search(p, s, re.IGNORECASE)) for p in case.right] for s in shown]
    return {
        "unit": case.unit,
        "name": case.name,
        "caught": not verdict.passed,
        "said": shown,
        "named": sum(any(hit[i] for hit in hits) for i in range(len(case.right))),
        "wrong": [s for s, hit in zip(shown, hits, strict=True) if not any(hit)],
        "evidence": verdict.evidence,
    }


def ask(track: Track, case: Case, path: Path) -> dict[str, Any]:
    return answer(case, judge(track, path, case.source, case.unit))


def alarms(track: Track, case: Case, path: Path) -> list[str]:
    """Units of a right file that do not pass."""
    units = [case.unit] if case.unit else track.units
    return [u for u in units if not judge(track, path, case.source, u).passed]


def counts(rows: list[dict[str, Any]], mistakes: int) -> dict[str, int]:
    """Of cases with so many mistakes each: caught, all of them named and nothing else, …"""
    clean = [r for r in rows if not r["wrong"]]
    found = {"cases": len(rows), "caught": sum(r["caught"] for r in rows)}
    found["named"] = sum(r["named"] == mistakes for r in clean)
    if mistakes > 1:
        found["one named"] = sum(0 < r["named"] < mistakes for r in clean)
    return found | {
        "unnamed": sum(r["named"] == 0 for r in clean),
        "wrongly named": len(rows) - len(clean),
    }
