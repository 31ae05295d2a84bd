"""Does `altgrad learn trace --backward` name the unit of a mistake, and none where there is none?

    python benchmarks/gradient_walk.py

Given are the catalogue's mistakes and the outside sets' (`outside_set.py`), as far as they are in
functions and `forward` methods, and every right solution of both. A mistake that changes no value
and no gradient of one forward and backward pass (a cache, a refusal) is none that it could see; one
that raises is told as an exception. Takes about three minutes on one core.
"""

import tempfile
from collections import Counter
from pathlib import Path

import outside_set
import torch

from altgrad.learn.cockpit.gradient_walk import walk_lines
from altgrad.learn.track import MODEL_TRACKS, Track

SETS = {"outside set": "", "second set": "_second", "third set": "_third"}


def catalogued(track: Track) -> tuple[list, list]:
    mistakes = [(m.unit, m.name, m.apply(track.source)) for m in track.mistakes]
    return mistakes, [(e.unit, e.name, e.apply(track.source)) for e in track.equivalents]


def from_outside(track: Track, which: str) -> tuple[list, list]:
    cases = outside_set.load(track, which)
    found = [[(c.unit, c.name, c.source) for c in cases[kind]] for kind in ("mistake", "right")]
    return found[0], found[1]


def outcome(track: Track, path: Path, unit: str, source: str) -> tuple[str, str]:
    """`right`, `wrong`, `no difference` or `raises`; and what was said."""
    path.write_text(source)
    try:
        said = list(walk_lines(track, path, None))[-1]
    except Exception as error:
        return "raises", f"{type(error).__name__}: {error}"
    if said.startswith("✓"):
        return "no difference", said
    if "no reference beside it" in said:
        return "no reference", said
    return ("right" if said.endswith(f"(altgrad learn check {unit})") else "wrong"), said


def show(track: Track, path: Path, name: str, mistakes: list, right: list) -> None:
    in_pass = [m for m in mistakes if m[0].endswith("forward") or "." not in m[0]]
    found: Counter[str] = Counter()
    for unit, what, source in in_pass:
        kind, said = outcome(track, path, unit, source)
        found[kind] += 1
        if kind == "wrong":
            print(f"  {unit}, {what}: {said}")
    alarms = 0
    for unit, what, source in right:
        kind, said = outcome(track, path, unit, source)
        alarms += kind != "no difference"
        if kind != "no difference":
            print(f"  right, and said to differ: {unit} {what}: {said}")
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(found.items()))
    print(
        f"{track.name}, {name}: {len(in_pass)} mistakes: {counts}; {alarms} of {len(right)} alarms"
    )


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "my_gpt.py"
        for track in map(Track, MODEL_TRACKS):
            show(track, path, "catalogue", *catalogued(track))
            for name, which in SETS.items():
                show(track, path, name, *from_outside(track, which))


if __name__ == "__main__":
    main()
