"""Weights & Biases. Without an account it writes offline runs, which `wandb sync` uploads later."""

import os
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from altgrad.runs import Metrics
from altgrad.training.trackers.protocol import GoneError, TrackedRun, require_installed

GONE = "does not exist"
"""In the message with which `resume="must"` refuses an id (wandb-core 0.31)."""

NO_WAIT_S = 0.001
"""The run keeps the silence of `guards.*_cooldown_s` itself, by name; to wandb 0 is a minute."""

LEVELS = {"critical": "ERROR", "warning": "WARN"}


class WandbTracker:
    """One wandb run; alerts through `run.alert`, steps and names as in `metrics.jsonl`.

    We keep the run's id ourselves, in the run folder and in every checkpoint: offline,
    `resume="must"` checks nothing.

    Raises:
        GoneError: the run to be continued is gone, and `tracker.if_gone` is not `new`.
    """

    def __init__(self, run: TrackedRun) -> None:
        require_installed("wandb")
        self.mode = pick_mode(run.settings.mode)
        try:
            self.run = self._open(run)
        except Exception as error:
            if run.known_id is None or GONE not in str(error):
                raise
            if run.settings.if_gone != "new":
                raise GoneError(f"wandb run {run.known_id} is gone") from error
            self.run = self._open(replace(run, known_id=None, run_id=uuid.uuid4().hex[:12]))
        self.id: str = self.run.id

    def _open(self, run: TrackedRun) -> Any:
        import wandb

        return wandb.init(
            project=run.settings.project,
            name=run.name,
            id=run.known_id or run.run_id,
            resume="must" if run.known_id else "allow",
            config=run.config,
            dir=str(run.folder),
            mode=cast(Any, self.mode),
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )

    def log(self, step: int, metrics: Metrics) -> None:
        self.run.log(metrics, step=step)

    def alert(self, step: int, title: str, text: str, level: str) -> None:
        import wandb

        self.run.alert(
            title=title,
            text=f"step {step}: {text}",
            level=cast(Any, wandb).AlertLevel[LEVELS.get(level, "INFO")],
            wait_duration=NO_WAIT_S,
        )

    def artifact(self, alias: str, path: Path) -> None:
        import wandb

        artifact = wandb.Artifact(f"checkpoint-{self.id}", type="model")
        artifact.add_dir(str(path))
        self.run.log_artifact(artifact, aliases=[alias])

    def close(self, status: str) -> None:
        self.run.summary["status"] = status
        self.run.finish(exit_code=0 if status in ("finished", "interrupted") else 1)


def pick_mode(wish: str) -> str:
    """`auto` follows `WANDB_MODE`, else is online where there is a key, offline elsewhere."""
    if wish != "auto":
        return wish
    return os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")


def _has_key() -> bool:
    import netrc

    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
