"""Milliseconds of one Muon step: altgrad's batched one against torch.optim.Muon.

    python benchmarks/muon_step.py

Matrices of a GPT with L layers of width C (four C x C, one 4C x C, one C x 4C per layer), random
gradients. The two take turns; each figure is the median of 21 steps.
"""

import statistics
import time

import torch
from torch import nn

from altgrad.optim.muon import Muon

SIZES = ((3, 192), (4, 256), (6, 384))
ROUNDS = 21


def matrices(layers: int, width: int) -> list[nn.Parameter]:
    shapes = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
    generator = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.randn(s, generator=generator)) for s in shapes * layers]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator)
    return params


def milliseconds(step) -> float:
    start = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - start)


def compare(layers: int, width: int) -> None:
    ours = Muon(matrices(layers, width), lr=0.02)
    theirs = torch.optim.Muon(matrices(layers, width), lr=0.02, weight_decay=0.0)
    times: dict[str, list[float]] = {"altgrad": [], "torch": []}
    for _ in range(ROUNDS):
        times["altgrad"].append(milliseconds(ours.step))
        times["torch"].append(milliseconds(theirs.step))
    a, t = statistics.median(times["altgrad"]), statistics.median(times["torch"])
    print(f"{layers} layers x {width}: altgrad {a:6.1f} ms, torch {t:6.1f} ms, ratio {t / a:.2f}")


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for layers, width in SIZES:
        compare(layers, width)


if __name__ == "__main__":
    main()
