"""Milliseconds of causal attention on a CPU: altgrad's ways against torch's.

    python benchmarks/attention.py [--threads 1] [--forward]

`flash` is what torch.scaled_dot_product_attention takes here. Processor time of one training step
of one layer, or with `--forward` of one pass without gradients (so that other work on the machine
counts little), median of nine; the ratio is flash's time over that of `blocks`, which eager bf16
training takes, and evaluation.
"""

import argparse
import statistics
import time

import torch

from altgrad.model.backends import attend

SHAPES = [(12, 4, 64, 32), (12, 4, 256, 64), (16, 6, 256, 32), (4, 6, 512, 64), (2, 12, 1024, 64)]
WAYS = ("flash", "math", "explicit", "chunked", "blocks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--forward", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(not arguments.forward)
    for dtype in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            found = {way: milliseconds(way, shape, dtype) for way in WAYS}
            figures = "  ".join(f"{way} {time:6.2f}" for way, time in found.items())
            ratio = found["flash"] / found["blocks"]
            print(f"{str(dtype)[6:]:>8} {shape!s:<17} {figures}   flash / blocks {ratio:.2f} x")


def milliseconds(way: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> float:
    batch, heads, length, width = shape
    laid_out = (batch, length, heads, width)
    q, k, v = (torch.randn(laid_out, dtype=dtype, requires_grad=True) for _ in range(3))
    direction = torch.randn(laid_out, dtype=dtype).transpose(1, 2)
    times = []
    for _ in range(9):
        start = time.process_time()
        y = attend(*(t.transpose(1, 2) for t in (q, k, v)), backend=way)
        if torch.is_grad_enabled():
            torch.autograd.grad(y, (q, k, v), direction)
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


if __name__ == "__main__":
    main()
