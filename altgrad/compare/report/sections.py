"""The tables of a report, in their order: what every form of it shows."""

from altgrad.compare.report import tables

SECTIONS = (
    ("Arms", tables.arms_table, ""),
    (
        "Interactions",
        tables.contrasts_table,
        "Does the second change do more where the first was made?",
    ),
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
        "Same weights, same batch; the control's own error is what an arm's is to be read beside.",
    ),
    ("Tuning", tables.tuning_table, "Chosen on seeds that are not test seeds."),
    ("Failures", tables.failures_table, "Kept and counted as outcomes."),
    ("Fairness", tables.fairness_table, "Computed from the resolved settings and the run folders."),
    ("What differs", tables.differences_table, "Everything in which an arm differs."),
    ("Environment", tables.environment_table, ""),
)
"""Title, rows, and a line under the title. A section without rows is left out."""
