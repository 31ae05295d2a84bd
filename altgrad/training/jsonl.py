"""`metrics.jsonl`: always on, one line a step, written at once, so that nothing logged is lost."""

from altgrad.training.line_log import LineLog
from altgrad.training.run_folder import RunFolder


class JsonlTracker:
    """Lines that the disk refuses wait in memory and are written, in order, when it takes them."""

    def __init__(self, folder: RunFolder) -> None:
        self.lines = LineLog(folder.metrics)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self.lines.append({"step": step, **metrics})

    def sync(self) -> None:
        self.lines.sync()

    def close(self, status: str) -> None:
        self.lines.close()
