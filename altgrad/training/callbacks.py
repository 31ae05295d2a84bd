"""A door for those who know trackers as callbacks: `callbacks.WandbTracker` and its siblings."""

from altgrad.training.tracker_tensorboard import TensorboardTracker
from altgrad.training.tracker_trackio import TrackioTracker
from altgrad.training.tracker_wandb import WandbTracker
from altgrad.training.trackers import TrackedRun, TrackerConfig

__all__ = ["TensorboardTracker", "TrackedRun", "TrackerConfig", "TrackioTracker", "WandbTracker"]
