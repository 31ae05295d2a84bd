"""Milliseconds of one Muon step: altgrad's against torch.optim.Muon.

    python benchmarks/muon_step.py                               # this CPU
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/muon_step.py --avx2  # as on one without bfloat16

Matrices of a GPT with L layers of width C (four C x C, one 4C x C, one C x 4C per layer), random
gradients. The two take turns; each figure is the median of 21 steps (3 with --avx2).
"""

import argparse
import statistics
import time

import torch
from torch import nn

from altgrad.optim import muon

SIZES = ((3, 192), (4, 256), (6, 384))


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


def compare(layers: int, width: int, rounds: int) -> None:
    ours = muon.Muon(matrices(layers, width), lr=0.02)
    theirs = torch.optim.Muon(matrices(layers, width), lr=0.02, weight_decay=0.0)
    times: dict[str, list[float]] = {"altgrad": [], "torch": []}
    for _ in range(rounds):
        times["altgrad"].append(milliseconds(ours.step))
        times["torch"].append(milliseconds(theirs.step))
    a, t = statistics.median(times["altgrad"]), statistics.median(times["torch"])
    print(f"{layers} layers x {width}: altgrad {a:6.1f} ms, torch {t:6.1f} ms, ratio {t / a:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avx2", action="store_true", help="altgrad chooses as on such a CPU")
    avx2 = parser.parse_args().avx2
    if avx2:
        muon.fast_dtype = lambda device: torch.float32
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, avx2={avx2}")
    for layers, width in SIZES[:1] if avx2 else SIZES:
        compare(layers, width, 3 if avx2 else 21)


if __name__ == "__main__":
    main()
