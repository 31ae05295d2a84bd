"""Changes that cannot stand, or be taken out, one by one: found by trying, never by a list."""

from collections.abc import Callable, Iterable, Sequence

Works = Callable[[Sequence[str]], bool]
"""Whether the rest can be run with these changes moved (taken out, or made)."""


def moved_together(one: str, others: Iterable[str], works: Works) -> list[str] | None:
    """`one`, and those of the others without which it cannot be moved; None: not even with all.

    The smallest group that is found by trying a single other change first, then more and more of
    them, and leaving out again whichever is not needed.
    """
    group = [one]
    for more in [None, *others]:
        if more is not None:
            group = [one, more] if works([one, more]) else [*group, more]
        if works(group):
            return _needed(one, group, works)
    return None


def _needed(one: str, group: list[str], works: Works) -> list[str]:
    for name in [n for n in group if n != one]:
        rest = [n for n in group if n != name]
        group = rest if works(rest) else group
    return group


def units(groups: Iterable[Sequence[str]], order: Sequence[str]) -> list[list[str]]:
    """Changes that share a group are one unit, as are units that share a change; in `order`."""
    unit_of = {name: {name} for name in order}
    for group in groups:
        joined = set().union(*(unit_of[name] for name in group))
        unit_of |= dict.fromkeys(joined, joined)
    return [
        [n for n in order if n in unit_of[name]]
        for name in order
        if name == next(n for n in order if n in unit_of[name])
    ]
