"""The run folder as it fills, and the person who watches.

`recorder` writes down what happens, `saving` says when the state is saved, `facts` and
`weight_hashes` say what a run is, `costs`, `energy` and `speed` measure what it takes, `console`
shows it in a terminal, `numerics_plots` draws what low precision did (`operands` takes the tensors
it draws).
"""

from altgrad.training.recording.console import Console
from altgrad.training.recording.costs import RunClock
from altgrad.training.recording.energy import EnergyMeter
from altgrad.training.recording.facts import data_facts, start_facts
from altgrad.training.recording.recorder import Listener, Recorder
from altgrad.training.recording.saving import Keeper
from altgrad.training.recording.speed import SpeedMeter
from altgrad.training.recording.weight_hashes import initial_weights, tensor_hashes, whole_hash

__all__ = [
    "Console",
    "EnergyMeter",
    "Keeper",
    "Listener",
    "Recorder",
    "RunClock",
    "SpeedMeter",
    "data_facts",
    "initial_weights",
    "start_facts",
    "tensor_hashes",
    "whole_hash",
]
