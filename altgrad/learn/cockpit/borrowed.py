"""A learner's file run before it is finished: what is still to be written is the reference's.

Only so that the rest can be looked at while it runs; nothing of it is shown.
"""

import ast
import inspect
from pathlib import Path
from typing import Any

from altgrad.learn.source import find_units, is_todo
from altgrad.learn.track import Track
from altgrad.learn.transplant import load_file


def load_with_borrowed(track: Track, path: Path) -> tuple[dict[str, Any], list[str]]:
    """The file's namespace, and the units whose bodies were borrowed.

    Raises whatever the file raises when it is run. The learner's lines keep their numbers, and the
    borrowed ones say in a traceback that they are not in that file.
    """
    tree = ast.parse(path.read_text(), filename=str(path))
    theirs = find_units(ast.parse(track.source))
    borrowed = []
    for name, unit in find_units(tree).items():
        if name in track.lessons and is_todo(unit):
            unit.body = theirs[name].body
            borrowed.append(name)
    namespace = load_file(tree, path)
    for name in borrowed:
        _say_whose(namespace, name, str(track.path))
    return namespace, borrowed


def _say_whose(namespace: dict[str, Any], unit: str, file: str) -> None:
    owner, _, method = unit.partition(".")
    found = vars(namespace[owner])[method] if method else namespace[owner]
    function = inspect.unwrap(found) if callable(found) else None
    if inspect.isfunction(function):
        function.__code__ = function.__code__.replace(co_filename=file)


def borrowed_line(borrowed: list[str]) -> list[str]:
    """Says which units are not the learner's own; nothing where all are."""
    shown = ", ".join(borrowed[:4]) + (", …" if len(borrowed) > 4 else "")
    return [f"still to be written, the reference's meanwhile: {shown}"] if borrowed else []
