"""A tracker of your own. As it stands it writes a line a step: change what is marked.

    altgrad verify 'tracker.names=[mine:Tracker]'
    altgrad train 'tracker.names=[mine:Tracker]'

Contract (made, called and closed in a thread of its own; it may be slow, raise or hang)
    __init__(run)   run: folder, run_id, config (nested settings), settings (`tracker.*`), known_id
                    (under which this tracker has had the run before, or None), resumed_at
    id              under which a resumed run finds itself again
    log(step, metrics)   metrics: {name: number}, only those of this step
    alert(step, title, text, level), artifact(alias, path), close(status)
"""

from pathlib import Path

from altgrad.training.trackers import Metrics, TrackedRun


class Tracker:
    def __init__(self, run: TrackedRun) -> None:
        self.id = run.known_id or run.run_id
        self.file = (run.folder / "mine.log").open("a", encoding="utf-8")

    def log(self, step: int, metrics: Metrics) -> None:
        # Yours begins here.
        self.file.write(f"{step} {metrics.get('loss')}\n")
        # Yours ends here.

    def alert(self, step: int, title: str, text: str, level: str) -> None:
        self.file.write(f"{step} {level}: {title}: {text}\n")

    def artifact(self, alias: str, path: Path) -> None:
        self.file.write(f"checkpoint {alias}: {path}\n")

    def close(self, status: str) -> None:
        self.file.write(f"{status}\n")
        self.file.close()
