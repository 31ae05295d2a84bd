"""The twelve questions: their texts, their experiments, and what is drawn and written down."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad.learn.questions.finding import Bench, Finding
from altgrad.learn.questions.instant import INSTANT
from altgrad.learn.questions.trained import TRAINED
from altgrad.settings import check_name

EXPERIMENTS = TRAINED | INSTANT


@dataclass(frozen=True)
class WorkshopQuestion:
    name: str
    question: str
    answer: str
    look: str


def load_questions() -> dict[str, WorkshopQuestion]:
    data = tomllib.loads((Path(__file__).parent / "texts.toml").read_text())
    return {name: WorkshopQuestion(name=name, **entry) for name, entry in data.items()}


def find_question(name: str) -> WorkshopQuestion:
    questions = load_questions()
    check_name("question", name, questions)
    return questions[name]


def run_experiment(name: str, bench: Bench) -> Finding:
    return EXPERIMENTS[name](bench)


def table(finding: Finding) -> list[str]:
    """The rows for a terminal."""
    columns = list(dict.fromkeys(k for row in finding.rows for k in row))
    cells = [[_cell(row.get(c, "")) for c in columns] for row in finding.rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    return [
        "  ".join(text.rjust(w) for text, w in zip(line, widths, strict=True)).rstrip()
        for line in [columns, *cells]
    ]


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(finding: Finding, question: WorkshopQuestion, path: Path) -> None:
    """One PNG: the curves and, where arms were trained, their bits per byte with every seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = [p for p in ("curves", "bars") if getattr(finding, p)]
    figure, axes = plt.subplots(1, len(panels), figsize=(6 * len(panels), 4), squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        _curves(axis, finding, both=len(panels) == 2) if panel == "curves" else _bars(axis, finding)
    figure.suptitle(question.question)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _curves(axis: Any, finding: Finding, *, both: bool) -> None:
    for label, (x, y) in finding.curves.items():
        axis.plot(x, y, label=label, marker="" if len(x) > 30 else "o", linewidth=1.3)
    axis.set_xlabel(finding.x_label)
    axis.set_ylabel("training loss (nats)" if both else finding.y_label)
    if finding.log_x:
        axis.set_xscale("log")
    if finding.log_y and not both:
        axis.set_yscale("log")
    if both:
        every = sorted(v for _, y in finding.curves.values() for v in y[len(y) // 10 :])
        axis.set_ylim(every[0] - 0.05, every[int(0.97 * len(every))] + 0.1)
    axis.legend(fontsize=8)


def _bars(axis: Any, finding: Finding) -> None:
    for row, (_, values) in enumerate(reversed(finding.bars.items())):
        axis.plot(values, [row] * len(values), "o", color="#999")
        axis.plot([sum(values) / len(values)], [row], "|", color="#06c", markersize=18, mew=3)
    axis.set_yticks(range(len(finding.bars)), list(reversed(finding.bars)), fontsize=8)
    axis.set_xlabel(finding.y_label)
    axis.set_ylim(-0.7, len(finding.bars) - 0.3)
    if finding.log_y:
        axis.set_xscale("log")
