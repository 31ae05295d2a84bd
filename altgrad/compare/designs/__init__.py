"""How arms are made of what was asked, and which questions they answer: a file a design.

    one        every arm against the control
    crossed    all combinations of several axes (or a fraction of them): main effects, interactions
    ablation   what each difference between two configurations contributes

A new design is a file with a `DESIGN` and a line in `DESIGNS`.
"""

from altgrad.compare.designs import ablation, crossed, one
from altgrad.compare.designs.design import Design
from altgrad.compare.designs.planned import INTERACTIONS, Planned, scale_of, weighted_sum

DESIGNS: dict[str, Design] = {
    "one": one.DESIGN,
    "crossed": crossed.DESIGN,
    "ablation": ablation.DESIGN,
}

__all__ = ["DESIGNS", "INTERACTIONS", "Design", "Planned", "scale_of", "weighted_sum"]
