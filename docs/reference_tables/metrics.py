"""What runs log: a table for each group of the catalogue."""

from functools import partial

from altgrad.runs.metric_catalogue import CATALOGUE, Metric
from reference_tables.markdown import code, prose, table

HEAD = ("name", "unit", "better", "meaning")


def _table(group: str) -> str:
    return table(HEAD, map(_row, CATALOGUE[group]))


def _row(metric: Metric) -> list[str]:
    names = ", ".join(map(code, metric.names.split()))
    return [names, metric.unit, metric.better, prose(metric.meaning)]


BLOCKS = {f"metrics_{group}": partial(_table, group) for group in CATALOGUE}
"""Name of the block -> what computes it."""
