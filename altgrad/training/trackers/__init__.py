"""Where a run's numbers go beside its folder; a file a tracker.

`protocol` says what a tracker is and which names there are, `all` writes to every one that was
asked for, `in_thread` keeps a slow or broken one from holding up the run. `wandb`, `tensorboard`
and `trackio` load their library when they are made.
"""

from altgrad.runs import Metrics
from altgrad.training.trackers.all import TrackerSet
from altgrad.training.trackers.jsonl import JsonlTracker
from altgrad.training.trackers.protocol import TRACKERS, TrackedRun, TrackerConfig

__all__ = [
    "TRACKERS",
    "JsonlTracker",
    "Metrics",
    "TrackedRun",
    "TrackerConfig",
    "TrackerSet",
]
