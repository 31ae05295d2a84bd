"""The FP32 shadow: the same network without rounding, on the same weights and the same batch.

Beside a rounded step it answers what the rounding did to the gradient: its direction (cosine) and
its error in decibels, per parameter. Its random numbers are the run's (the same dropout masks) and
never disturb the run's.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.quantization.convert import copy_without_recipe
from altgrad.training.gradients import (
    check_same_names,
    compare_gradients,
    cosines,
    gradients_of,
    mean_of_finite,
    mean_over_std,
    similarities,
)
from altgrad.training.readout import Metrics, Readout


class FP32ShadowModel:
    """An FP32 twin of a model, without its precision recipe.

    Args:
        model: `model(x, y) -> (logits, loss)`; copied, never changed.

    Attributes:
        model: the twin, in float32, in training mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy_without_recipe(model).float()
        self.model.requires_grad_(True)
        self.model.train()
        self._network: Any = self.model

    def compile(self) -> None:
        """Compile the twin's forward and backward, as the run's own network is."""
        self._network = torch.compile(self.model)

    @torch.no_grad()
    def sync_weights(self, source: nn.Module) -> None:
        """Copy parameters and buffers from `source`, as they are stored, in float32.

        Raises:
            ValueError: the parameters have different names.
        """
        check_same_names(source, self.model)
        own = dict(self.model.named_parameters())
        theirs = dict(source.named_parameters())
        whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in theirs.values()]
        torch._foreach_copy_([own[name] for name in theirs], whole)

    def forward_backward(self, x: Tensor, y: Tensor, *, accumulation: int = 1) -> Tensor:
        """Gradients of the mean loss over `x`, `y` into the twin; returns that loss, detached.

        Global generators are left as they were found, whatever dropout draws here.
        """
        self.model.zero_grad(set_to_none=True)
        losses = []
        with _borrowed_random_state():
            for x_i, y_i in zip(x.chunk(accumulation), y.chunk(accumulation), strict=True):
                _, loss = self._network(x_i, y_i)
                (loss / accumulation).backward()
                losses.append(loss.detach())
        return torch.stack(losses).mean()

    def compute_gradient_similarity(self, model: nn.Module) -> Metrics:
        """Compare `model`'s gradients with the twin's.

        Returns:
            `grad_cos_sim/…` as `gradient_cosine_similarity`; `grad_snr/NAME_fp8`, `…_fp32`,
            `…_diff`: |mean| / std of both gradients (inf for a std near zero) and how much lower
            the rounded one's is; `grad_snr_db/NAME`: 10 log10(|g32|² / |g - g32|²), inf if equal;
            each with `mean` (of the finite ones) and, for the last, `min` and `total` (all
            parameters as one vector).
        """
        readout = Readout()
        self.observe_gradient_similarity(readout, model)
        return readout.read()

    def observe_gradient_similarity(self, readout: Readout, model: nn.Module) -> None:
        """`compute_gradient_similarity`, read later."""
        names, sums = compare_gradients(gradients_of(model), gradients_of(self.model))
        readout.add(
            [cosines(sums)],
            lambda numbers: similarities(dict(zip(names, numbers, strict=True))),
        )
        moments = [sums.mean_a, sums.std_a, sums.mean_b, sums.std_b]
        readout.add(moments, lambda numbers: _ratios(_by_name(names, numbers)))
        energies = [sums.bb, sums.distance]
        readout.add(energies, lambda numbers: _errors_in_db(_by_name(names, numbers)))


def _by_name(names: list[str], numbers: list[float]) -> dict[str, tuple[float, ...]]:
    """Name -> its number in each of the columns that lie one after the other."""
    columns = [numbers[i : i + len(names)] for i in range(0, len(numbers), max(len(names), 1))]
    return dict(zip(names, zip(*columns, strict=True), strict=True))


def _ratios(table: dict[str, tuple[float, ...]]) -> Metrics:
    ratios: dict[str, list[float]] = {"fp8": [], "fp32": [], "diff": []}
    found: Metrics = {}
    for name, (mean, std, mean32, std32) in table.items():
        low, high = mean_over_std(mean, std), mean_over_std(mean32, std32)
        for kind, value in (("fp8", low), ("fp32", high), ("diff", high - low)):
            found[f"grad_snr/{name}_{kind}"] = value
            ratios[kind].append(value)
    means = {f"grad_snr/mean_{kind}": mean_of_finite(values) for kind, values in ratios.items()}
    return {**found, **means}


def _errors_in_db(table: dict[str, tuple[float, ...]]) -> Metrics:
    each = {name: decibels(signal, noise) for name, (signal, noise) in table.items()}
    total = decibels(sum(s for s, _ in table.values()), sum(n for _, n in table.values()))
    return {
        **{f"grad_snr_db/{name}": value for name, value in each.items()},
        "grad_snr_db/mean": mean_of_finite(each.values()),
        "grad_snr_db/min": min(each.values(), default=0.0),
        "grad_snr_db/total": total,
    }


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two energies; inf without noise, -inf without signal."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


@contextmanager
def _borrowed_random_state() -> Iterator[None]:
    """Whatever is drawn inside, the global torch generators are afterwards as before."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        yield
