"""Imports point down only: never up, sideways on the ground floor, or in a circle."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "altgrad"
FLOOR = {
    "trust": -2,
    "outside": -1,
    "model": 0,
    "quantization": 0,
    "optim": 0,
    "data": 0,
    "training": 1,
    "compare": 2,
    "learn": 2,
    "evaluate": 2,
    "interchange": 2,
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """`altgrad/model/gpt.py` -> `model`; a file at the top of the package is its own room."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def imported_modules(path: Path) -> set[str]:
    """Every `altgrad` module a file names in an import, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_of(path).split(".")
                package = package if path.name == "__init__.py" else package[:-1]
                base = ".".join(
                    package[: len(package) - node.level + 1] + base.split(".") * bool(base)
                )
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "altgrad"}


def imported_rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(path) if "." in name} & set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_only(path):
    room = room_of(path)
    if room not in FLOOR:
        return
    for other in imported_rooms(path) - {room}:
        assert FLOOR[other] < FLOOR[room], f"{path.name} in {room}/ imports {other}/"


def top_level_imports(path: Path) -> set[str]:
    """Imports that run when the module is loaded, i.e. outside functions and `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text())
    kept = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = set()
    for node in kept:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
    return names


def test_no_import_circles():
    modules = {module_of(p): p for p in FILES}
    edges = {m: (top_level_imports(p) & set(modules)) - {m} for m, p in modules.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module in done:
            return
        for target in edges[module]:
            visit(target, (*path, module))
        done.add(module)

    for module in modules:
        visit(module, ())


def test_only_composing_knows_hydra():
    for path in FILES:
        names = {
            n
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Import | ast.ImportFrom)
        }
        roots = {a.name.split(".")[0] for n in names if isinstance(n, ast.Import) for a in n.names}
        roots |= {(n.module or "").split(".")[0] for n in names if isinstance(n, ast.ImportFrom)}
        if roots & {"hydra", "omegaconf"}:
            assert path == PACKAGE / "compose.py", f"{path} imports hydra or omegaconf"
