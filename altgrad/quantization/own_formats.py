"""A number format of one's own by a mapping, `{exponent: 2, mantissa: 5, bias: 4, inf: false}`.

It becomes the name that means the same (`e2m5b4`), and only names go further: so a run's settings,
an arm's and a report's say it alike, however it was written.
"""

from __future__ import annotations

from typing import Any

from altgrad.quantization.catalogue import usual_split
from altgrad.quantization.formats import SPECIAL_VALUES, Format
from altgrad.settings import nearest

KEYS: dict[str, type] = {
    "exponent": int,
    "mantissa": int,
    "bias": int,
    "inf": bool,
    "nan": bool,
    "specials": str,
    "subnormals": bool,
}
"""Key -> its type. `inf` and `nan` say what the format must have; `specials` names one of
`SPECIAL_VALUES` instead; what is left out is as in `e{exponent}m{mantissa}`."""

WITH_INF = "ieee"
"""The kind of special values of a format that is only said to have an infinity."""


def format_name(value: Any, setting: str = "format") -> Any:
    """The name of the format that a mapping (a dict, or its text) means; anything else unchanged.

    Raises:
        ValueError: unknown key, wrong type, or values that make no format; it names the setting.
    """
    is_text = isinstance(value, str) and value.lstrip().startswith("{")
    given = _read(value, setting) if is_text else value
    if not isinstance(given, dict):
        return value
    _check(given, setting)
    try:
        return Format.named(_spelled(given, setting)).name
    except ValueError as error:
        raise ValueError(f"{setting}={_shown(given)}: {error}") from None


def _read(text: str, setting: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(f"{setting}={text}: write {{exponent: 2, mantissa: 5, bias: 4}}") from None


def _check(given: dict[str, Any], setting: str) -> None:
    for key, value in given.items():
        if key not in KEYS:
            hint = nearest(str(key), KEYS)
            raise ValueError(f"{setting}: unknown key {key!r}.{hint} Allowed: {', '.join(KEYS)}")
        if type(value) is not KEYS[key]:
            words = {int: "a whole number", bool: "true or false", str: "a text"}
            raise ValueError(f"{setting}: {key}={value!r} must be {words[KEYS[key]]}")
    if missing := [key for key in ("exponent", "mantissa") if key not in given]:
        raise ValueError(f"{setting}={_shown(given)}: {' and '.join(missing)} must be said")


def _spelled(given: dict[str, Any], setting: str) -> str:
    usual = Format(**usual_split(given["exponent"], given["mantissa"]))
    special = _specials(given, usual, setting)
    bias = given.get("bias")
    plain = bias is None and special == usual.special_values
    name = usual.name if plain else f"e{given['exponent']}m{given['mantissa']}"
    name += "" if bias is None else f"b{bias}"
    name += "" if special == usual.special_values else f"_{special}"
    return name + ("" if given.get("subnormals", True) else "_flush")


def _specials(given: dict[str, Any], usual: Format, setting: str) -> str:
    inf, nan, named = given.get("inf"), given.get("nan"), given.get("specials")
    if named is not None:
        if inf is not None or nan is not None:
            raise ValueError(f"{setting}: specials={named} says it already; leave out inf and nan")
        if named not in SPECIAL_VALUES:
            raise ValueError(f"{setting}: specials={named}: choose {', '.join(SPECIAL_VALUES)}")
        return str(named)
    if inf and nan is False:
        raise ValueError(f"{setting}: a format with infinity has NaN (inf - inf); leave out nan")
    if inf is not None and inf != usual.has_inf:
        return WITH_INF if inf else "finite" if nan is False else "fnuz"
    if nan is not None and nan != usual.has_nan:
        return "fnuz" if nan else "finite"
    return usual.special_values


def _shown(given: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in given.items()) + "}"
