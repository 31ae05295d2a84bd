"""What a run keeps on disk of its state: when, what happens if it cannot, and the last save.

`Saver` knows how to write behind the run's back, `CheckpointManager` which checkpoints stay; the
keeper joins them to one run, its recorder and its processes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from altgrad.runs import FileLock
from altgrad.settings import ConfigError
from altgrad.training.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointManager,
    Saver,
    step_of,
)
from altgrad.training.config import TrainConfig
from altgrad.training.recording.recorder import Recorder

State = dict[str, Any]

MAX_ANOMALIES = 5
"""A run that keeps meeting bad batches must not fill the disk with them."""


class Keeper:
    """Saves one run.

    Args:
        state_of: `state_of(val_loss)` -> what `CheckpointManager.save` takes. Gathers from all
            processes, so every process calls every method here alike.
    """

    def __init__(
        self,
        config: TrainConfig,
        recorder: Recorder,
        fabric: Fabric,
        state_of: Callable[[float], State],
    ) -> None:
        self.recorder, self.fabric, self.state_of = recorder, fabric, state_of
        folder, run = recorder.checkpoint_dir, recorder.run_id
        self.manager = CheckpointManager(folder, config.max_checkpoints, run=run)
        self.anomalies = CheckpointManager(folder / "anomalies", MAX_ANOMALIES, run=run)
        self.saver = Saver(
            self.manager,
            every_steps=config.checkpoint_interval,
            every_minutes=config.checkpoint_minutes,
            background=config.checkpoint_background,
            before_write=recorder.sync,
        )
        self._owner_lock = FileLock(folder / ".lock")
        self._resumed_step: int | None = None

    def claim(self) -> None:
        """Before a session writes anything: the folder of checkpoints is this run's alone.

        Raises:
            ConfigError: another run's checkpoints lie there, or one is being written there.
        """
        if not self.fabric.is_global_zero or self.recorder.checkpoints_inside:
            return
        folder = self.manager.directory
        if others := self.manager.others():
            raise ConfigError(
                f"checkpoint_dir={folder} holds the checkpoints of another run "
                f"({min(others.values())}): name a folder of this run's own, or move those away."
            )
        if not folder.is_dir():
            self.manager.disk.make_folder(folder)
        if not self._owner_lock.take():
            raise ConfigError(
                f"checkpoint_dir={folder}: another run is saving there; name another folder."
            )

    def release(self) -> None:
        self._owner_lock.release()

    def open(self) -> None:
        """At the start of a session: clear what a killed one left, start the clock."""
        if self.fabric.is_global_zero:
            self.manager.tidy()
            if self._resumed_step is not None:
                later = [p for p in self.manager.named() if step_of(p) > self._resumed_step]
                for path in later:
                    self.manager.set_aside(path)
        self._resumed_step = None
        self.saver.restart_clock()

    def resumed(self, saved: Checkpoint) -> None:
        """From here on `saved` is the newest: later ones, damaged or not, are of another future."""
        self.saver.last_step = self._resumed_step = saved.step

    def save(self, val_loss: float) -> None:
        state = self.state_of(val_loss)
        if self.fabric.is_global_zero:
            self.saver.save(state)
        else:
            self.saver.last_step = state["step"]
            self.saver.restart_clock()
        self.fabric.barrier()

    def save_anomaly(self, batch: tuple[Tensor, Tensor], metrics: dict[str, float]) -> None:
        """The state after a bad step, with the batch and the numbers that made it."""
        state = self.state_of(float("inf"))
        state["extra"] |= {"batch_x": batch[0], "batch_y": batch[1], "metrics": metrics}
        if self.fabric.is_global_zero:
            try:
                self.recorder.anomaly(state["step"], self.anomalies.save(**state))
            except OSError as error:
                self.recorder.trouble(state["step"], "saving an anomaly", error)
        self.fabric.barrier()

    def to_upload(self) -> dict[str, Path]:
        """`best` and `latest`, as far as there are such."""
        found = {"best": self.manager.best(), "latest": self.manager.latest()}
        return {alias: path for alias, path in found.items() if path is not None}

    def report(self) -> None:
        """Tell the recorder of saves that have ended; does not wait for one under way."""
        for outcome in self.saver.outcomes():
            self.recorder.saved(outcome)

    def finish(self, step: int) -> None:
        """At the end of a run its last state is on the disk.

        Raises:
            CheckpointError: it could not be saved.
        """
        self.saver.wait()
        self.report()
        if self.fabric.broadcast(self.saver.last_step != step):
            self.save(float("inf"))
            self.saver.wait()
        outcomes = self.saver.outcomes()
        for outcome in outcomes:
            self.recorder.saved(outcome)
        if outcomes and outcomes[-1].error is not None:
            raise self._failure(outcomes[-1].error) from outcomes[-1].error

    def _failure(self, error: OSError) -> CheckpointError:
        newest = self.manager.latest()
        kept = f"the newest checkpoint is {newest.name}" if newest else "there is no checkpoint"
        return CheckpointError(
            f"the last state could not be saved ({error.strerror or error}); {kept}. "
            f"Make room, then resume {self.recorder.folder.root}."
        )

    def rescue(self, step: int, *, whole: bool) -> None:
        """After a failure: save the state if it is `whole` and that is still possible.

        With several processes the others wait elsewhere, so nothing can be gathered.
        """
        try:
            self.saver.wait()
            if whole and step and self.fabric.world_size == 1 and self.saver.last_step != step:
                self.save(float("inf"))
                self.saver.wait()
            self.report()
        except Exception as error:
            self.recorder.trouble(step, "saving after a failure", error)
