"""What is measured at a step, without changing it.

`panel` has the table `INSTRUMENTS`, calls each at the steps at which it is due, and reads all their
numbers from the device at once (`readout`). `instrument` is what one is and what it may look at; a
new one is a file (`gradients`, `dead_neurons`, `rounding_counts`, `shadow`, `ranks`, `code_use`,
`lost_updates`) and a line in the table. `config` has the settings that turn them on.
"""

from altgrad.training.instruments.config import DiagnosticsConfig, ShadowConfig, interval
from altgrad.training.instruments.gradients import (
    compute_gradient_stats,
    gradient_cosine_similarity,
)
from altgrad.training.instruments.instrument import Context, Instrument
from altgrad.training.instruments.own import make_own
from altgrad.training.instruments.panel import INSTRUMENTS, Numerics
from altgrad.training.instruments.readout import join
from altgrad.training.instruments.shadow import FP32ShadowModel

__all__ = [
    "INSTRUMENTS",
    "Context",
    "DiagnosticsConfig",
    "FP32ShadowModel",
    "Instrument",
    "Numerics",
    "ShadowConfig",
    "compute_gradient_stats",
    "gradient_cosine_similarity",
    "interval",
    "join",
    "make_own",
]
