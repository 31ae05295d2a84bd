"""A spreadsheet beside the run: `metrics.csv`, a row a step, a column a metric."""

import csv
from io import StringIO
from pathlib import Path
from typing import Any

from altgrad.runs import Metrics, write_atomically
from altgrad.training.trackers.protocol import TrackedRun

NAME = "metrics.csv"


class CsvTracker:
    """Rows are appended; a metric that was not there before (the first evaluation brings some)
    makes the file anew, with a further column. A resumed run drops the steps it takes again.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.id, self.path = run.known_id or run.run_id, run.folder / NAME
        self.columns, rows = self._read()
        if run.resumed_at is not None and rows:
            self._write([row for row in rows if int(row["step"]) <= run.resumed_at])

    def log(self, step: int, metrics: Metrics) -> None:
        row = {"step": step, **metrics}
        if new := [name for name in row if name not in self.columns]:
            rows = self._read()[1]
            self.columns += new
            self._write([*rows, row])
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)

    def alert(self, step: int, title: str, text: str, level: str) -> None:
        """Alerts are in `events.jsonl`; a table of numbers has no place for them."""

    def artifact(self, alias: str, path: Path) -> None:
        """Checkpoints lie in the same folder."""

    def close(self, status: str) -> None:
        """Every row is written when it comes."""

    def _read(self) -> tuple[list[str], list[dict[str, Any]]]:
        if not self.path.is_file():
            return [], []
        with self.path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        return list(reader.fieldnames or []), rows

    def _write(self, rows: list[dict[str, Any]]) -> None:
        text = StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path, text.getvalue())
