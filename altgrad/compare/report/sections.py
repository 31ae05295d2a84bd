"""The tables of a report, in their order: what every form of it shows."""

from altgrad.compare.report import tables
from altgrad.compare.report.contributions import contributions_table
from altgrad.compare.report.crossed import combinations_table, means_table
from altgrad.compare.report.why import WHY, WHY_REMARK, why_table

SECTIONS = (
    ("Arms", tables.arms_table, ""),
    (
        "What each change contributes",
        contributions_table,
        "Alone: the first configuration with this change, against it. As a removal: the second "
        "configuration against itself without it. All of it is corrected together.",
    ),
    (
        "Every combination",
        combinations_table,
        "Mean outcome over the seeds; the best has a star; the last axis runs across.",
    ),
    ("Means", means_table, "Over all arms that have the value, and over the seeds."),
    (
        "Contrasts",
        tables.contrasts_table,
        "Weighted sums of arms, one number a seed; corrected together.",
    ),
    (WHY, why_table, WHY_REMARK),
    (
        "Every test",
        tables.statistics_table,
        "The interval of the mean and the corrected p decide: Student's t, or where it is judged "
        "after every seed, the confidence sequence. BCa and sign flips are shown for comparison.",
    ),
    ("Every run", tables.seeds_table, "One row a seed."),
    (
        "Gradients against FP32",
        tables.gradients_table,
        "Same weights, same batch. Compare an arm's error with the control's own, not with none.",
    ),
    ("Tuning", tables.tuning_table, "Chosen on seeds that are not test seeds."),
    ("Failures", tables.failures_table, "Kept and counted as outcomes."),
    ("Fairness", tables.fairness_table, "Computed from the resolved settings and the run folders."),
    ("What differs", tables.differences_table, "Everything in which an arm differs."),
    ("Environment", tables.environment_table, ""),
)
"""Title, rows, and a line under the title. A section without rows is left out."""
