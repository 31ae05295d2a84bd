"""How weights move: parameter groups, optimisers, schedules, clipping and weight averaging."""

from altgrad.optim.build import OPTIMIZERS, build_optimizer, change_storage
from altgrad.optim.clip import clip_gradients
from altgrad.optim.config import OptimConfig
from altgrad.optim.ema import WeightAverage
from altgrad.optim.grid import Grid, Storage, TableGrid
from altgrad.optim.groups import ROLES, parameter_groups, parameter_roles
from altgrad.optim.schedules import SCHEDULES, ScheduleConfig, build_schedule

__all__ = [
    "OPTIMIZERS",
    "ROLES",
    "SCHEDULES",
    "Grid",
    "OptimConfig",
    "ScheduleConfig",
    "Storage",
    "TableGrid",
    "WeightAverage",
    "build_optimizer",
    "build_schedule",
    "change_storage",
    "clip_gradients",
    "parameter_groups",
    "parameter_roles",
]
