"""How many cases were compared with outside oracles: counted by the tests, summed after the run.

A test that asks for `bit_equal` notes each comparison in its report; reports travel from xdist's
workers by themselves. Only tests that passed count.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

PROPERTY = "compared bit for bit"


def totals(reports: Iterable[Any]) -> Counter:
    """(oracle, what was compared) -> cases."""
    found: Counter = Counter()
    for report in reports:
        for name, value in report.user_properties:
            if name == PROPERTY:
                oracle, what, cases = value
                found[oracle, what] += cases
    return found


def lines(found: Counter) -> Iterator[str]:
    """A Markdown table, and under it one line with the sum."""
    yield "| oracle | compared | cases, all equal |"
    yield "| --- | --- | ---: |"
    for (oracle, what), cases in sorted(found.items()):
        yield f"| {oracle} | {what} | {cases:,} |"
    oracles = ", ".join(sorted({oracle for oracle, _ in found}))
    yield f"{found.total():,} cases compared bit for bit against {oracles}"
