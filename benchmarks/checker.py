"""How good is the workshop's checker? It is given every catalogued mistake and says what it finds.

    python benchmarks/checker.py [--track nanochat] [--json] [--outside]

A mistake is caught when any unit fails, located when exactly the unit that holds it fails, and
named when the first sentence shown is that mistake's own. The right solutions in another style must
all pass. Last, the same kinds of mistake in independently written code: naming must not depend on
how the catalogue happens to write them. Then the outside set (outside_set.py), which the
catalogue's author did not see while writing; `--outside` asks it alone. Takes five minutes on one
core.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import outside_set
import torch

from altgrad.learn.checker import check_file
from altgrad.learn.checker import judge as check
from altgrad.learn.track import TRACKS, Track, Variant

KINDS = ("caught", "located", "named")
SETS = {"outside set": "", "second set": "_second", "third set": "_third"}


def judge(track: Track, variant: Variant, path: Path, says: list[str]) -> dict[str, Any]:
    """Check all units of a file with this variant in it (in this process, to save forks)."""
    source = variant.apply(track.source)
    verdicts = [check(track, path, source, unit) for unit in track.units]
    failed = [v for v in verdicts if not v.passed]
    return {
        "unit": variant.unit,
        "name": variant.name,
        "caught": bool(failed),
        "located": [v.unit for v in failed] == [variant.unit],
        "named": bool(failed) and failed[0].named[:1] == says,
    }


def matrix(rows: list[dict[str, Any]], alarms: Counter[str], units: list[str]) -> list[str]:
    lines = [f"{'unit':36}{'mistakes':>9}{'caught':>8}{'located':>9}{'named':>7}{'alarms':>8}"]
    for unit in [*units, "all"]:
        mine = [r for r in rows if unit in (r["unit"], "all")]
        false = sum(alarms.values()) if unit == "all" else alarms[unit]
        counts = [sum(r[k] for r in mine) for k in KINDS]
        lines.append(f"{unit:36}{len(mine):9}{counts[0]:8}{counts[1]:9}{counts[2]:7}{false:8}")
    return lines


def shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {kind: sum(row[kind] for row in rows) / len(rows) for kind in KINDS}


def sentence(what: str, rows: list[dict[str, Any]]) -> str:
    share = shares(rows)
    return (
        f"{len(rows)} {what}: {share['caught']:.1%} caught, {share['located']:.1%} at the right "
        f"unit, {share['named']:.1%} named"
    )


def seconds_to_check(track: Track, path: Path) -> float:
    path.write_text(track.source)
    start = time.perf_counter()
    list(check_file(track, path))
    return time.perf_counter() - start


def from_outside(track: Track, path: Path, which: str) -> dict[str, Any]:
    """Every answer to the outside set: mistakes, pairs of mistakes, alarms on right files."""
    if not outside_set.exists(track, which):
        return {"mistake": [], "pair": [], "right": 0, "alarms": {}}
    cases = outside_set.load(track, which)
    found: dict[str, Any] = {
        kind: [outside_set.ask(track, case, path) for case in cases[kind]]
        for kind in ("mistake", "pair")
    }
    alarms = {f"{c.unit} {c.name}": outside_set.alarms(track, c, path) for c in cases["right"]}
    return found | {"right": len(alarms), "alarms": {n: u for n, u in alarms.items() if u}}


def show_outside(found: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for name, answers in found.items():
        for kind, mistakes in (("mistake", 1), ("pair", 2)):
            counts = outside_set.counts(answers[kind], mistakes)
            print(f"{name}, {kind}s: {', '.join(f'{v} {k}' for k, v in counts.items())}")
        print(f"{name}, right solutions: {answers['right']}, alarms: {len(answers['alarms'])}")
        for case, units in answers["alarms"].items():
            print(f"    {case}: {', '.join(units)}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--track", default="nanochat", choices=TRACKS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--outside", action="store_true", help="the outside set alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    track = Track(arguments.track)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / track.file_name
        if arguments.outside:
            outside = {name: from_outside(track, path, which) for name, which in SETS.items()}
            return show_outside(outside, as_json=arguments.json)
        seconds = seconds_to_check(track, path)
        rows = [judge(track, mistake, path, [mistake.says]) for mistake in track.mistakes]
        says = {(m.unit, m.name): m.says for m in track.mistakes}
        others = [judge(track, s, path, [says[s.unit, s.says]]) for s in track.strangers]
        styles = [judge(track, style, path, []) for style in track.equivalents]
        outside = {name: from_outside(track, path, which) for name, which in SETS.items()}
    alarms = Counter(row["unit"] for row in styles if row["caught"])
    if arguments.json:
        result = {"mistakes": rows, "strangers": others, "equivalents": styles, **shares(rows)}
        print(json.dumps(result | {"seconds": seconds, "outside": outside}, indent=2))
        return 0
    print("\n".join(matrix(rows, alarms, track.units)))
    print(f"\n{sentence('catalogued mistakes', rows)}")
    if others:
        print(sentence("mistakes in independently written code", others))
    print(f"{sum(alarms.values())} alarms on {len(styles)} right solutions in other styles")
    print(f"checking all {len(track.units)} units takes {seconds:.1f} s")
    return show_outside(outside, as_json=False)


if __name__ == "__main__":
    raise SystemExit(main())
