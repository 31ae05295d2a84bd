"""Put one unit of a learner's file into the reference, and nothing else that could go wrong.

The result is a namespace of the reference's classes and functions in which that single unit is the
learner's, so that a mistake shows where it was made. The learner's imports, helpers and extra
methods come along, and what a method reads from an `__init__` of the learner's own; tracebacks
point into the learner's own file. Functions under `torch.compile` run as they are written:
compiling takes seconds, and what is judged is the arithmetic.
"""

import ast
import contextlib
import copy
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

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


def load_file(source: str | ast.Module, path: Path) -> Namespace:
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
    with compiled_functions_as_written():
        exec(code, module.__dict__)
    return module.__dict__


def _run(nodes: list[ast.stmt], namespace: Namespace, path: Path) -> None:
    module = ast.Module(body=nodes, type_ignores=[])
    with compiled_functions_as_written():
        exec(compile(module, str(path), "exec"), namespace)


@contextmanager
def compiled_functions_as_written() -> Iterator[None]:
    """`@torch.compile`, with arguments or without, leaves a function as it is."""
    own = torch.compile

    def as_written(model: Any = None, **settings: Any) -> Any:
        return (lambda function: function) if model is None else model

    torch.compile = as_written
    try:
        yield
    finally:
        torch.compile = own


def _is_helper(node: ast.stmt) -> bool:
    """Statements of a learner's file that units may need; scripts at its end are left out."""
    kinds = (
        ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
    )
    blocks = ast.If | ast.Try | ast.With
    return isinstance(node, kinds | blocks) and not _is_script(node)


def _is_script(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


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
    if method_name != "__init__":
        _bring_attributes(namespace, theirs, node, path)


def _bring_attributes(namespace: Namespace, theirs: type, node: ast.ClassDef, path: Path) -> None:
    """What the learner's `__init__` keeps on self and the reference's does not: masks, scales.

    The reference's `__init__` runs; then the learner's makes an object of its own, from which what
    is missing is taken over. Where the learner's cannot run, nothing is: it is judged elsewhere.
    """
    own = next((n for n in _methods(node) if n.name == "__init__"), None)
    if own is None or not _reads(node, _kept(own) - _kept_by(theirs)):
        return
    wanted = copy.copy(node)
    wanted.body, wanted.decorator_list = [own], []
    scratch = dict(namespace)
    _run([wanted], scratch, path)
    born, ours = vars(theirs)["__init__"], vars(scratch[node.name])["__init__"]
    _bind_super(ours, scratch[node.name], theirs)

    def both(self: Any, *args: Any, **kwargs: Any) -> None:
        born(self, *args, **kwargs)
        other: Any = object.__new__(theirs)
        with contextlib.suppress(Exception):
            ours(other, *args, **kwargs)
            _take_over(self, other)

    theirs.__init__ = both  # type: ignore[misc]


def _methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [n for n in node.body if isinstance(n, ast.FunctionDef)]


def _kept(function: ast.AST) -> set[str]:
    """Names that a function keeps on self, by assignment or as a buffer."""
    names = {
        n.attr
        for n in ast.walk(function)
        if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and _is_self(n.value)
    }
    for call in (n for n in ast.walk(function) if isinstance(n, ast.Call)):
        named = call.args and isinstance(call.args[0], ast.Constant)
        if named and isinstance(call.func, ast.Attribute) and _is_self(call.func.value):
            names.add(str(call.args[0].value))  # type: ignore[attr-defined]
    return names


def _kept_by(kind: type) -> set[str]:
    """The same of a class of the reference, by the names that its code uses."""
    code = vars(kind)["__init__"].__code__
    return {*code.co_names, *(c for c in code.co_consts if isinstance(c, str))}


def _reads(node: ast.ClassDef, names: set[str]) -> bool:
    """Does a method other than `__init__` use one of them?"""
    methods = [m for m in _methods(node) if m.name != "__init__"]
    read = {
        n.attr
        for m in methods
        for n in ast.walk(m)
        if isinstance(n, ast.Attribute) and _is_self(n.value)
    }
    return bool(names & read)


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _take_over(self: Any, other: Any) -> None:
    for store in ("_parameters", "_buffers", "_modules"):
        mine = self.__dict__.get(store, {})
        for name, value in other.__dict__.get(store, {}).items():
            if not hasattr(self, name):
                mine[name] = value
    unsaved = other.__dict__.get("_non_persistent_buffers_set", set())
    self.__dict__.setdefault("_non_persistent_buffers_set", set()).update(unsaved)
    for name, value in other.__dict__.items():
        if not hasattr(self, name):
            self.__dict__[name] = value


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
