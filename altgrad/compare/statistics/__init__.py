"""The statistics of a comparison: pure functions of arrays, with numpy and scipy only.

`paired` has intervals and tests of paired differences, `anytime` those that allow a look after
every seed, `power` the number of seeds that would decide; `trend`, `power_law` and `forecast` say
how a difference goes with size.
"""

from altgrad.compare.statistics.power import seeds_needed, t_power

__all__ = [
    "seeds_needed",
    "t_power",
]
