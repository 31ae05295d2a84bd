"""The products of a float32 linear layer: torch's own (MKL) against `Fp32Linear` (oneDNN).

    python benchmarks/fp32_products.py

Per shape (rows x in -> out): microseconds and GFLOP/s of the forward product, the input's and the
weight's gradient, the fastest of many calls in turn, and the ratio of the sums.
"""

import time
from collections.abc import Callable

import torch

from altgrad.quantization.fp32_products import onednn_is_faster, times_transposed

SHAPES = [(768, 128, 128), (768, 128, 512), (768, 512, 128), (4096, 192, 768), (4096, 768, 192)]


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"altgrad takes oneDNN on this machine: {'yes' if onednn_is_faster() else 'no'}")
    for rows, inside, outside in SHAPES:
        x, w, g = (
            torch.randn(rows, inside),
            torch.randn(outside, inside),
            torch.randn(rows, outside),
        )
        pairs = [in_turns(*operands) for operands in ((x, w), (g, w.t()), (g.t(), x.t()))]
        work = 2 * rows * inside * outside
        words = [
            f"{1e6 * a:.0f} -> {1e6 * b:.0f} us ({work / b / 1e9:.0f} GFLOP/s)" for a, b in pairs
        ]
        ratio = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
        print(f"{rows} x {inside} -> {outside}: {', '.join(words)}: {ratio:.2f} x as fast")


def in_turns(a: torch.Tensor, b: torch.Tensor, seconds: float = 1.0) -> tuple[float, float]:
    """Seconds of a bᵀ, by torch and by oneDNN."""
    products: tuple[Callable, ...] = (torch.nn.functional.linear, times_transposed)
    best = [1e9, 1e9]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for i, product in enumerate(products):
            begin = time.perf_counter()
            product(a, b)
            best[i] = min(best[i], time.perf_counter() - begin)
    return best[0], best[1]


if __name__ == "__main__":
    main()
