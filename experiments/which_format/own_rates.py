"""Third and fourth series: every arm of a cell at the rates that suit it, searched in a cross.

    python experiments/which_format/own_rates.py a b c …          # search, then seeds 1 to 4
    python experiments/which_format/own_rates.py a b seeds=8      # the same cells, further seeds

A block's search and each cell's test become parts (`own_….yaml` beside this file), which
`altgrad compare` runs one after another in this process; both may be stopped and asked again.

The search: from a centre, the matrices' rate (`optim.lr`) and the rate of embeddings and gains a
step of three down and up, one at a time, on the tuning seed; where a neighbour is better it becomes
the centre, until the best has all four neighbours, so is inside the range in both directions.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import collect
import yaml

from altgrad.cli import main as altgrad

HERE = Path(__file__).parent
RUNS = Path("runs")
RATES = [0.0003, 0.001, 0.003, 0.009, 0.027, 0.081, 0.243, 0.729, 2.187]
TUNING_SEEDS, MOST_ROUNDS = [1001], 5
BASE = [
    "model=gpt2", "model.n_head=4", "model.block_size=64", "model.dropout=0.0",
    "data.batch_size=16", "precision.compute=32-true", "log_interval=25", "sample_tokens=0",
    "compile=false", "device=cpu",
]  # fmt: skip
ADAMW, RULE, PLAIN = ["optim=adamw"], ["optim=ulp_adamw"], ["precision=fp32"]

Rates = tuple[float, float]
"""Of the matrices, and of embeddings and gains."""


@dataclass(frozen=True)
class Arm:
    """centre: where its search begins."""

    words: list[str]
    centre: Rates


@dataclass(frozen=True)
class Cell:
    """A comparison of arms in one place; the first arm is the control."""

    name: str
    place: list[str]
    arms: dict[str, Arm]
    size: tuple[int, int, int] = (2, 32, 150)


def stored(kind: str, name: str, *more: str) -> list[str]:
    words = ["precision.simulate=true", "precision.format=none", f"precision.storage={kind}"]
    return [*words, f"precision.weight.format={name}", *more]


PAIR = {"adamw": Arm(ADAMW, (0.009, 0.243)), "rule": Arm(RULE, (0.027, 0.081))}
SPACED = {**PAIR, "rule": Arm([*RULE, "optim.stiffness=e3m4"], (0.027, 0.081))}
WITHOUT_TABLE = "precision.skip=[lm_head]"
APART = {"adamw": Arm(ADAMW, (0.027, 0.729)), "rule": Arm(RULE, (0.027, 0.729))}
SPACED_RULE = [*RULE, "optim.stiffness=e3m4"]
APART_SPACED = {"adamw": APART["adamw"], "rule": Arm(SPACED_RULE, (0.027, 0.243))}
APART_PLACEBOS = {
    "adamw": APART["adamw"],
    "shuffled": Arm([*RULE, "optim.placebo=shuffled"], (0.027, 0.243)),
    "constant": Arm([*RULE, "optim.placebo=constant"], (0.027, 0.729)),
}
LATER = {**PAIR, "adamw": APART["adamw"]}
PLACEBOS = {
    "adamw": PAIR["adamw"],
    "shuffled": Arm([*RULE, "optim.placebo=shuffled"], (0.027, 0.081)),
    "constant": Arm([*RULE, "optim.placebo=constant"], (0.009, 0.243)),
}
NEAREST = stored("rounded", "e3m4")
RANDOM = stored("rounded", "e3m4", "precision.storage_rounding=stochastic")
BLOCKS = {
    "a": [
        Cell("nearest_e3m4", NEAREST, PAIR),
        Cell("fp32_e3m4", PLAIN, SPACED),
        Cell("master_e3m4", stored("master", "e3m4"), PAIR),
    ],
    "b": [Cell(f"nearest_{name}", stored("rounded", name), LATER) for name in ("e5m2", "e2m5")],
    "b2": [Cell("nearest_e4m3", stored("rounded", "e4m3"), LATER)],
    "c": [Cell("placebos", NEAREST, PLACEBOS)],
    "d": [Cell("large", NEAREST, LATER, (3, 96, 150))],
    "e": [Cell("long", NEAREST, PAIR, (2, 32, 450))],
    "f": [Cell("master_e4m3", stored("master", "e4m3"), PAIR)],
    "g": [
        Cell("stochastic", RANDOM, PAIR),
        Cell("kahan", stored("kahan", "e3m4"), PAIR),
        Cell("error_feedback", stored("error_feedback", "e3m4"), PAIR),
    ],
    "h": [
        Cell("table_apart", [*NEAREST, WITHOUT_TABLE], APART),
        Cell("table_apart_e4m3", [*stored("rounded", "e4m3"), WITHOUT_TABLE], APART),
    ],
    "i": [Cell("table_apart_plain", [*stored("master", "fp16"), WITHOUT_TABLE], APART_SPACED)],
    "j": [Cell("table_apart_placebos", [*NEAREST, WITHOUT_TABLE], APART_PLACEBOS)],
    "k": [Cell("table_apart_large", [*NEAREST, WITHOUT_TABLE], APART, (3, 96, 150))],
    "l": [Cell("wide", NEAREST, LATER, (2, 64, 150))],
    "n": [Cell("fp32_large", PLAIN, {**SPACED, "adamw": APART["adamw"]}, (3, 96, 150))],
    "m": [Cell("table_apart_long", [*NEAREST, WITHOUT_TABLE], APART, (2, 32, 450))],
}


def main(blocks: Iterable[str], seeds: int) -> None:
    for block in blocks:
        chosen = search(block)
        for cell in BLOCKS[block]:
            arms = {n: at(cell, a, chosen[cell.name, n]) for n, a in cell.arms.items()}
            question = f"{cell.name}: does the rule help where each arm has the rates it wants?"
            run(part(f"own_{cell.name}", question, cell.size, arms, list(range(1, seeds + 1))))


def search(block: str) -> dict[tuple[str, str], Rates]:
    """(cell, arm) -> the best pair of rates; says so where it is still at an edge."""
    begun = sorted(HERE.glob(f"own_rates_{block}_*.yaml"))
    for path in begun:
        run(path)  # what was stopped goes on; what is whole is only read
    for turn in range(len(begun) + 1, MOST_ROUNDS + 1):
        wanted = {
            f"{cell.name} {name} {matrix:g} {other:g}": at(cell, arm, (matrix, other))
            for cell, name, arm in arms_of(block)
            for matrix, other in untried(arm, tried(cell, arm))
        }
        if not wanted:
            break
        size = BLOCKS[block][0].size
        question = f"Which rates suit each arm of block {block}, turn {turn}?"
        run(part(f"own_rates_{block}_{turn}", question, size, wanted, TUNING_SEEDS))
    found = {}
    for cell, name, arm in arms_of(block):
        losses = tried(cell, arm)
        found[cell.name, name] = best = min(losses, key=lambda rates: losses[rates])
        edge = " AT AN EDGE" if untried(arm, losses) else ""
        print(f"{cell.name} {name}: {best}, loss {losses[best]:.4f}{edge}", flush=True)
    return found


def arms_of(block: str) -> Iterator[tuple[Cell, str, Arm]]:
    """Each once: the placebos' AdamW is that of their own cell, found again by its settings."""
    for cell in BLOCKS[block]:
        for name, arm in cell.arms.items():
            yield cell, name, arm


def untried(arm: Arm, losses: dict[Rates, float]) -> list[Rates]:
    """The best pair so far and its four neighbours, without those that were tried."""
    best = min(losses, key=lambda rates: losses[rates]) if losses else arm.centre
    i, j = RATES.index(best[0]), RATES.index(best[1])
    cross = [(i, j), (i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
    return [r for r in ((RATES[a], RATES[b]) for a, b in cross) if r not in losses]


def tried(cell: Cell, arm: Arm) -> dict[Rates, float]:
    """Pair of rates -> mean loss on the tuning seeds, infinite where a run was lost."""
    wanted = kind_of(cell, arm)
    losses: dict[Rates, list[float]] = {}
    for row in tuning_rows():
        if all(row[name] == value for name, value in wanted.items()):
            rates = float(row["matrix_lr"]), float(row["other_lr"])
            losses.setdefault(rates, []).append(float(row["val_loss"] or "inf"))
    return {rates: fmean(found) for rates, found in losses.items()}


def tuning_rows() -> Iterator[dict]:
    for config in RUNS.glob("*/config.yaml"):
        for row in collect.line_of(config.parent):
            if row["seed"] in TUNING_SEEDS:
                yield row


def kind_of(cell: Cell, arm: Arm) -> dict[str, object]:
    """What its rows in runs.csv have in common."""
    words = dict(word.split("=", 1) for word in [*cell.place, *arm.words])
    kind, name = words.get("precision.storage", "fp32"), words.get("precision.weight.format", "")
    copies = (kind, name) == ("master", "fp16")
    at_random = "precision.storage_rounding" in words
    stored_as = "stochastic" if at_random else {"rounded": "nearest"}.get(kind, kind)
    rule = "ulp" if words["optim"].startswith("ulp") else "adamw"
    layers, width, steps = cell.size
    return {
        "layers": layers, "width": width, "steps": steps, "rule": rule,
        "storage": collect.COPIES if copies else stored_as,
        "format": "" if copies else name,
        "placebo": words.get("optim.placebo", "none"),
        "operands": "matrices" if "precision.skip" in words else "weights",
    }  # fmt: skip


def at(cell: Cell, arm: Arm, rates: Rates) -> list[str]:
    matrix, other = rates
    others = [f"optim.embedding_lr={other:g}", f"optim.scalar_lr={other:g}"]
    return [*cell.place, *arm.words, f"optim.lr={matrix:g}", *others]


def part(
    name: str, question: str, size: tuple[int, int, int], arms: dict[str, list[str]], seeds: list
) -> Path:
    layers, width, steps = size
    looks = max(steps // 6, 1)
    base = [
        *BASE, f"model.n_layer={layers}", f"model.n_embd={width}", f"max_steps={steps}",
        f"eval_interval={steps}", f"diagnostics.every_steps={looks}",
        f"diagnostics.rank_every_steps={looks}",
    ]  # fmt: skip
    asked = {
        "question": question, "name": f"{collect.PREFIX}{name}", "base": base,
        "axis": ["optim", "precision"], "arms": arms, "seeds": seeds, "budget": "tokens",
        "delta": 0.02,
    }  # fmt: skip
    path = HERE / f"{name}.yaml"
    command = f"# altgrad compare experiments/which_format/{name}.yaml jobs=1 threads=1\n"
    text = yaml.safe_dump(asked, sort_keys=False, default_flow_style=None, width=100)
    path.write_text(command + text, encoding="utf-8")
    return path


def run(path: Path) -> None:
    if code := altgrad(["compare", str(path), "jobs=1", "threads=1"]):
        raise SystemExit(code)


if __name__ == "__main__":
    words = sys.argv[1:]
    seeds = [int(word.removeprefix("seeds=")) for word in words if word.startswith("seeds=")]
    main([word for word in words if "=" not in word], seeds[0] if seeds else 4)
