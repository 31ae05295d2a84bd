"""Measures of one's own, `diagnostics.own=[mine:FlipsPerLayer]`: found, and held to what one is."""

import inspect

from altgrad.outside import load_outside
from altgrad.training.instruments.instrument import Context, Instrument

SETTING = "diagnostics.own"
MOMENTS = ("before", "gradients", "moved")
CONTRACT = (
    "write `from altgrad.training.instruments import Instrument` and "
    "`class FlipsPerLayer(Instrument):` with `def moved(self)` (or `gradients`, or `before(step)`) "
    "that adds tensors to self.context.readout"
)


def make_own(targets: list[str], context: Context) -> dict[str, Instrument]:
    """Name, as it was typed, -> the instrument.

    Raises:
        ValueError: no such code, or none that measures; one line with the contract.
    """
    return {
        target: _checked(target, load_outside(target, setting=SETTING))(context)
        for target in targets
    }


def _checked(target: str, made: object) -> type[Instrument]:
    if not (inspect.isclass(made) and issubclass(made, Instrument)):
        raise ValueError(f"{SETTING}={target} is no measure: {CONTRACT}")
    if all(getattr(made, moment) is getattr(Instrument, moment) for moment in MOMENTS):
        raise ValueError(f"{SETTING}={target} looks at no moment of a step: {CONTRACT}")
    return made
