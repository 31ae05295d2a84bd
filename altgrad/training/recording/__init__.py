"""The run folder as it fills, and the person who watches.

`recorder` writes down what happens, `facts` says what a run is, `costs`, `energy` and `speed`
measure what it takes, `console` shows it in a terminal, `numerics_plots` draws what low precision
did (`operands` takes the tensors it draws).
"""

from altgrad.training.recording.console import Console
from altgrad.training.recording.costs import RunClock
from altgrad.training.recording.facts import data_facts, start_facts
from altgrad.training.recording.recorder import Listener, Recorder
from altgrad.training.recording.speed import SpeedMeter

__all__ = [
    "Console",
    "Listener",
    "Recorder",
    "RunClock",
    "SpeedMeter",
    "data_facts",
    "start_facts",
]
