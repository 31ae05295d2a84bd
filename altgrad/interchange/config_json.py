"""A `config.json` read with care: what is missing or of a wrong kind is refused by name."""

import json
import math
from pathlib import Path
from typing import Any

from altgrad.data import DataError
from altgrad.trust import said_by

LARGEST_SIZE = 2**31 - 1


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises DataError if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, not {_shown(content)}")
    return said_by(path, content)


class Values:
    """The settings of a `config.json`, each asked for with its kind; `family` is for messages.

    Every method raises DataError for a value of another kind.
    """

    def __init__(self, values: dict[str, Any], family: str, aliases: dict[str, str] | None = None):
        self.family = family
        self.values = dict(values)
        for second, first in (aliases or {}).items():
            self._take_alias(second, first)

    def _take_alias(self, second: str, first: str) -> None:
        """transformers lets a second name stand for the first."""
        value = self.values.pop(second, None)
        if value is not None and self.values.setdefault(first, value) != value:
            raise DataError(f"config.json: {first} and {second}, which mean the same, differ")

    def size(self, name: str) -> int:
        if name not in self.values:
            raise DataError(f"config.json has no {name}, without which this is no {self.family}")
        value = self.values[name]
        return self._checked(name, value, _is_size(value), f"a whole number, 1 … {LARGEST_SIZE:,}")

    def size_or_none(self, name: str) -> int | None:
        return None if self.values.get(name) is None else self.size(name)

    def number(self, name: str, default: float) -> float:
        value = self.values.get(name, default)
        return float(self._checked(name, value, _is_number(value), "a finite number"))

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name, default)
        return self._checked(name, value, isinstance(value, bool), "true or false")

    def table(self, name: str) -> dict[str, Any]:
        value = self.values.get(name)
        value = {} if value is None else value
        return self._checked(name, value, isinstance(value, dict), "a table, or null")

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.values.get(name, default)
        self._refuse(name, value not in allowed, ", ".join(allowed))
        return str(value)

    def only(self, name: str, *allowed: Any) -> None:
        """Refuse values of this setting that our networks do not have; the first is the default."""
        value = self.values.get(name, allowed[0])
        self._refuse(name, value not in allowed, json.dumps(allowed[0]))

    def _refuse(self, name: str, wrong: bool, only: str) -> None:
        if wrong:
            value = _shown(self.values.get(name))
            raise DataError(
                f"{self.family} with {name}={value} cannot be imported: only {only} can"
            )

    def _checked(self, name: str, value: Any, right: bool, kind: str) -> Any:
        if not right:
            raise DataError(f"config.json: {name}={_shown(value)} must be {kind}")
        return value


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_SIZE


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= LARGEST_SIZE
    return type(value) is float and math.isfinite(value)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
