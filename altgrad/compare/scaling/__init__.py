"""One axis over a ladder of sizes: does a difference hold as the model grows?

A rung is an ordinary comparison with a folder of its own (`plan` makes its question, `climb` runs
them, smallest first); `conclusion` reads them back, `trend` judges how the difference goes with
size, and `report`, `charts` and `tables` show it.
"""

from altgrad.compare.scaling.climb import ScalingComparison
from altgrad.compare.scaling.conclusion import ScalingConclusion, conclude_scaling, write_verdict
from altgrad.compare.scaling.report import verdict_lines, write_reports

__all__ = [
    "ScalingComparison",
    "ScalingConclusion",
    "conclude_scaling",
    "verdict_lines",
    "write_reports",
    "write_verdict",
]
