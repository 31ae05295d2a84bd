"""Text that comes from a file (a run's name, an event, a sample), before a terminal gets it."""

import re

CONTROLS = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)"
)
"""Whatever moves a cursor, changes a terminal, turns the direction of writing or has no bytes."""


def printable(text: object) -> str:
    """`text` with control characters spelled out (`\\x1b`); line breaks and tabs stay."""
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], str(text))
