"""Units of a source file: where each one is, the skeleton without them, and putting them back.

A unit is a function (`norm`), a method (`GPT.forward`) or the fields of a dataclass (`GPTConfig`).
Its body is what stands after the docstring and `super().__init__()`: the part a learner writes.
The reference carries no markers; positions come from its syntax tree.
"""

import ast
from dataclasses import dataclass
from functools import lru_cache

Unit = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Span:
    """Lines first..last of a file (counted from 1, both included)."""

    first: int
    last: int


def find_units(tree: ast.Module) -> dict[str, Unit]:
    """Every function, method and field-only class, by name: `norm`, `GPT.forward`, `GPTConfig`."""
    units: dict[str, Unit] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            units[node.name] = node
        elif isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            units |= {f"{node.name}.{method.name}": method for method in methods}
            if not methods:
                units[node.name] = node
    return units


@lru_cache(maxsize=4)
def _units_of(source: str) -> dict[str, Unit]:
    return find_units(ast.parse(source))


def body_span(unit: Unit) -> Span | None:
    """The lines that the learner writes; None where there is nothing but a docstring."""
    statements = [s for s in unit.body if not (_is_docstring(s) or _is_super_init(s))]
    if not statements:
        return None
    return Span(statements[0].lineno, statements[-1].end_lineno or statements[-1].lineno)


def body_text(source: str, name: str) -> str:
    """The source lines of a unit's body, indented as they stand."""
    span = body_span(_units_of(source)[name])
    assert span is not None, name
    return "".join(source.splitlines(keepends=True)[span.first - 1 : span.last])


def unit_text(source: str, name: str) -> str:
    """The whole unit: signature, docstring and body."""
    unit = _units_of(source)[name]
    first = min([unit.lineno, *(d.lineno for d in unit.decorator_list)])
    return "".join(source.splitlines(keepends=True)[first - 1 : unit.end_lineno])


def replace_bodies(source: str, bodies: dict[str, str]) -> str:
    """`source` with the bodies of the named units replaced by the given lines."""
    units = _units_of(source)
    lines = source.splitlines(keepends=True)
    spans = {name: body_span(units[name]) for name in bodies}
    for name in sorted(bodies, key=lambda n: spans[n].first, reverse=True):  # type: ignore[union-attr]
        span = spans[name]
        assert span is not None
        lines[span.first - 1 : span.last] = [bodies[name]]
    return "".join(lines)


def placeholder(unit: Unit, text: str) -> str:
    """What stands in the skeleton instead of a body."""
    span = body_span(unit)
    assert span is not None
    statements = [s for s in unit.body if s.lineno >= span.first]
    indent = " " * statements[0].col_offset
    if isinstance(unit, ast.ClassDef):
        return f"{indent}pass  # TODO: {text}\n"
    return f'{indent}raise NotImplementedError("TODO: {text}")\n'


def skeleton(source: str, todos: dict[str, str]) -> str:
    """The file a learner starts with: every named unit's body replaced by its TODO."""
    units = _units_of(source)
    return replace_bodies(
        source, {name: placeholder(units[name], text) for name, text in todos.items()}
    )


def is_todo_of(source: str, name: str) -> bool:
    """Raises KeyError or SyntaxError where the unit is not in the source."""
    return is_todo(_units_of(source)[name])


def placeholder_of(source: str, name: str, text: str) -> str:
    return placeholder(_units_of(source)[name], text)


def is_todo(unit: Unit) -> bool:
    """Is the body still as the skeleton left it: one `raise NotImplementedError`, or `pass`?"""
    left = [s for s in unit.body if not (_is_docstring(s) or _is_super_init(s))]
    return len(left) == 0 or (len(left) == 1 and (_is_raise(left[0]) or _is_filler(left[0])))


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_filler(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and node.value.value is ...
    )


def _is_super_init(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node) == "super().__init__()"


def _is_raise(node: ast.stmt) -> bool:
    return isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node)
