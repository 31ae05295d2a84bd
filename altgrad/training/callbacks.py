"""A door for those who know trackers as callbacks: `callbacks.WandbTracker` and its siblings."""

from altgrad.training.trackers import TrackedRun, TrackerConfig
from altgrad.training.trackers.tensorboard import TensorboardTracker
from altgrad.training.trackers.trackio import TrackioTracker
from altgrad.training.trackers.wandb import WandbTracker

__all__ = ["TensorboardTracker", "TrackedRun", "TrackerConfig", "TrackioTracker", "WandbTracker"]
