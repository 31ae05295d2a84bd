"""`metrics.jsonl`: always on, one line a step, written at once, so that nothing logged is lost."""

from altgrad.runs import LineLog, Record, RunFolder, json_line, record_of


class JsonlTracker:
    """Lines that the disk refuses wait in memory and are written, in order, when it takes them."""

    def __init__(self, folder: RunFolder) -> None:
        self.lines = LineLog(folder.metrics)
        self.record = Record()

    def take_up(self) -> None:
        """Go on behind what the file holds."""
        self.record = record_of(self.lines.path)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        line = json_line({"step": step, **metrics}).encode()
        self.record.add(line, step)
        self.lines.append_line(line)

    def sync(self) -> None:
        self.lines.sync()

    def close(self, status: str) -> None:
        self.lines.close()
