"""What the groups of the mechanism section mean, a line each. More: docs/reference/metrics.md."""

MEANINGS = {
    "amax": "Largest magnitude of the operand.",
    "arrived_cosine": "Cosine between the step that was wanted and the step that was stored.",
    "arrived_rate": "What the learning rate was worth after storing: <stored, wanted> / <wanted, "
    "wanted>.",
    "arrived_size": "Length of the step that was stored over that of the step that was wanted.",
    "binade_rate": "What the learning rate was worth, by how far below the largest weight of its "
    "matrix a weight lies, in powers of two.",
    "binade_step": "Length of the stored step in units of the weights, by the same powers of two.",
    "bit_stall": "Share of the entries that the optimiser moved whose stored number stayed as it "
    "was: updates that were lost. so_far: over all steps.",
    "code_use": "Share of the format's numbers that the weights use.",
    "dead_neuron_frac": "Share of the gradient's entries that are zero.",
    "dead_neurons": "Share of the rows whose gradient has long been zero.",
    "effective_rank": "How many directions a weight matrix uses: exp(entropy of its singular "
    "values).",
    "flips": "Share of the entries whose stored number changed.",
    "grad_cos_sim": "Cosine between the gradient and that of the same step in FP32; 1 is the same "
    "direction.",
    "grad_norm": "L2 norm of the whole gradient before clipping.",
    "grad_norm_l2": "L2 norm of a parameter's gradient.",
    "grad_norm_linf": "Largest entry of a parameter's gradient.",
    "grad_snr": "|mean| / standard deviation of a gradient's entries.",
    "grad_snr_db": "Size of the FP32 gradient against the error that rounding made, in dB.",
    "grad_ulp_corr": "Correlation of a gradient's size with the spacing of the numbers there.",
    "grid_distance": "Mean distance of a weight from its rounded self, in spacings.",
    "overflows%": "Beyond the largest number of the format, in percent.",
    "rank99": "Singular values that hold 99 % of a weight matrix's energy.",
    "rank_loss": "Share of the effective rank lost since the first measurement.",
    "saturations%": "Replaced by the largest number, in percent.",
    "shadow_loss": "Training loss of the FP32 twin: same weights, same batch.",
    "skipped": "Steps that were not applied, because loss or gradient was not finite.",
    "sqnr_db": "Size of the operand against what rounding changed, in dB.",
    "stable_rank": "Squared Frobenius norm / squared spectral norm of a weight matrix.",
    "subnormals%": "Below the smallest normal number, in percent: rounded more coarsely.",
    "ulps_moved": "Mean length of a step, in spacings; below 0.5, storing to nearest loses it.",
    "underflows%": "Rounded to zero, in percent.",
    "val_loss_unrounded": "Validation loss of the same weights, computed without rounding.",
    "zero_updates": "Share of the entries that kept their value in this step.",
}


def meaning(group: str) -> str:
    """The line of a group, its role (`amax/input`) or twin (`grad_snr_fp8`) left off; or nothing.

    Your own metrics have none.
    """
    name = group.partition("/")[0]
    for kind in ("_fp8", "_fp32", "_diff"):
        name = name.removesuffix(kind)
    return MEANINGS.get(name, "")
