"""What may stop a run, or warn about it.

`guards` judges a step before the optimiser moves, `watches` looks at the metrics after it and says
what is new, `fallback` changes the number format in an emergency, `interrupt` turns signals into
requests to save or stop, `faults` puts faults into a run on purpose, to see the others work.
"""

from altgrad.training.health.fallback import Emergency
from altgrad.training.health.faults import FaultConfig
from altgrad.training.health.guards import CRITICAL, Finding, GuardConfig, NonFiniteGuard
from altgrad.training.health.interrupt import StopSignal
from altgrad.training.health.watches import Health

__all__ = [
    "CRITICAL",
    "Emergency",
    "FaultConfig",
    "Finding",
    "GuardConfig",
    "Health",
    "NonFiniteGuard",
    "StopSignal",
]
