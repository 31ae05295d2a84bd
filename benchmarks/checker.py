"""How good is the workshop's checker? It is given every catalogued mistake and says what it finds.

    python benchmarks/checker.py [--track nanochat] [--json]

A mistake is caught when any unit fails, located when exactly the unit that holds it fails, and
named when the first sentence shown is that mistake's own. The right solutions in another style must
all pass. Takes about two minutes on one core.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from altgrad.learn.checker import check_file
from altgrad.learn.checker import judge as check
from altgrad.learn.track import TRACKS, Track, Variant


def judge(track: Track, variant: Variant, path: Path) -> dict[str, Any]:
    """Check all units of a file with this variant in it (in this process, to save forks)."""
    source = variant.apply(track.source)
    verdicts = [check(track, path, source, unit) for unit in track.units]
    failed = [v for v in verdicts if not v.passed]
    named = failed[0].named[:1] if failed else []
    return {
        "unit": variant.unit,
        "name": variant.name,
        "caught": bool(failed),
        "located": [v.unit for v in failed] == [variant.unit],
        "named": named == [variant.says],
    }


def matrix(rows: list[dict[str, Any]], alarms: Counter[str], units: list[str]) -> list[str]:
    lines = [f"{'unit':36}{'mistakes':>9}{'caught':>8}{'located':>9}{'named':>7}{'alarms':>8}"]
    for unit in [*units, "all"]:
        mine = [r for r in rows if unit in (r["unit"], "all")]
        false = sum(alarms.values()) if unit == "all" else alarms[unit]
        counts = [sum(r[k] for r in mine) for k in ("caught", "located", "named")]
        lines.append(f"{unit:36}{len(mine):9}{counts[0]:8}{counts[1]:9}{counts[2]:7}{false:8}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--track", default="nanochat", choices=TRACKS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    track = Track(arguments.track)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "my_gpt.py"
        rows = [judge(track, mistake, path) for mistake in track.mistakes]
        styles = [judge(track, other, path) for other in track.equivalents]
        path.write_text(track.source)
        start = time.perf_counter()
        list(check_file(track, path))
        seconds = time.perf_counter() - start
    alarms = Counter(r["unit"] for r in styles if r["caught"])
    share = {k: sum(r[k] for r in rows) / len(rows) for k in ("caught", "located", "named")}
    if arguments.json:
        print(json.dumps({"rows": rows, "share": share, "alarms": sum(alarms.values())}, indent=2))
        return 0
    print("\n".join(matrix(rows, alarms, track.units)))
    percent = {k: f"{v:.1%}" for k, v in share.items()}
    print(
        f"\n{len(rows)} mistakes: {percent['caught']} caught, {percent['located']} at the right",
        end=" ",
    )
    print(
        f"unit, {percent['named']} named; {sum(alarms.values())} alarms on {len(styles)} right",
        end=" ",
    )
    print(f"solutions; checking all units takes {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
