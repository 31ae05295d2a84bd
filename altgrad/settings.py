"""Plain dicts into config dataclasses, strictly: the one place that says no to a setting.

A config is a dataclass of ints, floats, bools, strings, lists and further dataclasses.
`from_dict` builds one from nested dicts; `setting_names` lists every full name (`model.n_layer`);
`field_docs` gives the string that stands under each field.
Everything unknown or of the wrong type is refused in one line with the nearest match.
"""

import ast
import dataclasses
import difflib
import inspect
import math
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from altgrad.synonyms import meant

T = TypeVar("T")

READ = "read"
"""Key of a field's metadata: `read(value, name)` makes the field's type of other ways to write
it, before the type is looked at. Raises ValueError."""


class ConfigError(ValueError):
    """A setting that cannot be honoured. The message is one line: value, allowed set, cure."""


def closest(word: str, allowed: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The allowed word most like `word`, if one is like it (difflib's ratio, 0 to 1)."""
    return next(iter(difflib.get_close_matches(word, list(allowed), n=1, cutoff=cutoff)), None)


def nearest(word: str, allowed: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest allowed word, or an empty string; what other programs
    call a setting (`d_model`) is known."""
    allowed = list(allowed)
    name, remark = meant(word)
    for known in (name, name.rpartition(".")[2]):
        if known in allowed:
            return f" Did you mean {known!r}?{remark}"
    close = closest(word, allowed)
    if close is None and "." not in word:
        leaves = {name.rsplit(".", 1)[-1]: name for name in reversed(allowed)}
        close = leaves.get(closest(word, leaves, 0.6) or "")
    return f" Did you mean {close!r}?" if close else ""


def check_name(setting: str, name: str, allowed: Iterable[str], *, outside: bool = False) -> None:
    """Refuse a name that is in no table, with the set and the nearest match.

    Args:
        setting: its full name, for the message.
        outside: whether `package.module:Class` would do, too.

    Raises:
        ValueError: `name` is not in `allowed`.
    """
    if name in (allowed := list(allowed)):
        return
    near = closest(str(name), allowed)
    own = ", or package.module:Class for your own" if outside else ""
    hint = f"; did you mean {near!r}?" if near else ""
    raise ValueError(f"{setting}={name!r} is not one of {', '.join(allowed)}{own}{hint}")


def refuse_unknown(key: str, allowed: Iterable[str], what: str = "setting") -> None:
    """Raise `ConfigError` if `key` is not allowed."""
    allowed = list(allowed)
    if key not in allowed:
        hint = nearest(key, allowed)
        listed = "" if hint and len(allowed) > 40 else f" Allowed: {', '.join(sorted(allowed))}."
        raise ConfigError(f"unknown {what} {key!r}.{hint}{listed}")


def setting_names(config_class: type, prefix: str = "") -> list[str]:
    """Full dotted names of all leaf settings of a config dataclass."""
    names = []
    for name, kind in hints(config_class).items():
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            names += setting_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def kind_of(config_class: type, name: str) -> Any:
    """The declared type of a full name; `Any` inside a mapping, and for a whole group its class."""
    kind: Any = config_class
    for part in name.split("."):
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            return Any
        kind = hints(kind).get(part, Any)
    return kind


def field_docs(config_class: type, prefix: str = "") -> dict[str, str]:
    """Full dotted name, of groups too, -> the string under the field, on one line.

    Read from the source: Python forgets a string that stands alone. A field without one is absent.
    """
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(config_class))).body
    assert isinstance(tree, ast.ClassDef)
    under = {
        field.target.id: " ".join(ast.literal_eval(text.value).split())
        for field, text in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
    found: dict[str, str] = {}
    for name, kind in hints(config_class).items():
        found |= {prefix + name: under[name]} if name in under else {}
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            found |= field_docs(kind, f"{prefix}{name}.")
    return found


def hints(config_class: type) -> Mapping[str, Any]:
    """Field name -> resolved type, in field order."""
    return _hints(config_class)


@cache  # a plan of many runs asks for every field of each
def _hints(config_class: Any) -> Mapping[str, Any]:
    resolved = typing.get_type_hints(config_class)
    kinds = {f.name: resolved[f.name] for f in dataclasses.fields(config_class)}
    return types.MappingProxyType(kinds)


def from_dict(config_class: type[T], values: dict[str, Any], prefix: str = "") -> T:
    """Build `config_class` from a nested dict; missing keys take the dataclass' defaults.

    Raises:
        ConfigError: unknown key or wrong type, with the full name of the setting.
    """
    kinds = hints(config_class)
    for key in values:
        if key not in kinds:
            everything = [prefix + name for name in setting_names(config_class)]
            refuse_unknown(prefix + key, everything)
    built = {
        key: coerce_field(config_class, key, value, prefix + key) for key, value in values.items()
    }
    return config_class(**built)


def coerce_field(config_class: type, key: str, value: Any, name: str) -> Any:
    """`value` as the type of the field `key`, by the field's own reader where it has one.

    Raises:
        ConfigError: naming the setting, the value and the type wanted.
    """
    field = next(f for f in dataclasses.fields(config_class) if f.name == key)
    value = field.metadata[READ](value, name) if READ in field.metadata else value
    return coerce(value, hints(config_class)[key], name)


def coerce(value: Any, kind: Any, name: str) -> Any:
    """`value` as `kind`, if it is one; an int is also a float, 3.0 is also an int.

    Raises:
        ConfigError: naming the setting, the value and the type wanted.
    """
    if kind is Any:
        return value
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return _coerce_union(value, kind, name)
    if dataclasses.is_dataclass(kind):
        return _coerce_dataclass(value, kind, name)
    if typing.get_origin(kind) is list:
        return _coerce_list(value, kind, name)
    if typing.get_origin(kind) is dict:
        return _coerce_dict(value, kind, name)
    return _coerce_scalar(value, kind, name)


def _coerce_union(value: Any, kind: Any, name: str) -> Any:
    options = typing.get_args(kind)
    if value is None and type(None) in options:
        return None
    errors = []
    for option in (o for o in options if o is not type(None)):
        try:
            return coerce(value, option, name)
        except ConfigError as error:
            errors.append(error)
    also = " or null" if type(None) in options else ""
    raise ConfigError(str(errors[0]).removesuffix(".") + also + ".")


def _coerce_dataclass(value: Any, kind: Any, name: str) -> Any:
    if isinstance(value, kind):
        return value
    if isinstance(value, dict):
        return from_dict(kind, value, f"{name}.")
    first = next(iter(hints(kind)))
    raise ConfigError(f"{name}={value!r} is a group of settings; write {name}.{first}=…")


def _coerce_list(value: Any, kind: Any, name: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{name}={value!r} must be a list, such as {name}=[…].")
    (item,) = typing.get_args(kind) or (Any,)
    return [coerce(v, item, f"{name}[{i}]") for i, v in enumerate(value)]


def _coerce_dict(value: Any, kind: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{name}={value!r} must be a mapping, such as {name}={{key: value}}.")
    item = (typing.get_args(kind) or (str, Any))[1]
    return {str(k): coerce(v, item, f"{name}.{k}") for k, v in value.items()}


def _coerce_scalar(value: Any, kind: type, name: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is str and isinstance(value, float) and not math.isfinite(value):
        return str(value)  # the words `inf` and `nan`, which YAML and Hydra read as numbers
    if isinstance(value, kind) and not (kind in (int, float) and isinstance(value, bool)):
        return value
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    raise ConfigError(f"{name}={value!r} must be {wanted.get(kind, kind.__name__)}.")


def get_setting(config: Any, name: str) -> Any:
    """The value of a full dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError(message)` unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def require_choice(value: str, allowed: Iterable[str], name: str) -> None:
    """Refuse a value outside its allowed set, with the nearest match."""
    allowed = list(allowed)
    if value not in allowed:
        hint = nearest(str(value), allowed)
        raise ConfigError(f"{name}={value!r} is not known.{hint} Allowed: {', '.join(allowed)}.")
