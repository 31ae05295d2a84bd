"""How arms are made of what was asked, and which questions they answer: a file a design.

    one        every arm against the control
    crossed    all combinations of several axes (or a fraction of them): main effects, interactions
    ablation   what each difference between two configurations contributes
    scaling    one axis over a ladder of sizes (`ladder`)

A new design is a file with a `DESIGN` and a line in `DESIGNS`.
"""

from altgrad.compare.designs import ablation, crossed, one, scaling
from altgrad.compare.designs.crossed import cells_of
from altgrad.compare.designs.design import Design
from altgrad.compare.designs.effects import MAIN
from altgrad.compare.designs.ladder import FEWEST_FOR_A_FORECAST, Ladder
from altgrad.compare.designs.planned import INTERACTIONS, Planned, scale_of, weighted_sum

DESIGNS: dict[str, Design] = {
    "one": one.DESIGN,
    "crossed": crossed.DESIGN,
    "ablation": ablation.DESIGN,
    "scaling": scaling.DESIGN,
}

__all__ = [
    "DESIGNS",
    "FEWEST_FOR_A_FORECAST",
    "INTERACTIONS",
    "MAIN",
    "Design",
    "Ladder",
    "Planned",
    "cells_of",
    "scale_of",
    "weighted_sum",
]
