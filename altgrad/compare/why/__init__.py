"""What else differed between the arms, and moved with the outcome: association, never cause.

`names` tells mechanisms from outcomes and cost, `measured` reads what runs logged onto one clock,
`association` ranks it. Starts nothing, loads no torch.
"""

from altgrad.compare.why.association import MOST_ROWS, Association, Difference, Why, why

__all__ = ["MOST_ROWS", "Association", "Difference", "Why", "why"]
