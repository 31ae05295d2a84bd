"""What is measured at a step, without changing it.

`panel` has the table `INSTRUMENTS`, calls each at the steps at which it is due, and reads all their
numbers from the device at once (`readout`). `instrument` is what one is and what it may look at; a
new one is a file (`gradients`, `dead_neurons`, `rounding_counts`, `shadow`, `ranks`, `code_use`,
`lost_updates`) and a line in the table. `config` has the settings that turn them on.
"""

from importlib import import_module
from typing import Any

from altgrad.training.instruments.config import DiagnosticsConfig, ShadowConfig, interval

_HOME = {
    **dict.fromkeys(("compute_gradient_stats", "gradient_cosine_similarity"), "gradients"),
    **dict.fromkeys(("Context", "Instrument"), "instrument"),
    **dict.fromkeys(("INSTRUMENTS", "Numerics"), "panel"),
    "FP32ShadowModel": "shadow",
    "join": "readout",
    "make_own": "own",
}
"""Name -> its file, which loads when the name is used: settings need none of them."""

__all__ = ["DiagnosticsConfig", "ShadowConfig", "interval", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
