"""Put one unit of a learner's file into the reference, and nothing else that could go wrong.

The result is a namespace of the reference's classes and functions in which that single unit is the
learner's, so that a mistake shows where it was made. The learner's imports, helpers and extra
methods come along; tracebacks point into the learner's own file.
"""

import ast
import copy
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

from altgrad.learn.source import find_units

Namespace = dict[str, Any]


class UnitMissing(Exception):
    """The file has no such function or class any more."""


def load_reference(path: Path) -> Namespace:
    """A fresh namespace with everything the reference file defines."""
    return _execute(_compiled(path), path)


@cache
def _compiled(path: Path) -> types.CodeType:
    return compile(path.read_text(), str(path), "exec")


@cache
def _owners(reference: Path) -> set[str]:
    """Names at the top of the reference that are units or hold some."""
    units = find_units(ast.parse(reference.read_text()))
    return {name.partition(".")[0] for name in units}


def load_file(source: str, path: Path) -> Namespace:
    """A namespace with the whole of a learner's file, run as it stands."""
    return _execute(compile(source, str(path), "exec"), path)


def transplant(reference: Path, source: str, path: Path, unit: str) -> Namespace:
    """The reference with `unit` as `source` has it.

    Raises SyntaxError for a file that does not parse, UnitMissing where the unit is not in it, and
    whatever the file's own imports and helpers raise.
    """
    tree = ast.parse(source, filename=str(path))
    if unit not in find_units(tree):
        raise UnitMissing(unit)
    namespace = load_reference(reference)
    owner, _, _ = unit.partition(".")
    owners = _owners(reference)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in owners:
            if node.name == owner:
                _graft_class(namespace, node, unit, path)
        elif isinstance(node, ast.FunctionDef) and node.name in owners:
            if node.name == unit:
                _run([node], namespace, path)
        elif _is_helper(node):
            _run([node], namespace, path)
    return namespace


def _execute(code: types.CodeType, path: Path) -> Namespace:
    namespace: Namespace = {"__name__": f"learn_{path.stem}", "__file__": str(path)}
    module = types.ModuleType(namespace["__name__"])
    module.__dict__.update(namespace)
    # Dataclasses look their module up by name.
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    return module.__dict__


def _run(nodes: list[ast.stmt], namespace: Namespace, path: Path) -> None:
    module = ast.Module(body=nodes, type_ignores=[])
    exec(compile(module, str(path), "exec"), namespace)


def _is_helper(node: ast.stmt) -> bool:
    """Statements of a learner's file that units may need; scripts at its end are left out."""
    kinds = (
        ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
    )
    return isinstance(node, kinds)


def _graft_class(namespace: Namespace, node: ast.ClassDef, unit: str, path: Path) -> None:
    """Give the reference's class the unit and the extra methods of the learner's class."""
    _, _, method_name = unit.partition(".")
    if not method_name:  # the class is the unit: its fields
        _run([node], namespace, path)
        return
    theirs = namespace[node.name]
    known = set(vars(theirs))
    wanted = copy.copy(node)
    wanted.body = [n for n in node.body if _comes_along(n, method_name, known)]
    scratch = dict(namespace)
    wanted.decorator_list = []
    # Compile inside a class of the same name, then move the functions over.
    _run([wanted], namespace, path)
    ours = namespace[node.name]
    namespace[node.name] = scratch[node.name]
    for name, value in vars(ours).items():
        if name in ("__dict__", "__weakref__", "__module__", "__doc__", "__qualname__"):
            continue
        _bind_super(value, ours, theirs)
        setattr(theirs, name, value)


def _comes_along(node: ast.stmt, method_name: str, known: set[str]) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name == method_name or node.name not in known
    return isinstance(node, ast.Assign | ast.AnnAssign)


def _bind_super(value: Any, ours: type, theirs: type) -> None:
    """Make `super()` in a moved method mean the class it was moved to."""
    function = getattr(value, "__wrapped__", getattr(value, "__func__", value))
    while function is not None:
        for cell in getattr(function, "__closure__", None) or ():
            if cell.cell_contents is ours:
                cell.cell_contents = theirs
        function = getattr(function, "__wrapped__", None)
