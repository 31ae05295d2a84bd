"""What a user can get wrong about data, as one exception that names the cure."""

from collections.abc import Iterable

from altgrad.settings import closest


class DataError(ValueError):
    """A file, corpus or tokenizer that cannot be used, and what to do about it."""


class UnknownCharacters(DataError):
    """A text has characters that the run's tokenizer lacks; the cure is whoever knows the run's."""


def refuse_unknown(name: str, allowed: Iterable[str], *, what: str) -> DataError:
    """The error for a name that is in no table: the value, the nearest match, the allowed set."""
    names = sorted(allowed)
    near = closest(name, names)
    hint = f" (did you mean {near!r}?)" if near else ""
    return DataError(f"unknown {what} {name!r}{hint}; allowed: {', '.join(names)}")
