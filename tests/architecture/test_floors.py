"""Imports point down only: never up, sideways on a floor, in a circle, or past a room's face."""

import ast
import importlib

import pytest

from tests.architecture.imports import (
    FILES,
    FLOOR,
    OPENED_BY_NAME,
    ROOMS_WITH_A_FACE,
    circles,
    imports_of,
    place,
)

MOST_FILES = 26


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


@pytest.mark.parametrize("module", FILES, ids=lambda m: m or "altgrad")
def test_all_names_what_is_there(module):
    if "__all__" in FILES[module].read_text():
        loaded = importlib.import_module(f"altgrad.{module}".rstrip("."))
        missing = [name for name in loaded.__all__ if not hasattr(loaded, name)]
        assert not missing, f"{module}.__all__ names {missing}"


def test_only_composing_knows_hydra():
    found = set()
    for module, path in FILES.items():
        nodes = list(ast.walk(ast.parse(path.read_text())))
        roots = {
            a.name.split(".")[0] for n in nodes if isinstance(n, ast.Import) for a in n.names
        } | {(n.module or "").split(".")[0] for n in nodes if isinstance(n, ast.ImportFrom)}
        found |= {module} if roots & {"hydra", "omegaconf"} else set()
    assert found == {"compose"}
