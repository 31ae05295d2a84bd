"""What a gradient looks like, per parameter and in aggregate; one host synchronisation per call.

The numbers come from sums over all parameters at once (`rounding/tensor_sums.py`). Names of the
metrics, units and meaning: altgrad/runs/metric_catalogue.py.
"""

import math
from collections.abc import Iterable
from statistics import fmean

import torch
from torch import Tensor, nn

from altgrad.quantization.rounding import PairSums, gradient_sums, pair_sums
from altgrad.runs import Metrics
from altgrad.training.instruments.instrument import Instrument, gradients_of
from altgrad.training.instruments.readout import rows_of

TINY_STD = 1e-10
"""A standard deviation below this counts as zero: the ratio to it is infinite."""


def compute_gradient_stats(model: nn.Module, threshold: float = 1e-8) -> Metrics:
    """Norms, dead share and |mean| / std of every parameter's gradient, and aggregates.

    Returns:
        `grad_norm_l2/NAME`, `grad_norm_linf/NAME`, `dead_neuron_frac/NAME` (share of entries with
        |g| < threshold), `grad_snr/NAME` (|mean| / std, inf for a std near zero), and
        `grad_norm_l2/{mean,min}`, `grad_norm_linf/max`, `dead_neuron_frac/mean`,
        `grad_snr/{mean,min}`; without any gradient the aggregates are 0.
    """
    gradients = gradients_of(model)
    if not gradients:
        return _stats_of({})
    sums = gradient_sums(list(gradients.values()), threshold)
    return _stats_of(rows_of(gradients, sums.table.flatten().tolist()))


class GradientStats(Instrument):
    """`compute_gradient_stats` of every step, with `diagnostics.dead_neuron_threshold`."""

    def gradients(self) -> None:
        names = list(self.context.gradients)
        if names:
            table = self.context.gradient_sums.table
            self.context.readout.add([table], lambda numbers: _stats_of(rows_of(names, numbers)))


def _stats_of(table: dict[str, list[float]]) -> Metrics:
    """From the columns of `GradientSums.table` per parameter."""
    stats: Metrics = {}
    for name, (mean, std, l2, dead, linf) in table.items():
        stats[f"grad_norm_l2/{name}"] = l2
        stats[f"grad_norm_linf/{name}"] = linf
        stats[f"dead_neuron_frac/{name}"] = dead
        stats[f"grad_snr/{name}"] = mean_over_std(mean, std)
    columns = list(zip(*table.values(), strict=True)) or [(0.0,)] * 5
    ratios = [stats[f"grad_snr/{name}"] for name in table]
    return {
        **stats,
        "grad_norm_l2/mean": fmean(columns[2]),
        "grad_norm_l2/min": min(columns[2]),
        "grad_norm_linf/max": max(columns[4]),
        "dead_neuron_frac/mean": fmean(columns[3]),
        "grad_snr/mean": mean_of_finite(ratios),
        "grad_snr/min": min(ratios, default=0.0),
    }


def mean_over_std(mean: float, std: float) -> float:
    """|mean| / std; inf where the std is (nearly) zero."""
    return abs(mean) / std if std > TINY_STD else math.inf


def mean_of_finite(values: Iterable[float]) -> float:
    """Mean of the finite values, 0 if there is none."""
    finite = [v for v in values if math.isfinite(v)]
    return fmean(finite) if finite else 0.0


def gradient_cosine_similarity(model_a: nn.Module, model_b: nn.Module) -> Metrics:
    """Cosine between the two models' gradients, parameter by parameter.

    Returns:
        `grad_cos_sim/NAME`, `grad_cos_sim/mean`, `grad_cos_sim/min`; parameters without a gradient
        in either model are left out; a zero gradient has cosine 0 with anything but another zero.

    Raises:
        ValueError: the models' parameters have different names.
    """
    check_same_names(model_a, model_b)
    names, sums = compare_gradients(gradients_of(model_a), gradients_of(model_b))
    return similarities(dict(zip(names, cosines(sums).tolist(), strict=True)))


def compare_gradients(a: dict[str, Tensor], b: dict[str, Tensor]) -> tuple[list[str], PairSums]:
    """The names in both, and the sums over each pair."""
    shared = [n for n in a if n in b]
    if not shared:
        return [], PairSums(*torch.zeros(8, 0))
    return shared, pair_sums([a[n] for n in shared], [b[n] for n in shared])


def cosines(sums: PairSums) -> Tensor:
    """Of each pair of tensors as vectors; two zeros have 1, a zero and anything else 0."""
    norms = sums.aa.sqrt() * sums.bb.sqrt()
    both_zero = ((sums.aa == 0) & (sums.bb == 0)).to(norms)
    return torch.where(norms > 0, sums.ab / norms, both_zero)


def similarities(values: Metrics) -> Metrics:
    """`gradient_cosine_similarity` from name -> cosine."""
    return {
        **{f"grad_cos_sim/{name}": value for name, value in values.items()},
        "grad_cos_sim/mean": fmean(values.values()) if values else 0.0,
        "grad_cos_sim/min": min(values.values(), default=0.0),
    }


def check_same_names(model_a: nn.Module, model_b: nn.Module) -> None:
    """Raise ValueError unless both models name the same parameters."""
    a = {name for name, _ in model_a.named_parameters()}
    b = {name for name, _ in model_b.named_parameters()}
    if a != b:
        raise ValueError(f"the models differ in parameters: {', '.join(sorted(a ^ b)[:5])}.")
