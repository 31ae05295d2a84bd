"""Imports point down only: never up, sideways on a floor, in a circle, or past a room's face.

Every import counts, whatever it stands in: a function, `if TYPE_CHECKING`, a `try`.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "altgrad"
FLOORS = (
    ("settings", "outside"),
    ("runs", "model", "quantization", "optim", "data"),
    ("training",),
    ("compare", "learn", "evaluate", "interchange"),
    ("ideas",),
    ("studio",),
    ("compose",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ROOMS_WITH_A_FACE = (
    "runs",
    "quantization.rounding",
    "training.checkpoints",
    "training.health",
    "training.instruments",
    "training.recording",
    "training.trackers",
    "compare.launching",
    "compare.report",
    "compare.statistics",
)
OPENED_BY_NAME = {
    *("runs.environment", "runs.plots", "runs.view", "runs.watch"),
    *("compare.launching.local", "compare.launching.ray", "compare.launching.slurm"),
    *("compare.launching.worker", "compare.report.charts", "compare.report.html"),
    *("training.checkpoints.garbage", "training.recording.numerics_plots"),
    *("training.recording.operands", "training.trackers.tensorboard"),
    *("training.trackers.trackio", "training.trackers.wandb"),
}
"""Files that load a library the room's other users do not need: imported by their own names."""

MOST_FILES = 26


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


def test_the_search_finds_a_circle():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


@pytest.mark.parametrize("module", FILES, ids=lambda m: m or "altgrad")
def test_imports_point_down_only(module):
    room = module.split(".")[0]
    if not room:
        return
    for other in {name.split(".")[0] for name in imports_of(module)} - {room}:
        assert FLOOR[other] < FLOOR[room], f"{module} imports {other}"


def test_no_module_stands_in_a_circle():
    assert circles({m: set(imports_of(m)) for m in FILES}) == []


def test_no_room_stands_in_a_circle():
    """Also between the rooms of a room, and between a room and the files beside it."""

    def place(module: str) -> str:
        inside = [r for r in ROOMS_WITH_A_FACE if f"{module}.".startswith(f"{r}.")]
        return inside[0] if inside else module

    edges: dict[str, set[str]] = {place(m): set() for m in FILES}
    for module in FILES:
        edges[place(module)] |= {place(other) for other in imports_of(module)}
    # A package's `__init__` that loads names late points at its own files and is no room here.
    assert circles({node: others - {node} for node, others in edges.items()}) == []


@pytest.mark.parametrize("room", ROOMS_WITH_A_FACE)
def test_outsiders_use_the_face_of_a_room(room):
    for module in FILES:
        if f"{module}.".startswith(f"{room}."):
            continue
        past = {n for n in imports_of(module) if n.startswith(f"{room}.")} - OPENED_BY_NAME
        assert not past, f"{module} imports {sorted(past)}: import from altgrad.{room}"


@pytest.mark.parametrize("folder", sorted({p.parent for p in FILES.values()}), ids=lambda p: p.name)
def test_a_room_is_small_and_says_what_it_is_for(folder):
    files = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
    assert len(files) <= MOST_FILES, f"{folder.name}/ has {len(files)} files"
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert docstring, f"{folder.name}/__init__.py does not say what the room is for"


def test_only_composing_knows_hydra():
    for module, path in FILES.items():
        nodes = list(ast.walk(ast.parse(path.read_text())))
        roots = {
            a.name.split(".")[0] for n in nodes if isinstance(n, ast.Import) for a in n.names
        } | {(n.module or "").split(".")[0] for n in nodes if isinstance(n, ast.ImportFrom)}
        assert not roots & {"hydra", "omegaconf"} or module == "compose", module
