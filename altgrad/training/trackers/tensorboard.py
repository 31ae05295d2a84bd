"""TensorBoard: event files in `tensorboard/` of the run folder."""

from pathlib import Path

from altgrad.runs import Metrics
from altgrad.training.trackers.protocol import TrackedRun, require_installed


class TensorboardTracker:
    """One writer; a resumed run hides the steps that will be written again (`purge_step`)."""

    def __init__(self, run: TrackedRun) -> None:
        require_installed("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        purge = None if run.resumed_at is None else run.resumed_at + 1
        self.writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=purge)
        self.id = run.run_id
        if run.resumed_at is None:
            self.writer.add_text("config", f"    {run.config}", 0)

    def log(self, step: int, metrics: Metrics) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def alert(self, step: int, title: str, text: str, level: str) -> None:
        self.writer.add_text(f"alerts/{level}", f"{title}: {text}", step)

    def artifact(self, alias: str, path: Path) -> None:
        self.writer.add_text(f"checkpoints/{alias}", str(path))

    def close(self, status: str) -> None:
        self.writer.add_text("status", status)
        self.writer.close()
