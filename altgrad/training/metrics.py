"""Numbers about a run, as pure functions. Names and units: altgrad/runs/metric_catalogue.py."""

import math

from altgrad.training.instruments import compute_gradient_stats, gradient_cosine_similarity

PEAK_FLOPS = {
    "NVIDIA B200": 2250e12,  # HGX B200 data sheet: 36 PFLOP/s for 8, with sparsity
    "NVIDIA H200": 989e12,  # H200 data sheet: 1,979 with sparsity
    "NVIDIA H200 NVL": 835e12,  # the same: 1,671 with sparsity
    "NVIDIA GH200 480GB": 990e12,  # GH200 data sheet
    "NVIDIA H100 80GB HBM3": 989e12,  # H100 data sheet, SXM: 1,979 with sparsity
    "NVIDIA H100 NVL": 835e12,  # the same, NVL: 1,671 with sparsity
    "NVIDIA H100 PCIe": 756e12,  # H100 data sheet of 2022, PCIe: 1,513 with sparsity
    "NVIDIA A100-SXM4-40GB": 312e12,  # A100 data sheet, all forms
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L40S": 362e12,  # L40S data sheet
    "NVIDIA L40": 181e12,  # L40 data sheet
    "NVIDIA L4": 121e12,  # L4 data sheet: 242 with sparsity
    "NVIDIA A40": 149.7e12,  # A40 data sheet
    "NVIDIA A30": 165e12,  # A30 data sheet
    "NVIDIA A10": 125e12,  # A10 data sheet
    "NVIDIA GeForce RTX 4090": 165.2e12,  # Ada white paper: FP32 accumulation
    "NVIDIA GeForce RTX 3090": 71e12,  # GA102 white paper: FP32 accumulation
    "Tesla T4": 65e12,  # T4 data sheet: FP16, it has no bf16
    "Tesla V100-SXM2-16GB": 125e12,  # V100 data sheet: FP16, it has no bf16
    "Tesla V100-SXM2-32GB": 125e12,
}
"""torch's name of a GPU -> its dense bf16 (or FP16) matrix throughput in FLOP/s. Names that share a
part (L4, L40, L40S) are different products: a GPU that is not here is not known."""


def compute_perplexity(loss: float) -> float:
    """exp(loss) for a loss in nats per token; inf where it exceeds a float's range, NaN of NaN."""
    return math.inf if loss >= 700 else math.exp(loss)


def bits_per_byte(loss: float, *, predicted: int, n_bytes: int) -> float:
    """Bits of all predictions per UTF-8 byte of the text: comparable across tokenizers.

    loss: mean in nats over the `predicted` tokens, which are all of the text but its first.
    """
    return loss * predicted / math.log(2) / n_bytes


def peak_flops(device_name: str) -> float | None:
    """Known peak of a GPU by its exact name, or None: then no utilisation is reported."""
    return PEAK_FLOPS.get(device_name)


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
