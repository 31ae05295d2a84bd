"""Metrics of runs by name or pattern: picked, put into one table, written for other programs."""

import csv
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TextIO

from altgrad.runs.folder import RunFolder
from altgrad.runs.lines import read_metrics
from altgrad.settings import nearest

FIRST = ("run", "step")
PARQUET = ".parquet"


def metric_names(runs: Iterable[Path]) -> list[str]:
    """Every metric that one of the runs has logged, in the order of their first lines."""
    lines = (line for run in runs for line in read_metrics(RunFolder(run).metrics))
    return list(dict.fromkeys(name for line in lines for name in line if name != "step"))


def pick(patterns: Iterable[str], names: Sequence[str]) -> list[str]:
    """The names that are, or fit, one of the patterns: `val_loss`, `grad_norm_l2/*`, `*/mean`.

    Raises:
        ValueError: a pattern that no name fits, with the nearest one.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        fitting = [n for n in names if n == pattern or fnmatchcase(n, pattern)]
        if not fitting:
            groups = dict.fromkeys(name.partition("/")[0] for name in names)
            raise ValueError(
                f"no metric {pattern!r} in these runs.{nearest(pattern, names)} "
                f"There are {', '.join(groups)}; a pattern such as 'grad_norm_l2/*' takes several."
            )
        found |= dict.fromkeys(fitting)
    return list(found)


def rows_of(runs: Iterable[Path], names: Sequence[str]) -> Iterable[dict[str, Any]]:
    """A row for each line in which a run has logged one of the metrics."""
    for run in runs:
        for line in read_metrics(RunFolder(run).metrics):
            values = {name: line[name] for name in names if name in line}
            if values:
                yield {"run": run.name, "step": line["step"], **values}


def write_csv(runs: Sequence[Path], names: Sequence[str], file: TextIO) -> None:
    """A row a step of each run, a column a metric; what was not logged is empty."""
    writer = csv.DictWriter(file, [*FIRST, *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows_of(runs, names))


def write_parquet(runs: Sequence[Path], names: Sequence[str], path: Path) -> None:
    """The same as a Parquet file (needs `altgrad[hf]`)."""
    import pyarrow
    from pyarrow.parquet import write_table

    kinds = {"run": pyarrow.string(), "step": pyarrow.int64()}
    schema = pyarrow.schema([(n, kinds.get(n, pyarrow.float64())) for n in [*FIRST, *names]])
    write_table(pyarrow.Table.from_pylist(list(rows_of(runs, names)), schema=schema), path)
