"""From results/runs.csv to results/gains.csv, contrasts.csv, mediators.csv, rates.csv,
one_rate.csv; no runs.

    python experiments/which_format/analysis.py

gain = loss of AdamW - loss of the rule (AdamW's step, distributed by a spacing), same seed, same
storage and format. Above 0: the rule helps.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from altgrad.compare.statistics import paired

RESULTS = Path(__file__).with_name("results")
DELTA, FEWEST_SEEDS = 0.02, 4
THIRD = "AMD EPYC"
"""The processor of the third and the fourth series, and so of nothing else."""
UNROUNDED = ("fp32", "fp16 copies")
"""Kinds of storage in which a place's format is the spacing's."""
APART = (
    "names", "roles", "roles_small", "decay", "finer", "table", "table_e4m3", "one_rate_027",
    "groups", "decay_own",
)  # fmt: skip
"""Parts with questions of their own, whose cells are not those of the gains: rates are given, not
tuned, or the schedule is another."""
MEDIATORS = (
    "bit_stall_total",
    "arrived_rate_total",
    "arrived_size_total",
    "arrived_cosine_total",
    "upper_binades",
    "effective_rank",
)

Row = dict[str, str]


@dataclass(frozen=True, order=True)
class Place:
    """Where a gain is measured. rates: `one` for all parameters, or embeddings and gains have their
    `own`. format: of the stored weights, or in FP32 of the spacing. processor: a run's loss depends
    on it, so nothing is paired across two."""

    size: str
    steps: int
    storage: str
    operands: str
    rates: str
    format: str
    processor: str


@dataclass(frozen=True)
class Estimate:
    """A paired mean with its 95 % interval. what: `gain`, or a contrast in words. p, p_equivalent:
    of "it is 0" and of "it is delta or more, either way", not corrected; `p_holm` is, over a
    family of estimates."""

    what: str
    size: str
    steps: int
    storage: str
    operands: str
    rates: str
    format: str
    processor: str
    seeds: int
    mean: float
    low: float
    high: float
    p: float
    p_equivalent: float
    p_holm: float = math.nan


def read_rows() -> list[Row]:
    """Runs of the parts that are whole, that is, have a verdict: one that the clock cut off is not
    judged, nor does its tuning choose a rate."""
    with (RESULTS / "verdicts.csv").open(newline="", encoding="utf-8") as file:
        whole = {row["part"] for row in csv.DictReader(file)}
    with (RESULTS / "runs.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["part"] in whole]


Rates = tuple[str, str]
"""Of the matrices, and of embeddings and gains, as runs.csv writes them."""


def tested(rows: Iterable[Row]) -> list[Row]:
    """Runs on test seeds of tuned cells, once each. Where embeddings have a rate of their own, the
    runs at that pair of rates that was best on the tuning seeds."""
    rows = [r for r in rows if r["part"] not in APART]
    best = best_rates(rows)
    found = {
        r["run"]: r
        for r in rows
        if r["purpose"] == "test" and best.get(tuned_as(r), rates_of(r)) == rates_of(r)
    }
    return [r for r in found.values() if r["rates"] == "one" or tuned_as(r) in best]


def best_rates(rows: Iterable[Row]) -> dict[tuple[Place, str, str], Rates]:
    """Cell with own rates -> the pair that is best in the mean of the tuning seeds. Where only some
    pairs were tried on further seeds, they decide among themselves."""
    return {cell: _best(found) for cell, found in tries(rows).items()}


def tries(rows: Iterable[Row]) -> dict[tuple[Place, str, str], dict[Rates, dict[str, float]]]:
    """Cell with own rates -> pair of rates -> tuning seed -> loss."""
    found: dict[tuple[Place, str, str], dict[Rates, dict[str, float]]] = defaultdict(dict)
    for r in rows:
        if r["purpose"] == "tuning" and r["rates"] == "own" and r["val_loss"]:
            pair = found[tuned_as(r)].setdefault(rates_of(r), {})
            pair[r["seed"]] = float(r["val_loss"])
    return found


def _best(found: dict[Rates, dict[str, float]]) -> Rates:
    means = _means_of_pairs(found)
    return min(means, key=lambda rates: means[rates])


def _means_of_pairs(found: dict[Rates, dict[str, float]]) -> dict[Rates, float]:
    most = max(len(by_seed) for by_seed in found.values())
    return {r: float(np.mean(list(v.values()))) for r, v in found.items() if len(v) == most}


SIDES = {"matrices / 3": (-1, 0), "matrices x 3": (1, 0), "rest / 3": (0, -1), "rest x 3": (0, 1)}
"""What a search ends between: steps of three of the matrices' rate, and of the rest's."""


@dataclass(frozen=True)
class Search:
    """What the tuning seeds said of an arm: the best pair, its loss, how much worse each side is
    (None where it was not tried), how many pairs were tried."""

    place: Place
    arm: str
    best: Rates
    loss: float
    worse: dict[str, float | None]
    tried: int


def searches(rows: Iterable[Row]) -> list[Search]:
    """Of the third and fourth series, in the order of places; in FP32 the rule's format is the
    spacing's."""
    return [
        _search(replace(place, format=place.format or spacing), arm, found)
        for (place, arm, spacing), found in sorted(tries(rows).items())
        if place.processor == THIRD
    ]


def _search(place: Place, arm: str, found: dict[Rates, dict[str, float]]) -> Search:
    best, means = _best(found), _means_of_pairs(found)
    by_side = {_threes(best, rates): mean - means[best] for rates, mean in means.items()}
    worse = {words: by_side.get(side) for words, side in SIDES.items()}
    return Search(place, arm, best, means[best], worse, len(found))


def _threes(best: Rates, rates: Rates) -> tuple[int, ...]:
    """How many steps of three a pair lies from the best, in each direction. They are rounded, as
    0.0003 and 0.001 are neighbours."""
    pairs = zip(rates, best, strict=True)
    return tuple(round(math.log(float(a) / float(b), 3)) for a, b in pairs)


def rates_of(row: Row) -> Rates:
    return row["matrix_lr"], row["other_lr"]


def tuned_as(row: Row) -> tuple[Place, str, str]:
    """What tuning chose rates for; in FP32 the spacing is part of it."""
    return place_of(row), arm_of(row), row["spacing"]


def place_of(row: Row) -> Place:
    size = f"{row['layers']} x {row['width']}"
    where = row["storage"], row["operands"], row["rates"], row["format"], row["processor"]
    return Place(size, int(row["steps"]), *where)


def arm_of(row: Row) -> str:
    """`adamw`, `rule`, `shuffled`, `constant`, or `spacing of E2M5` where weights are stored in
    another format."""
    if row["rule"] == "adamw":
        return "adamw"
    if row["placebo"] != "none":
        return row["placebo"]
    stored = row["storage"] not in UNROUNDED and row["spacing"] != "own"
    return f"spacing of {row['spacing'].upper()}" if stored else "rule"


Losses = dict[int, float]


def losses(rows: Iterable[Row]) -> dict[Place, dict[str, Losses]]:
    """Place -> arm -> seed -> loss. AdamW without rounding knows no format: it is at every place of
    FP32."""
    table: dict[Place, dict[str, Losses]] = defaultdict(lambda: defaultdict(dict))
    plain: dict[tuple, Losses] = defaultdict(dict)
    for row in rows:
        place, loss = place_of(row), float(row["val_loss"] or "nan")
        if row["storage"] not in UNROUNDED:
            table[place][arm_of(row)][int(row["seed"])] = loss
        elif row["rule"] == "adamw":
            plain[_plain(place)][int(row["seed"])] = loss
        else:
            steered = replace(place, format=row["spacing"])
            table[steered][arm_of(row)][int(row["seed"])] = loss
    for place, arms in table.items():
        if place.storage in UNROUNDED:
            arms["adamw"] = plain[_plain(place)]
    return {place: dict(arms) for place, arms in table.items()}


def _plain(place: Place) -> Place:
    """The place of AdamW without rounding, whatever spacing it is compared with."""
    return replace(place, format="")


def differences(a: Losses, b: Losses) -> Losses:
    """Seed -> a - b, where both finished."""
    both = sorted(set(a) & set(b))
    return {s: a[s] - b[s] for s in both if math.isfinite(a[s]) and math.isfinite(b[s])}


def estimate(what: str, place: Place, by_seed: Losses) -> Estimate | None:
    """None for fewer seeds than the protocol judges."""
    d = list(by_seed.values())
    if len(d) < FEWEST_SEEDS:
        return None
    t = paired.paired_t(d)
    return Estimate(
        what, **asdict(place), seeds=len(d), mean=t.mean, low=t.interval.low,
        high=t.interval.high, p=t.p, p_equivalent=paired.tost_p(d, DELTA),
    )  # fmt: skip


def corrected(family: list[Estimate]) -> list[Estimate]:
    """With Holm's p over the family."""
    p = paired.holm([e.p for e in family])
    return [Estimate(**{**asdict(e), "p_holm": q}) for e, q in zip(family, p, strict=True)]


def gains_by_seed(table: dict[Place, dict[str, Losses]]) -> dict[tuple[Place, str], Losses]:
    """(place, arm) -> seed -> AdamW's loss - the arm's."""
    return {
        (place, arm): differences(arms["adamw"], found)
        for place, arms in table.items()
        for arm, found in arms.items()
        if arm != "adamw" and "adamw" in arms
    }


def all_gains(gains: dict[tuple[Place, str], Losses]) -> list[Estimate]:
    """A family per size, length, storage and kind of operands; the third and fourth series' gains
    are one, their placebos' another."""
    families: dict[tuple, list[Estimate]] = defaultdict(list)
    for (place, arm), by_seed in sorted(gains.items()):
        if found := estimate("gain" if arm == "rule" else f"gain of {arm}", place, by_seed):
            third = place.processor == THIRD
            families[(THIRD, arm == "rule") if third else (_plain(place),)].append(found)
    return [e for family in families.values() for e in corrected(family)]


def judgement(e: Estimate) -> str:
    """A gain in the protocol's words (departure 18)."""
    if e.p_holm < 0.05 and e.mean > 0:
        return "gains"
    if e.high >= DELTA:
        return "open"
    return "is behind" if e.p_holm < 0.05 and e.mean < 0 else "no gain that matters"


def all_contrasts(gains: dict[tuple[Place, str], Losses]) -> list[Estimate]:
    """What the hypotheses are about, a family each, nearest storage first in every difference."""
    return [
        *corrected(_against_storages(gains)),
        *corrected(_against_formats(gains)),
        *corrected(_against_arms(gains)),
        *corrected(_against_sizes(gains)),
        *corrected(_trends(gains)),
    ]


def _against_storages(gains: dict[tuple[Place, str], Losses]) -> list[Estimate]:
    """H1, H2, H3: the gain to nearest minus the gain in another storage, same format and seed."""
    found = []
    for (place, arm), own in sorted(gains.items()):
        if arm != "rule" or place.storage != "nearest" or place.operands != "weights":
            continue
        for (other, kind), theirs in sorted(gains.items()):
            same = replace(other, storage="nearest") == place
            if same and kind == "rule" and other.storage != "nearest":
                what = f"gain to nearest - gain in {other.storage}"
                found.append(estimate(what, place, differences(own, theirs)))
    return [e for e in found if e]


def _against_formats(gains: dict[tuple[Place, str], Losses]) -> list[Estimate]:
    """H5: the gain in E3M4 minus the gain in another format, same storage and seed."""
    found = []
    for (place, arm), theirs in sorted(gains.items()):
        own = gains.get((replace(place, format="e3m4"), "rule"))
        if arm == "rule" and own and place.format != "e3m4":
            found.append(estimate("gain in E3M4 - gain in this", place, differences(own, theirs)))
    return [e for e in found if e]


def _against_arms(gains: dict[tuple[Place, str], Losses]) -> list[Estimate]:
    """H1, H4: the rule's gain minus a placebo's, same storage, format and seed."""
    found = []
    for (place, arm), theirs in sorted(gains.items()):
        if arm != "rule" and (own := gains.get((place, "rule"))):
            what = f"gain - gain of {arm}"
            found.append(estimate(what, place, differences(own, theirs)))
    return [e for e in found if e]


def _against_sizes(gains: dict[tuple[Place, str], Losses]) -> list[Estimate]:
    """Third and fourth series: the gain at another size or length minus that at 2 x 32 and 150
    steps."""
    found = []
    for (place, arm), own in sorted(gains.items()):
        base = replace(place, size="2 x 32", steps=150)
        if place.processor == THIRD and arm == "rule" and place != base and (base, arm) in gains:
            by_seed = differences(own, gains[base, arm])
            found.append(estimate("gain here - gain at 2 x 32, 150 steps", place, by_seed))
    return [e for e in found if e]


def _trends(gains: dict[tuple[Place, str], Losses]) -> list[Estimate]:
    """Fourth series: what doubling the width adds to the gain, a least-squares slope a seed, where
    the rule ran at three sizes and the same length."""
    ladders: dict[Place, dict[str, Losses]] = defaultdict(dict)
    for (place, arm), by_seed in gains.items():
        if place.processor == THIRD and arm == "rule":
            ladders[replace(place, size="over sizes")][place.size] = by_seed
    found = []
    for place, by_size in sorted(ladders.items()):
        if len(by_size) >= 3:
            widths = [math.log2(int(size.split(" x ")[1])) for size in by_size]
            seeds = set.intersection(*(set(losses) for losses in by_size.values()))
            slopes = {
                seed: float(np.polyfit(widths, [by_size[s][seed] for s in by_size], 1)[0])
                for seed in sorted(seeds)
            }
            found.append(estimate("gain a doubling of the width", place, slopes))
    return [e for e in found if e]


# -- the rate of embeddings and gains -------------------------------------------------------------


def gains_by_others(rows: list[Row]) -> list[dict[str, object]]:
    """The gain where both arms have the same rate for embeddings and gains, a line a rate."""
    tuned = [r for r in rows if r["part"] not in APART and r["purpose"] == "test"]
    own = [r for r in tuned if r["rates"] == "own"]
    found: list[dict[str, object]] = []
    for rate in sorted({r["other_lr"] for r in own}, key=float):
        at_rate = list({r["run"]: r for r in own if r["other_lr"] == rate}.values())
        table = losses(at_rate)
        for (place, arm), by_seed in sorted(gains_by_seed(table).items()):
            if arm == "rule" and (e := estimate("gain", place, by_seed)):
                both = {
                    a: float(np.mean([table[place][a][s] for s in by_seed])) for a in ("adamw", arm)
                }
                found.append({"other_lr": rate, **asdict(e), **both})
    return found


def one_rate(rows: list[Row]) -> list[dict[str, object]]:
    """One rate for everything: the rule at its tuned rate against AdamW at the rate where its
    search stopped, and at 0.027, which the part `one_rate_027` made without tuning."""
    tuned = losses(tested(rows))
    again = losses([r for r in rows if r["part"] == "one_rate_027"])
    found: list[dict[str, object]] = []
    for place, arms in sorted(tuned.items()):
        plain = replace(place, format="") if place.storage in UNROUNDED else place
        at_027 = _plain_adamw(again, rows, plain)
        if place.rates != "one" or "rule" not in arms or not at_027:
            continue
        for words, adamw in (("search", arms["adamw"]), ("0.027", at_027)):
            if e := estimate("gain", place, differences(adamw, arms["rule"])):
                mean = float(np.mean(list(adamw.values())))
                found.append({"adamw_at": words, **asdict(e), "adamw": mean})
    return found


def _plain_adamw(again: dict[Place, dict[str, Losses]], rows: list[Row], place: Place) -> Losses:
    """AdamW of the part at a place; in FP32 it stands at no format's."""
    if place.storage not in UNROUNDED:
        return again.get(place, {}).get("adamw", {})
    return {
        int(r["seed"]): float(r["val_loss"])
        for r in rows
        if r["part"] == "one_rate_027" and place_of(r) == place
    }


# -- mediators ------------------------------------------------------------------------------------


def value_of(row: Row, mediator: str) -> float:
    if mediator == "upper_binades":
        found = [float(row[f"binade_rate_{b}"] or "nan") for b in range(3)]
        return float(np.nanmean(found)) if not all(map(math.isnan, found)) else math.nan
    return float(row[mediator] or "nan")


def mediators(rows: list[Row]) -> list[dict[str, object]]:
    """A line per place with a gain: the gain, and AdamW's and the rule's mean of each mediator."""
    table: dict[Place, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        place = place_of(row)
        if row["storage"] in UNROUNDED and row["rule"] == "ulp":
            place = replace(place, format=row["spacing"])
        table[place][arm_of(row)].append(row)
    for place, arms in table.items():
        if place.storage in UNROUNDED and "adamw" not in arms:
            plain = replace(place, format="")
            arms["adamw"] = table[plain]["adamw"] if plain in table else []
    gains = {Place(*(getattr(e, f.name) for f in fields(Place))): e for e in _rule_gains(rows)}
    return [
        {**asdict(place), "gain": gains[place].mean, **_means(arms)}
        for place, arms in sorted(table.items())
        if place in gains
    ]


def _rule_gains(rows: list[Row]) -> list[Estimate]:
    return [e for e in all_gains(gains_by_seed(losses(rows))) if e.what == "gain"]


def _means(arms: dict[str, list[Row]]) -> dict[str, float]:
    found = {}
    for arm in ("adamw", "rule"):
        found[f"lr_{arm}"] = float(arms[arm][0]["lr"])
        found[f"other_lr_{arm}"] = float(arms[arm][0]["other_lr"])
        found[f"val_loss_{arm}"] = float(np.mean([float(r["val_loss"]) for r in arms[arm]]))
        for mediator in MEDIATORS:
            values = [value_of(row, mediator) for row in arms[arm]]
            found[f"{mediator}_{arm}"] = float(np.mean(values))
    return found


# -- writing --------------------------------------------------------------------------------------


def write(path: Path, lines: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, list(lines[0]) if lines else [], lineterminator="\n")
        rows.writeheader()
        rows.writerows({n: _short(v) for n, v in line.items()} for line in lines)


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def read_estimates(path: Path) -> list[Estimate]:
    kinds = {f.name: f.type for f in fields(Estimate)}
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Estimate(**{n: kinds[n](v) for n, v in row.items()})  # type: ignore[operator]
            for row in csv.DictReader(file)
        ]


def main() -> None:
    rows = tested(read_rows())
    gains = gains_by_seed(losses(rows))
    write(RESULTS / "gains.csv", [asdict(e) for e in all_gains(gains)])
    write(RESULTS / "contrasts.csv", [asdict(e) for e in all_contrasts(gains)])
    write(RESULTS / "mediators.csv", mediators(rows))
    write(RESULTS / "rates.csv", gains_by_others(read_rows()))
    write(RESULTS / "one_rate.csv", one_rate(read_rows()))


if __name__ == "__main__":
    main()
