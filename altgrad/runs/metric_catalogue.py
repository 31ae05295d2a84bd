"""Every number that a run logs: its name, its unit, which way is better, what it means.

The one table of them. `docs/reference/metrics.md` is written from it, the report of a comparison
quotes it, and `tests/training/test_metric_names.py` holds it against runs that measure all they
can. Loads no torch.

In a name stand NAME for a parameter (`transformer.h.0.attn.c_q.weight`), LAYER for a rounded linear
layer (`transformer.h.0.attn.c_q`), ROLE for an operand (`weight`, `input`, `grad_output`), BINADE
for a number from 0 to 7.
"""

from dataclasses import dataclass
from functools import cache

HIGHER, LOWER, EITHER = "↑", "↓", "="


@dataclass(frozen=True)
class Metric:
    """One row: the names that share a meaning.

    Attributes:
        names: as they stand in `metrics.jsonl`, parted by spaces.
        better: HIGHER, LOWER, or EITHER for a property to watch.
        meaning: a phrase that goes on from `NAME is …`, in Markdown.
    """

    names: str
    unit: str
    better: str
    meaning: str


CATALOGUE: dict[str, tuple[Metric, ...]] = {
    "every_run": (
        Metric("loss", "nats per token", LOWER, "of the step's batch, before the update"),
        Metric("perplexity", "1", LOWER, "exp(`loss`)"),
        Metric("grad_norm", "1", EITHER, "L2 norm of the whole gradient before clipping"),
        Metric("lr", "1", EITHER, "learning rate of the first parameter group"),
        Metric(
            "skipped",
            "0 or 1",
            LOWER,
            "1 where the guard left the weights alone: loss or gradient was not finite",
        ),
        Metric("step_ms", "ms", LOWER, "duration of the step"),
        Metric("tokens_per_s", "1/s", HIGHER, "of this step, on all devices together"),
        Metric(
            "mfu",
            "1",
            HIGHER,
            "share of the device's peak, where the exact name of the GPU is known",
        ),
        Metric("train_s", "s", LOWER, "training so far: no compilation, no evaluation, no saving"),
        Metric("compile_s", "s", LOWER, "the first step of a compiled run"),
        Metric(
            "val_loss",
            "nats per token",
            LOWER,
            "of every token of the validation split, or of its first `eval_tokens`; rounded like "
            "training",
        ),
        Metric("val_perplexity", "1", LOWER, "exp(`val_loss`)"),
        Metric(
            "val_bits_per_byte",
            "bits per byte",
            LOWER,
            "`val_loss` per byte of the text: comparable across tokenizers",
        ),
        Metric(
            "val_loss_unrounded",
            "nats per token",
            LOWER,
            "validation loss of the same weights, computed without rounding (with "
            "`eval_unrounded=true`)",
        ),
        Metric(
            "peak_memory_bytes",
            "bytes",
            LOWER,
            "most resident memory of the process so far, compilation included",
        ),
        Metric("peak_gpu_bytes", "bytes", LOWER, "most memory allocated on the first GPU so far"),
        Metric(
            "energy_j",
            "J",
            LOWER,
            "energy of processors and GPU since the run began, over all its sessions, where the "
            "machine tells (RAPL, NVML)",
        ),
        Metric("eval_s", "s", LOWER, "duration of the evaluation"),
    ),
    "gradients": (
        Metric("grad_norm_l2/NAME", "1", EITHER, "L2 norm of a parameter's gradient, unclipped"),
        Metric("grad_norm_l2/mean grad_norm_l2/min", "1", EITHER, "over the parameters"),
        Metric(
            "grad_norm_linf/NAME grad_norm_linf/max",
            "1",
            EITHER,
            "largest magnitude in a parameter's gradient",
        ),
        Metric(
            "dead_neuron_frac/NAME dead_neuron_frac/mean",
            "share",
            LOWER,
            "entries of the gradient with a magnitude below `diagnostics.dead_neuron_threshold`",
        ),
        Metric(
            "dead_neurons/NAME dead_neurons/max",
            "share",
            LOWER,
            "rows whose whole gradient was below that threshold for "
            "`diagnostics.dead_neuron_window` steps in a row; embeddings left out",
        ),
        Metric(
            "grad_snr/NAME",
            "1",
            HIGHER,
            "abs(mean) / standard deviation of a gradient's entries; infinite where the deviation "
            "is near zero",
        ),
        Metric(
            "grad_snr/mean grad_snr/min",
            "1",
            HIGHER,
            "over the parameters; the mean of the finite ones",
        ),
    ),
    "rounding": (
        Metric(
            "overflows%/ROLE/LAYER",
            "%",
            LOWER,
            "beyond the format's largest number by more than half a spacing; 0 by construction "
            "under current-amax scaling",
        ),
        Metric(
            "saturations%/ROLE/LAYER",
            "%",
            LOWER,
            "overflows that were replaced by the largest number (`overflow: saturate`)",
        ),
        Metric("underflows%/ROLE/LAYER", "%", LOWER, "not zero before, zero after"),
        Metric(
            "subnormals%/ROLE/LAYER",
            "%",
            LOWER,
            "not zero after, but below the smallest normal number: rounded more coarsely",
        ),
        Metric(
            "overflows%/ROLE/mean saturations%/ROLE/mean underflows%/ROLE/mean "
            "subnormals%/ROLE/mean",
            "%",
            LOWER,
            "over the layers",
        ),
        Metric(
            "overflows%/ROLE/max saturations%/ROLE/max underflows%/ROLE/max subnormals%/ROLE/max",
            "%",
            LOWER,
            "the worst layer",
        ),
        Metric(
            "sqnr_db/ROLE/LAYER",
            "dB",
            HIGHER,
            "20 log10(norm of the operand / norm of what rounding changed in it); infinite where "
            "nothing changed",
        ),
        Metric(
            "sqnr_db/ROLE/mean sqnr_db/ROLE/min",
            "dB",
            HIGHER,
            "over the layers, of the finite ones",
        ),
        Metric(
            "amax/ROLE/LAYER",
            "1",
            EITHER,
            "largest finite magnitude of the operand in the step's micro-batches",
        ),
        Metric("amax/ROLE/mean amax/ROLE/max", "1", EITHER, "over the layers"),
    ),
    "updates": (
        Metric(
            "zero_updates/NAME zero_updates/mean",
            "share",
            LOWER,
            "entries that kept their value in this step",
        ),
        Metric(
            "bit_stall/NAME bit_stall/total",
            "share",
            LOWER,
            "updates that were lost: of the entries that the optimiser moved, those whose stored "
            "code stayed (scale of the same step); absent where none was moved",
        ),
        Metric("bit_stall/so_far", "share", LOWER, "the same over all observed steps"),
        Metric(
            "arrived_rate/NAME arrived_rate/total",
            "1",
            EITHER,
            "what the learning rate was worth: a step d was wanted, a step a was stored; "
            "a·d / d·d. 1 with plain or master weights",
        ),
        Metric(
            "arrived_size/NAME arrived_size/total",
            "1",
            EITHER,
            "length of the stored step over that of the wanted step, |a| / |d|; above 1 where "
            "rounding makes few whole spacings of many small steps",
        ),
        Metric(
            "arrived_cosine/NAME arrived_cosine/total",
            "1",
            HIGHER,
            "cosine of the stored step and the wanted step; absent where nothing arrived",
        ),
        Metric(
            "binade_rate/BINADE",
            "1",
            EITHER,
            "what the learning rate was worth, a·d / d·d, over the weights that lie BINADE "
            "powers of two below their matrix's largest; 7 holds the rest, zeros too",
        ),
        Metric(
            "binade_step/BINADE",
            "1",
            EITHER,
            "length of the stored step in units of the weights, |a| / |w|, over the same weights",
        ),
        Metric("flips/NAME flips/total", "share", EITHER, "entries whose stored code changed"),
    ),
    "weights": (
        Metric(
            "stable_rank/NAME",
            "1",
            EITHER,
            "squared Frobenius norm / squared spectral norm of a weight matrix",
        ),
        Metric(
            "effective_rank/NAME",
            "1",
            EITHER,
            "how many directions a weight matrix uses: exp(entropy of the normalised singular "
            "values)",
        ),
        Metric(
            "rank99/NAME", "1", EITHER, "singular values that hold 99 % of a weight matrix's energy"
        ),
        Metric(
            "rank_loss/NAME rank_loss/max",
            "share",
            LOWER,
            "effective rank lost since the run's first measurement",
        ),
        Metric(
            "code_use/NAME code_use/mean",
            "share",
            HIGHER,
            "finite numbers of the format that the weights use",
        ),
        Metric(
            "grid_distance/NAME grid_distance/mean",
            "spacings",
            LOWER,
            "mean distance of a weight from its rounded self: 0 on the grid, 0.25 at random",
        ),
        Metric(
            "ulps_moved/NAME ulps_moved/mean",
            "spacings",
            EITHER,
            "mean length of the step in spacings at the weight; below 0.5, storing to nearest "
            "loses it",
        ),
        Metric(
            "grad_ulp_corr/NAME grad_ulp_corr/mean",
            "-1 to 1",
            EITHER,
            "correlation of log abs(gradient) with log spacing at the weight",
        ),
    ),
    "shadow": (
        Metric(
            "shadow_loss",
            "nats per token",
            LOWER,
            "loss of the FP32 twin: same weights, batch and dropout masks",
        ),
        Metric(
            "grad_cos_sim/NAME grad_cos_sim/mean grad_cos_sim/min",
            "-1 to 1",
            HIGHER,
            "cosine between the gradient and that of the same step in FP32, where FP32 has one "
            "that is more than rounding; 1 is the same direction",
        ),
        Metric(
            "grad_snr_db/NAME",
            "dB",
            HIGHER,
            "size of the FP32 gradient against the error that rounding made: 10 log10(squared norm "
            "of the FP32 gradient / of the difference); infinite if equal",
        ),
        Metric(
            "grad_snr_db/mean grad_snr_db/min grad_snr_db/total",
            "dB",
            HIGHER,
            "over the parameters; `total` takes all as one vector",
        ),
        Metric(
            "grad_snr/NAME_fp8 grad_snr/NAME_fp32 grad_snr/NAME_diff",
            "1",
            EITHER,
            "abs(mean) / standard deviation in the run and in its twin; twin's minus the run's",
        ),
        Metric(
            "grad_snr/mean_fp8 grad_snr/mean_fp32 grad_snr/mean_diff",
            "1",
            EITHER,
            "over the parameters, of the finite ones",
        ),
    ),
}
"""Group of the page -> its metrics."""


@cache
def metric_rows() -> dict[str, Metric]:
    """Name with its placeholders -> its row, in the order of the page."""
    rows = [metric for group in CATALOGUE.values() for metric in group]
    return {name: row for row in rows for name in row.names.split()}
