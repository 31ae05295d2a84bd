"""The picture of README's first screen, from two kept records: `python docs/draw_first_screen.py`.

`records/verdict.json` comes from `altgrad compare experiments/control_toggles.yaml threads=1`,
`records/curve.csv` from `altgrad train`. `python docs/draw_first_screen.py RUN COMPARISON` takes
both anew from a run's and a comparison's folders.
"""

import csv
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RECORDS = Path(__file__).parent / "records"
PICTURE = Path(__file__).parent / "figures" / "first_screen.png"
CURVE = ("step", "loss", "val_loss")
EVIDENCE = ("arm", "mean", "low", "high", "pairs", "verdict")
COLOURS = {"better": "#1a7f37", "worse": "#b42318", "equivalent": "#1f5fa8"}


def main(folders: list[str]) -> None:
    if folders:
        keep(*map(Path, folders))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    draw_forest(left)
    draw_curve(right)
    figure.savefig(PICTURE, dpi=110)


def keep(run: Path, comparison: Path) -> None:
    """What the picture shows of two folders, as small files beside it."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    with (RECORDS / "curve.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(CURVE)
        table.writerows([line.get(name, "") for name in CURVE] for line in lines)
    verdict = json.loads((comparison / "verdict.json").read_text())
    arms = [{name: arm[name] for name in EVIDENCE} for arm in verdict["evidence"]]
    kept = {"delta": verdict["question"]["delta"], "arms": arms}
    (RECORDS / "verdict.json").write_text(json.dumps(kept, indent=1) + "\n")


def draw_forest(axes) -> None:
    """Each arm's difference from the control with its interval; grey: too small to matter."""
    kept = json.loads((RECORDS / "verdict.json").read_text())
    arms = sorted(kept["arms"], key=lambda arm: -arm["mean"])
    axes.axvspan(-kept["delta"], kept["delta"], color="#dddddd", lw=0)
    axes.axvline(0, color="#888888", lw=1)
    for row, arm in enumerate(arms):
        colour = COLOURS.get(arm["verdict"], "#666666")
        axes.plot([arm["low"], arm["high"]], [row, row], color=colour, lw=2)
        axes.plot(arm["mean"], row, "o", color=colour, ms=6)
    axes.set_yticks(range(len(arms)), [f"{arm['arm']}: {today(arm['verdict'])}" for arm in arms])
    axes.set_xlabel("validation loss minus the control's (left is better)")
    axes.set_title("altgrad compare: ten changes, 3 seeds each, 200 steps", fontsize=11)


def today(verdict: str) -> str:
    """The word for a verdict that an earlier record has under another."""
    return {"not shown": "inconclusive"}.get(verdict, verdict)


def draw_curve(axes) -> None:
    with (RECORDS / "curve.csv").open() as file:
        lines = list(csv.DictReader(file))
    axes.plot([int(x["step"]) for x in lines], [float(x["loss"]) for x in lines], color="#9bbbe0")
    seen = [(int(x["step"]), float(x["val_loss"])) for x in lines if x["val_loss"]]
    axes.plot(*zip(*seen, strict=True), "o-", color="#1f5fa8")
    step, loss = seen[-1]
    axes.annotate(f"{loss:.4f}", (step, loss), (0, 10), textcoords="offset points", ha="right")
    axes.axhline(1.47, color="#888888", lw=1, ls="--")
    axes.legend(["training loss", "validation loss", "1.47"], frameon=False)
    axes.set(xlabel="step", ylim=(1.1, 3))
    axes.set_title("altgrad train: the default GPT on Tiny Shakespeare", fontsize=11)


if __name__ == "__main__":
    main(sys.argv[1:])
