"""All trackers of one run, as the recorder sees them: one call each, and ids that survive."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from altgrad.runs import Metrics
from altgrad.training.trackers.in_thread import Shielded
from altgrad.training.trackers.protocol import TrackedRun, TrackerConfig, tracker_maker

OPENING_S = 120.0


class TrackerSet:
    """Opens, feeds and closes what `tracker.names` asks for.

    A part of the run's state: the ids under which the trackers have the run are in every
    checkpoint.

    Args:
        trouble: told `(what, error)` of every failure, in the caller's thread.
        opened: told `(name, id)` of every tracker that has taken up the run.

    Raises:
        ValueError: a tracker of the person's own cannot be found.
    """

    def __init__(
        self,
        config: TrackerConfig,
        *,
        trouble: Callable[[str, Exception], None],
        opened: Callable[[str, str], None],
    ) -> None:
        self.config, self._trouble, self._opened = config, trouble, opened
        self.ids: dict[str, str] = {}
        # Here, not when they open: what cannot be found is refused before there is a run folder.
        self._makers = {name: tracker_maker(name) for name in config.names if config.project}
        self._shields: list[Shielded] = []

    def open(
        self, folder: Path, run_id: str, settings: dict[str, Any], resumed_at: int | None
    ) -> None:
        """Start the trackers; returns at once, unless a lost run is to be refused.

        Raises:
            ValueError: `tracker.if_gone=refuse`, and a tracked run is gone.
        """
        for name, make in self._makers.items():
            run = TrackedRun(folder, run_id, self.config, settings, self.ids.get(name), resumed_at)
            self._shields.append(Shielded(name, make, run))
        if self.config.if_gone == "refuse" and self.ids:
            self._refuse_gone()

    def _refuse_gone(self) -> None:
        for shield in self._shields:
            shield.wait_opened(OPENING_S)
            if shield.gone:
                raise ValueError(
                    f"{shield.name} no longer has this run ({shield.run.known_id}); resume with "
                    "tracker.if_gone=new or =off and 'resume.allow=[tracker.if_gone]'."
                )

    def log(self, step: int, metrics: Metrics) -> None:
        for shield in self._shields:
            shield.log(step, metrics)
        self._look()

    def alert(self, step: int, title: str, text: str, level: str) -> None:
        for shield in self._shields:
            shield.alert(step, title, text, level)

    def close(self, status: str, checkpoints: dict[str, Path]) -> None:
        """checkpoints: `best` and `latest`, for those that upload them."""
        for shield in self._shields:
            for alias in self.config.artifacts:
                if alias in checkpoints:
                    shield.artifact(alias, checkpoints[alias])
            shield.close(status)
        self._look()
        self._shields.clear()

    def _look(self) -> None:
        """Pass on what the threads had to say."""
        for shield in self._shields:
            if shield.id is not None and self.ids.get(shield.name) != shield.id:
                self.ids[shield.name] = shield.id
                self._opened(shield.name, shield.id)
            for what, error in shield.troubles():
                self._trouble(f"{shield.name}: {what}", error)

    def state_dict(self) -> dict[str, Any]:
        return {"ids": dict(self.ids)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ids = {**state["ids"], **self.ids}
