"""The tables of the two pages, from results/ alone: `python experiments/which_format/page.py`.

docs/evidence/findings.md is the answer, which-format.md beside it what it stands on. Every table
between `<!-- generated: NAME -->` and `<!-- end -->` is made here; a test compares.
"""

import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import analysis
from analysis import RESULTS, Estimate, Place

DOCS = Path(__file__).parents[2] / "docs" / "evidence"
PAGES = [DOCS / "findings.md", DOCS / "which-format.md"]
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
STORAGES = {
    "fp32": "FP32 weights, nothing rounded",
    "fp16 copies": "FP32 masters, FP16 copies",
    "master": "FP32 masters, rounded copies",
    "kahan": "stored, Kahan",
    "error_feedback": "stored, error feedback",
    "stochastic": "stored, stochastic",
    "nearest": "stored, nearest",
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def numbers(name: str) -> list[dict[str, str]]:
    with (RESULTS / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def estimates(name: str) -> list[Estimate]:
    return analysis.read_estimates(RESULTS / f"{name}.csv")


def in_words(e: Estimate) -> str:
    return f"{e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}]"


def where(e: Estimate | Place) -> str:
    operands = {"all": ", all operands", "matrices": ", table apart"}.get(e.operands, "")
    third = ", third and fourth" if e.processor == analysis.THIRD else ""
    return f"{e.size}, {e.steps} steps{operands}, {e.rates}{third}"


NAMES = {"adamw": "AdamW", "rule": "the rule"}
KEY = ("size", "steps", "storage", "operands", "rates", "format", "processor")


def gains() -> str:
    losses = {tuple(m[name] for name in KEY): m for m in numbers("mediators")}
    rows = []
    for e in sorted((e for e in estimates("gains") if e.what == "gain"), key=_order):
        cell = losses[tuple(str(getattr(e, name)) for name in KEY)]
        place = [STORAGES[e.storage], e.format.upper(), where(e)]
        rows.append([*place, *_arms(cell), in_words(e), f"{e.p_holm:.2g}", str(e.seeds)])
    head = ["weights", "format", "size", "AdamW (rates)", "the rule (rates)", "gain [95 %]", "p",
            "seeds"]  # fmt: skip
    return table(head, rows)


def _arms(cell: dict[str, str]) -> list[str]:
    """Each arm's mean loss, and the rates of its matrices and of what else there is."""
    rates = {a: f"{cell[f'lr_{a}']}, {cell[f'other_lr_{a}']}" for a in ("adamw", "rule")}
    return [f"{float(cell[f'val_loss_{a}']):.3f} ({found})" for a, found in rates.items()]


def judged() -> str:
    """The third and fourth series: a line a cell, in the protocol's words."""
    rows = [
        [STORAGES[e.storage], e.format.upper(), where(e).split(", own")[0], in_words(e),
         f"{e.p_holm:.2g}", str(e.seeds), analysis.judgement(e)]
        for e in sorted(estimates("gains"), key=_order)
        if e.processor == analysis.THIRD and e.what == "gain"
    ]  # fmt: skip
    head = ["weights", "format", "size", "gain [95 %]", "p", "seeds", "judged"]
    return table(head, rows)


LADDERS = {
    ("fp32", "weights"): "FP32, nothing rounded",
    ("nearest", "weights"): "stored to nearest",
    ("nearest", "matrices"): "stored to nearest, table apart",
}


def sizes() -> str:
    """The third and fourth series in E3M4: a line a size and length, a column a kind of weights."""
    own = [e for e in estimates("gains") if e.processor == analysis.THIRD and e.what == "gain"]
    found = {(e.size, e.steps, e.storage, e.operands): in_words(e) for e in own
             if e.format == "e3m4"}  # fmt: skip
    places = sorted({place[:2] for place in found}, key=lambda place: (place[1], place[0]))
    rows = [
        [f"{size}, {steps} steps", *(found.get((size, steps, *k), "not run") for k in LADDERS)]
        for size, steps in places
    ]
    return table(["gain in E3M4", *LADDERS.values()], rows)


def _order(e: Estimate) -> tuple:
    """The third and fourth series first; in them the smallest size, then by storage."""
    storage = list(STORAGES).index(e.storage)
    return e.processor != analysis.THIRD, e.rates != "own", e.size, e.steps, storage, e.format


def placebos() -> str:
    rows = [
        [STORAGES[e.storage], e.format.upper(), where(e), e.what, in_words(e), str(e.seeds)]
        for e in sorted(estimates("gains"), key=_order)
        if e.what != "gain"
    ]
    return table(["weights", "format", "size", "what", "gain [95 %]", "seeds"], rows)


def contrasts() -> str:
    rows = [
        [e.what, e.format.upper(), f"{STORAGES[e.storage]}; {where(e)}", in_words(e),
         f"{e.p_holm:.2g}", f"{e.p_equivalent:.2g}", str(e.seeds)]
        for e in estimates("contrasts")
    ]  # fmt: skip
    head = ["difference", "format", "where", "mean [95 %]", "p", "p of TOST", "seeds"]
    return table(head, rows)


def rates() -> str:
    rows = [
        [STORAGES[r["storage"]], r["format"].upper(), f"{r['size']}, {r['steps']} steps",
         r["other_lr"], f"{float(r['adamw']):.3f}", f"{float(r['rule']):.3f}",
         f"{float(r['mean']):+.3f} [{float(r['low']):+.3f}, {float(r['high']):+.3f}]", r["seeds"]]
        for r in numbers("rates")
        if (r["format"], r["operands"]) == ("e3m4", "weights")
        and r["processor"] != analysis.THIRD
    ]  # fmt: skip
    head = ["weights", "format", "size", "rate of embeddings and gains", "AdamW", "the rule",
            "gain [95 %]", "seeds"]  # fmt: skip
    return table(head, rows)


def one_rate() -> str:
    rows = [
        [STORAGES[r["storage"]], r["format"].upper(), f"{r['size']}, {r['steps']} steps",
         "0.027" if r["adamw_at"] == "0.027" else "where its search stopped",
         f"{float(r['adamw']):.3f}",
         f"{float(r['mean']):+.3f} [{float(r['low']):+.3f}, {float(r['high']):+.3f}]", r["seeds"]]
        for r in numbers("one_rate")
    ]  # fmt: skip
    head = [
        "weights",
        "format",
        "size",
        "AdamW's rate",
        "AdamW",
        "gain of the rule [95 %]",
        "seeds",
    ]
    return table(head, rows)


def verdicts() -> str:
    rows = [
        [v["part"], v["arm"], v["against"], v["verdict"].replace("not shown", "inconclusive"),
         difference(v), v["pairs"]]
        for v in numbers("verdicts")
        if v["part"] in analysis.APART
    ]  # fmt: skip
    return table(["part", "arm", "against", "verdict", "difference [95 %]", "seeds"], rows)


def difference(v: dict[str, str]) -> str:
    mean, low, high = (float(v[name]) for name in ("difference", "low", "high"))
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def searched() -> str:
    """The third and fourth series' searches: where each ended, and how sharply."""
    rows = [
        [STORAGES[s.place.storage], s.place.format.upper(), where(s.place).split(", own")[0],
         NAMES.get(s.arm, s.arm), ", ".join(s.best), f"{s.loss:.3f}",
         *map(_side, s.worse.values()), str(s.tried)]
        for s in analysis.searches(analysis.read_rows())
    ]  # fmt: skip
    head = ["weights", "format", "size", "arm", "best rates", "loss", *analysis.SIDES, "tried"]
    return table(head, rows)


def _side(worse: float | None) -> str:
    return "not tried" if worse is None else f"{worse:+.3f}"


def mediators() -> str:
    rows = []
    for m in numbers("mediators"):
        if m["processor"] != analysis.THIRD:
            continue
        pairs = [_change(m[f"{name}_adamw"], m[f"{name}_rule"]) for name in analysis.MEDIATORS]
        apart = ", table apart" if m["operands"] == "matrices" else ""
        place = [STORAGES[m["storage"]] + apart, m["format"].upper(), m["size"], m["steps"]]
        rows.append([*place, f"{float(m['gain']):+.3f}", *pairs])
    head = ["weights", "format", "size", "steps", "gain", "lost", "rate's worth", "length",
            "cosine", "rate's worth, top 3 binades", "effective rank"]  # fmt: skip
    return table(head, rows)


def _change(adamw: str, rule: str) -> str:
    return "none" if "nan" in (adamw, rule) else f"{float(adamw):.2f} → {float(rule):.2f}"


MADE: dict[str, Callable[[], str]] = {
    "gains": gains,
    "judged": judged,
    "sizes": sizes,
    "placebos": placebos,
    "contrasts": contrasts,
    "rates": rates,
    "one_rate": one_rate,
    "searched": searched,
    "verdicts": verdicts,
    "mediators": mediators,
}


def remade(text: str) -> str:
    """A page with its tables computed anew."""
    return BLOCK.sub(lambda m: f"{m[1]}{MADE[m[2]]()}{m[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(remade(page.read_text(encoding="utf-8")), encoding="utf-8")
