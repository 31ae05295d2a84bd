"""How fast rounding is, beside a memory copy and beside every emulator that installs here.

    python benchmarks/rounding.py            # both thread counts, all rows (about a minute)
    python benchmarks/rounding.py --quick    # altgrad's own rows only
    python benchmarks/rounding.py --threads 1 --processor-time    # on a machine that is not idle

One 4096 x 4096 float32 tensor; each row is called in turn with `Tensor.copy_` into an allocated
tensor, and the fastest call of each counts, so that other programs on the machine disturb both
alike. Outputs are already allocated where the library allows it. GB/s counts one read and one write
of the tensor.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from altgrad import quantization as q
from altgrad.quantization.rounding import choose, native

SIZE = 4096
FORMATS = ("e4m3", "e5m2", "e3m4", "e0m7")


class Timed(NamedTuple):
    """Milliseconds of one call, and of the copies between its calls."""

    work: float
    copy: float

    @property
    def ratio(self) -> float:
        return self.work / self.copy


class Stopwatch:
    """Times calls with one clock; `time.thread_time` counts what one thread computes and leaves out
    the waiting while other programs run."""

    def __init__(self, clock: Callable[[], float], budget_s: float) -> None:
        self.clock, self.budget_s = clock, budget_s

    def milliseconds(self, work: Callable[[], object]) -> float:
        begin = self.clock()
        work()
        return 1e3 * (self.clock() - begin)

    def beside(self, work: Callable[[], object], copy: Callable[[], object]) -> Timed:
        """The fastest of at least two calls each, in turn, until the budget is used up."""
        work()
        rounds: list[tuple[float, float]] = []
        started = time.perf_counter()
        while len(rounds) < 2 or time.perf_counter() - started < self.budget_s:
            rounds.append((self.milliseconds(work), self.milliseconds(copy)))
        return Timed(*(min(column) for column in zip(*rounds, strict=True)))


def own_rows(x: torch.Tensor, out: torch.Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    """altgrad, in the order of the questions: formats, modes, counting, scales, blocks."""

    def row(name: str, **settings):
        return lambda: q.fake_quantize(x, name, out=out, **settings)

    random = q.Stochastic(seed=7)
    for name in FORMATS:
        yield f"{name} nearest", row(name)
        yield f"{name} stochastic", row(name, rounding=random)
    for name in ("e4m3", "e3m4"):
        yield f"{name} nearest, counted", row(name, return_stats=True)
        yield f"{name} stochastic, counted", row(name, rounding=random, return_stats=True)
    yield "e4m3 per tensor", row("e4m3", scaling=q.PerTensor())
    yield "e4m3 per tensor, counted", row("e4m3", scaling=q.PerTensor(), return_stats=True)
    yield "e4m3 per row", row("e4m3", scaling=q.PerRow())
    yield "e4m3 MX blocks of 32", row("e4m3", scaling=q.MX())
    yield "e4m3 MX blocks of 32, counted", row("e4m3", scaling=q.MX(), return_stats=True)
    yield "e2m1fn NVFP4 blocks of 16", row("e2m1fn", scaling=q.NVFP4())
    yield "e2m1fn NVFP4 blocks of 16, counted", row("e2m1fn", scaling=q.NVFP4(), return_stats=True)


def torch_rows(x: torch.Tensor, out: torch.Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    """altgrad without its native code: eager pieces, and one compiled kernel."""

    def eager(**settings):
        def work():
            keep, choose._native_can = choose._native_can, lambda job: False
            try:
                q.fake_quantize(x, "e4m3", out=out, **settings)
            finally:
                choose._native_can = keep

        return work

    yield "e4m3 nearest, no compiler", eager()
    yield "e4m3 stochastic, no compiler", eager(rounding=q.Stochastic(seed=7))
    if native.library() is not None:
        compiled = torch.compile(lambda x, seed: q.fake_quantize(x, "e4m3", out=out))
        drawn = torch.compile(
            lambda x, seed: q.fake_quantize(x, "e4m3", rounding=q.Stochastic(seed=seed), out=out)
        )
        seed = torch.tensor(7)
        yield "e4m3 nearest, torch.compile", lambda: compiled(x, seed)
        yield "e4m3 stochastic, torch.compile", lambda: drawn(x, seed)


def competitors(x: torch.Tensor, out: torch.Tensor):
    """(label, work) for each library that imports and runs; (label, reason) for the others."""
    for label, make in _COMPETITORS.items():
        try:
            work = make(x, out)
            work()
            yield label, work
        except Exception as failure:
            yield label, f"{type(failure).__name__}: {str(failure).splitlines()[0][:70]}"


def _torch_cast(kind: torch.dtype):
    return lambda x, out: lambda: out.copy_(x.to(kind))


def _qtorch(rounding: str):
    def make(x, out):
        quant = importlib.import_module("qtorch.quant")
        return lambda: quant.float_quantize(x, exp=4, man=3, rounding=rounding)

    return make


def _ml_dtypes(x, out):
    kind = importlib.import_module("ml_dtypes").float8_e4m3fn
    array, target = x.numpy(), out.numpy()
    return lambda: target.__setitem__(slice(None), array.astype(kind))


def _gfloat(x, out):
    gfloat = importlib.import_module("gfloat")
    info = importlib.import_module("gfloat.formats").format_info_ocp_e4m3
    return lambda: gfloat.round_ndarray(info, x, sat=True)


def _torchao_mx(x, out):
    mx = importlib.import_module("torchao.prototype.mx_formats.mx_tensor").MXTensor
    return lambda: mx.to_mx(x, torch.float8_e4m3fn, 32).dequantize(torch.float32)


def _mptorch(x, out):
    quant = importlib.import_module("mptorch.quant")
    number = importlib.import_module("mptorch").FloatingPoint(exp=4, man=3)
    return lambda: quant.float_quantize(x, exp=number.exp, man=number.man, rounding="nearest")


def _pychop(x, out):
    pychop = importlib.import_module("pychop")
    pychop.backend("torch")
    chop = pychop.Chop(exp_bits=4, sig_bits=3, rmode=1)
    return lambda: chop(x)


_COMPETITORS = {
    "torch cast e4m3fn and back": _torch_cast(torch.float8_e4m3fn),
    "torch cast e5m2 and back": _torch_cast(torch.float8_e5m2),
    "qtorch e4m3 nearest": _qtorch("nearest"),
    "qtorch e4m3 stochastic": _qtorch("stochastic"),
    "ml_dtypes e4m3fn and back": _ml_dtypes,
    "gfloat e4m3": _gfloat,
    "torchao MX e4m3, blocks of 32": _torchao_mx,
    "mptorch e4m3": _mptorch,
    "pychop e4m3": _pychop,
}


def measure(threads: int, watch: Stopwatch, *, quick: bool) -> dict[str, Timed | str]:
    """All rows at one thread count: label -> ms, or the reason why there is none."""
    torch.set_num_threads(threads)
    x = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    out, other = torch.empty_like(x), torch.empty_like(x)

    def copy() -> object:
        return other.copy_(x)

    found: dict[str, Timed | str] = {"copy": watch.beside(copy, copy)}
    for label, work in own_rows(x, out):
        found[f"altgrad {label}"] = watch.beside(work, copy)
    if not quick:
        for label, work in torch_rows(x, out):
            found[f"altgrad {label}"] = watch.beside(work, copy)
        for label, work in competitors(x, out):
            found[label] = work if isinstance(work, str) else watch.beside(work, copy)
    return found


def table(results: dict[int, dict[str, Timed | str]]) -> str:
    """Markdown: one line per row, for each thread count ms, GB/s and the ratio to the copy."""
    counts = list(results)
    head = " | ".join(f"{n} thread{'s' * (n > 1)}: ms | GB/s | x copy" for n in counts)
    lines = [f"| | {head} |", "|---|" + "---:|" * 3 * len(counts)]
    for label in results[counts[0]]:
        cells = [_cells(results[n][label]) for n in counts]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cells(value: Timed | str) -> str:
    if isinstance(value, str):
        return f"- | - | {value}"
    rate = 2 * 4 * SIZE * SIZE / value.work / 1e6
    return f"{value.work:.1f} | {rate:.1f} | {value.ratio:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="altgrad's own rows only")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--seconds", type=float, default=0.7, help="per row")
    parser.add_argument("--processor-time", action="store_true", help="of one thread")
    arguments = parser.parse_args()
    if arguments.processor_time and arguments.threads != [1]:
        parser.error("--processor-time is that of one thread: add --threads 1")
    clock = time.thread_time if arguments.processor_time else time.perf_counter
    watch = Stopwatch(clock, arguments.seconds)
    print(f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} CPUs")
    wanted = dict.fromkeys(arguments.threads)
    print(table({n: measure(n, watch, quick=arguments.quick) for n in wanted}))


if __name__ == "__main__":
    main()
