"""Who imports whom: read from the sources, for the tests here and for the picture in the docs.

Every import counts, whatever it stands in: a function, `if TYPE_CHECKING`, a `try`.
"""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "altgrad"
FLOORS = (
    ("synonyms", "compiler"),
    ("settings",),
    ("trust",),
    ("outside",),
    ("runs", "model", "quantization", "optim", "data"),
    ("training", "programs"),
    ("compare", "learn", "evaluate", "interchange"),
    ("compose",),
    ("ideas",),
    ("studio",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ROOMS_WITH_A_FACE = (
    "runs",
    "programs",
    "quantization.rounding",
    "training.checkpoints",
    "training.health",
    "training.instruments",
    "training.recording",
    "training.trackers",
    "compare.launching",
    "compare.report",
    "compare.statistics",
    "data.download",
)
OPENED_BY_NAME = {
    *(
        "runs.environment",
        "runs.metric_table",
        "runs.plots",
        "runs.printable",
        "runs.view",
        "runs.watch",
    ),
    *("compare.statistics.anytime", "compare.statistics.paired", "quantization.rounding.native"),
    *("compare.statistics.forecast", "compare.statistics.power_law", "compare.statistics.trend"),
    *("compare.launching.local", "compare.launching.ray", "compare.launching.slurm"),
    *("compare.launching.worker", "compare.report.charts", "compare.report.html"),
    *("training.checkpoints.garbage", "training.recording.numerics_plots"),
    *("training.recording.operands", "training.trackers.csv", "training.trackers.tensorboard"),
    *("training.trackers.trackio", "training.trackers.wandb"),
}
"""Files that load a library the room's other users do not need, or are used as a namespace
(`paired.holm`): imported by their own names."""


def module_of(path: Path) -> str:
    """`altgrad/model/gpt.py` -> `model.gpt`; a package's `__init__` is the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix("__init__").removesuffix(".")


FILES = {module_of(p): p for p in sorted(PACKAGE.rglob("*.py")) if "templates" not in p.parts}


@cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of the package that a module imports, as far down as the import names them."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative imports hide where they point"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {n if n.removeprefix("altgrad.") in FILES else str(node.module) for n in names}
    own = {name.removeprefix("altgrad.") for name in found if name.startswith("altgrad.")}
    return frozenset(own & set(FILES)) - {module}


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one node (Tarjan, SIAM J. Comput. 1 (1972))."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            found.extend([sorted(component)] if len(component) > 1 else [])

    for node in edges:
        if node not in index:
            visit(node)
    return found


def place(module: str) -> str:
    """The room with a face that a module stands in, or the module itself."""
    inside = [r for r in ROOMS_WITH_A_FACE if f"{module}.".startswith(f"{r}.")]
    return inside[0] if inside else module
