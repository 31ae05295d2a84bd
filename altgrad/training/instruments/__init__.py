"""What is measured at a step, without changing it.

`panel` calls the instruments in order and reads all their numbers from the device at once
(`readout`). An instrument is a file: `gradients`, `shadow`, `lost_updates`, `ranks`,
`dead_neurons`, `rounding_counts`, `code_use`; `config` has the settings that turn them on.
"""

from altgrad.training.instruments.config import DiagnosticsConfig, ShadowConfig, interval
from altgrad.training.instruments.gradients import (
    compute_gradient_stats,
    gradient_cosine_similarity,
)
from altgrad.training.instruments.panel import Numerics
from altgrad.training.instruments.shadow import FP32ShadowModel

__all__ = [
    "DiagnosticsConfig",
    "FP32ShadowModel",
    "Numerics",
    "ShadowConfig",
    "compute_gradient_stats",
    "gradient_cosine_similarity",
    "interval",
]
