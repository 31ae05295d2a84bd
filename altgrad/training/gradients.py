"""What a gradient looks like, per parameter and in aggregate; one host synchronisation per call.

Every function builds its numbers on the device; `observe_…` leaves them in a `Readout`, so that a
step reads all of its instruments at once. Metric names, units and meaning: docs/metrics.md.
"""

import math
from collections.abc import Iterable
from statistics import fmean

import torch
from torch import Tensor, nn

from altgrad.training.readout import Metrics, Readout, rows_of, widest_dtype

TINY_STD = 1e-10
"""A standard deviation below this counts as zero: the ratio to it is infinite."""


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """Name -> gradient in float32, whole if sharded, for every parameter that has one."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            gradient = parameter.grad.detach()
            gradient = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
            found[name] = gradient.float()
    return found


def summarise_gradient(gradient: Tensor, threshold: float) -> list[Tensor]:
    """[L2 norm, L-infinity norm, share below threshold, mean, std], each 0-d on the device."""
    size = gradient.abs()
    std, mean = torch.std_mean(gradient, correction=1 if gradient.numel() > 1 else 0)
    dead = (size < threshold).float().mean()
    return [torch.linalg.vector_norm(gradient), size.max(), dead, mean, std]


def compute_gradient_stats(model: nn.Module, threshold: float = 1e-8) -> Metrics:
    """Norms, dead share and |mean| / std of every parameter's gradient, and aggregates.

    Returns:
        `grad_norm_l2/NAME`, `grad_norm_linf/NAME`, `dead_neuron_frac/NAME` (share of entries with
        |g| < threshold), `grad_snr/NAME` (|mean| / std, inf for a std near zero), and
        `grad_norm_l2/{mean,min}`, `grad_norm_linf/max`, `dead_neuron_frac/mean`,
        `grad_snr/{mean,min}`; without any gradient the aggregates are 0.
    """
    readout = Readout()
    observe_gradient_stats(readout, model, threshold)
    return readout.read()


def observe_gradient_stats(readout: Readout, model: nn.Module, threshold: float) -> None:
    """`compute_gradient_stats`, read later."""
    rows = {n: summarise_gradient(g, threshold) for n, g in gradients_of(model).items()}
    values = [value for row in rows.values() for value in row]
    readout.add(values, lambda numbers: _stats_of(rows_of(rows, numbers)))


def _stats_of(table: dict[str, list[float]]) -> Metrics:
    """From [L2, L-infinity, dead share, mean, std] per parameter."""
    stats: Metrics = {}
    for name, (l2, linf, dead, mean, std) in table.items():
        stats[f"grad_norm_l2/{name}"] = l2
        stats[f"grad_norm_linf/{name}"] = linf
        stats[f"dead_neuron_frac/{name}"] = dead
        stats[f"grad_snr/{name}"] = mean_over_std(mean, std)
    columns = list(zip(*table.values(), strict=True)) or [(0.0,)] * 5
    ratios = [stats[f"grad_snr/{name}"] for name in table]
    return {
        **stats,
        "grad_norm_l2/mean": fmean(columns[0]),
        "grad_norm_l2/min": min(columns[0]),
        "grad_norm_linf/max": max(columns[1]),
        "dead_neuron_frac/mean": fmean(columns[2]),
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
    readout = Readout()
    observe_cosine_similarity(readout, model_a, model_b)
    return readout.read()


def observe_cosine_similarity(readout: Readout, model_a: nn.Module, model_b: nn.Module) -> None:
    """`gradient_cosine_similarity`, read later."""
    check_same_names(model_a, model_b)
    a, b = gradients_of(model_a), gradients_of(model_b)
    shared = [n for n in a if n in b]
    cosines = [_cosine(a[n], b[n]) for n in shared]
    readout.add(cosines, lambda numbers: _similarities(dict(zip(shared, numbers, strict=True))))


def _similarities(values: Metrics) -> Metrics:
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


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of two tensors as vectors, in float64 sums so that equal gradients give 1."""
    wide = widest_dtype(a.device)
    a, b = a.flatten().to(wide), b.flatten().to(wide)
    norms = torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)
    same_zero = ((a == b).all() & (norms == 0)).to(wide)
    return torch.where(norms > 0, torch.dot(a, b) / norms, same_zero)
