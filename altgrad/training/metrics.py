"""Numbers about a run, as pure functions. Names and units: docs/metrics.md."""

import math

from altgrad.training.gradients import compute_gradient_stats, gradient_cosine_similarity

PEAK_FLOPS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "T4": 65e12,
}
"""Dense half-precision matrix throughput in FLOP/s by GPU name, from the vendors' data sheets."""


def compute_perplexity(loss: float) -> float:
    """exp(loss) for a loss in nats per token; inf where it exceeds a float's range, NaN of NaN."""
    return math.inf if loss >= 700 else math.exp(loss)


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """Loss in nats per token -> bits per byte of text: comparable across tokenizers."""
    return loss / math.log(2) / bytes_per_token


def peak_flops(device_name: str) -> float | None:
    """Known peak of a GPU by name, or None: then no utilisation is reported."""
    matches = [name for name in PEAK_FLOPS if name in device_name]
    return PEAK_FLOPS[max(matches, key=len)] if matches else None


def model_flops_utilisation(tokens_per_s: float, flops_per_token: float, peak: float) -> float:
    """Share of the peak spent on the model's own arithmetic (PaLM, arXiv 2204.02311, app. B)."""
    return tokens_per_s * flops_per_token / peak


__all__ = [
    "PEAK_FLOPS",
    "bits_per_byte",
    "compute_gradient_stats",
    "compute_perplexity",
    "gradient_cosine_similarity",
    "model_flops_utilisation",
    "peak_flops",
]
