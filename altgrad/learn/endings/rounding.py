"""What rounding does to training; and beside torch's cast, on every fp16 number, and altgrad's own.

The run keeps the weights of a small GPT in E4M3: rounded to nearest after every step, or by chance,
with the same batches and rates.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from altgrad.learn.endings.common import batches, loss_of, small_gpt
from altgrad.learn.probes.common import stream
from altgrad.learn.probes.rounding import FORMATS, every_fp16, ties, uneven, weights
from altgrad.quantization.formats import CATALOGUE
from altgrad.quantization.rounding import round_values
from altgrad.quantization.scaling import PerBlock

STEPS, RATE = 40, 2e-3
CASTS = {"E4M3": torch.float8_e4m3fn, "E5M2": torch.float8_e5m2}
Keep = Callable[[Tensor, Tensor], Tensor]  # weight, its update -> the weight that is kept


def run(ns: dict[str, Any], flow: Any) -> None:
    """The format, what rounding loses, and three ways to keep weights in eight bits."""
    fmt = ns["Format"]()
    flow.stage("the numbers of the format")
    values = ns["decode"](torch.arange(8), fmt)
    flow.note(f"the smallest: {', '.join(f'{v:g}' for v in values.tolist())}")
    flow.stage("signal to noise")
    x = weights()
    for name, rounded in (
        ("no scale", ns["round_nearest"](x, fmt)),
        ("one scale", ns["quantize"](x, fmt)),
        ("blocks of 32", ns["mx_quantize"](x, fmt)),
    ):
        flow.note(f"{name}: {ns['sqnr'](x, rounded):.1f} dB")
    flow.stage("gradients through rounding")
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ns["straight_through"](leaf, fmt).sum(), leaf)
    flow.note(f"gradient {gradient.mean():g} of each")
    flow.stage("training with weights kept in the format")
    for name, keep in _ways(ns, fmt).items():
        losses, lost = _train(keep, ns, fmt)
        told = f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; nearest loses {lost:.0%} of its updates"
        flow.note(f"{name:22} {told}")


def _ways(ns: dict[str, Any], fmt: Any) -> dict[str, Keep]:
    chance = stream("stochastic")

    def by_chance(weight: Tensor, update: Tensor) -> Tensor:
        random = torch.rand(weight.shape, generator=chance)
        return ns["round_stochastic"](weight + update, fmt, random)

    return {
        "float32": lambda weight, update: weight + update,
        "nearest even": lambda weight, update: ns["round_nearest"](weight + update, fmt),
        "stochastic": by_chance,
    }


def _train(keep: Keep, ns: dict[str, Any], fmt: Any) -> tuple[list[float], float]:
    """Losses, and the mean share of updates that nearest rounding would lose at each step."""
    model, losses, lost = small_gpt(), [], []
    kept = [p for p in model.parameters() if p.dim() > 1]
    with torch.no_grad():
        for p in kept:
            p.copy_(ns["round_nearest"](p, fmt))
    for ids, targets in batches(STEPS):
        loss = loss_of(model, ids, targets)
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, kept)
        with torch.no_grad():
            updates = [-RATE * g.sign() for g in grads]
            before = [ns["round_nearest"](p, fmt) for p in kept]
            shares = [ns["lost_updates"](p, u, fmt) for p, u in zip(before, updates, strict=True)]
            lost.append(sum(shares) / len(shares))
            for p, update in zip(kept, updates, strict=True):
                p.copy_(keep(p, update))
    return losses, sum(lost) / len(lost)


def beside(ns: dict[str, Any]) -> Iterator[str | bool]:
    """Every fp16 number through torch's cast, blocks through altgrad's MX; no bias by chance."""
    holds = True
    for name, cast in CASTS.items():
        fmt = ns["Format"](*FORMATS[name])
        x = torch.cat([every_fp16(), ties(name)])
        known = x.clamp(-fmt.largest, fmt.largest).to(cast).float()
        mine = ns["round_nearest"](x.clone(), fmt)
        right, line = _compare(f"{name} beside {cast}", x, mine, known)
        holds &= right
        yield line
    fmt, x = ns["Format"](), uneven(320)
    mine, known = ns["mx_quantize"](x.clone(), fmt), _mx(x)
    right, line = _compare("MX blocks of 32 beside altgrad's", x, mine, known)
    yield line
    bias = _bias(ns, fmt)
    mark = "✓" if bias < 0.02 else "✗"
    yield f"{mark} the mean of 20,000 stochastic roundings is {bias:.3f} ulp off"
    yield holds and right and bias < 0.02


def _mx(x: Tensor) -> Tensor:
    return round_values(x, CATALOGUE["e4m3fn"], scaling=PerBlock(32, rule="mx")).values


def _compare(what: str, x: Tensor, mine: Tensor, known: Tensor) -> tuple[bool, str]:
    wrong = (mine != known) | (mine.signbit() != known.signbit())
    if not wrong.any():
        return True, f"✓ {what}: all {len(x):,} numbers are equal"
    at = int(wrong.nonzero()[0])
    text = f"the first is {x[at]:.8g}: yours {mine[at]:g}, known {known[at]:g}"
    return False, f"✗ {what}: {int(wrong.sum()):,} of {len(x):,} numbers differ; {text}"


def _bias(ns: dict[str, Any], fmt: Any) -> float:
    """How far the mean over random numbers is from x, in ulp, at the worst of a few x."""
    x = torch.tensor([1.01, -3.3, 0.021, 0.001, 100.0])[:, None].expand(-1, 20_000)
    random = torch.rand(x.shape, generator=stream("bias"))
    mean = ns["round_stochastic"](x, fmt, random).mean(dim=1)
    return ((mean - x[:, 0]) / ns["ulp"](x[:, 0], fmt)).abs().max().item()
