"""The FP32 shadow: the same network without rounding, on the same weights and the same batch.

Beside a rounded step it answers what the rounding did to the gradient: its direction (cosine) and
its error in decibels, per parameter. Its random numbers are the run's (the same dropout masks) and
never disturb the run's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.model import compile_network
from altgrad.quantization.convert import copy_without_recipe
from altgrad.quantization.rounding import decibels
from altgrad.runs import Metrics
from altgrad.training.instruments.gradients import (
    check_same_names,
    compare_gradients,
    cosines,
    mean_of_finite,
    mean_over_std,
    similarities,
)
from altgrad.training.instruments.instrument import SHADOW, Context, Instrument, gradients_of
from altgrad.training.instruments.readout import Readout

NO_GRADIENT = 4 * 2.0**-23
"""A gradient in FP32 with a root mean square below this share of the median parameter's is what
float32's rounding leaves of zero: of a key's bias, say, which cancels in the softmax. Measured:
such ones at most 2.5e-8, the smallest others 1.4e-5."""


class FP32ShadowModel:
    """An FP32 twin of a model, without its precision recipe.

    Args:
        model: `model(x, y) -> (logits, loss)`; copied, never changed.

    Attributes:
        model: the twin, in float32, in training mode.
        left_out: parameters without a gradient in FP32, of the last comparison.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy_without_recipe(model).float()
        self.model.requires_grad_(True)
        self.model.train()
        self._network: Any = self.model
        self.left_out: list[str] = []

    def compile(self) -> None:
        """Compile the twin's forward and backward, as the run's own network is."""
        device = next(self.model.parameters()).device
        self._network = compile_network(self.model, device=device)

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
            parameters as one vector). Parameters without a gradient in FP32 (`NO_GRADIENT`), whose
            direction means nothing, are in `left_out` and, but for `total`, in none of these.
        """
        readout = Readout()
        self.observe_gradient_similarity(readout, model)
        return readout.read()

    def observe_gradient_similarity(self, readout: Readout, model: nn.Module) -> None:
        """`compute_gradient_similarity`, read later."""
        shadows = gradients_of(self.model)
        names, sums = compare_gradients(gradients_of(model), shadows)
        sizes = [shadows[name].numel() for name in names]
        columns = [cosines(sums), sums.bb, sums.distance]
        columns += [sums.mean_a, sums.std_a, sums.mean_b, sums.std_b]

        def named(numbers: list[float]) -> Metrics:
            table = [numbers[i :: len(names)] for i in range(len(names))]
            return self._similarities(dict(zip(names, table, strict=True)), sizes)

        readout.add(columns, named)

    def _similarities(self, table: dict[str, list[float]], sizes: list[int]) -> Metrics:
        """From (cosine, |g32|², |g - g32|², moments of both) and the size of every parameter."""
        energies = {name: (line[1], line[2]) for name, line in table.items()}
        squares = [line[1] / size for line, size in zip(table.values(), sizes, strict=True)]
        limit = NO_GRADIENT**2 * median([q for q in squares if q > 0] or [0.0])
        self.left_out = [n for n, q in zip(table, squares, strict=True) if q <= limit]
        for name in self.left_out:
            del table[name]
        if not table:
            return {}
        signal, noise = (sum(column) for column in zip(*energies.values(), strict=True))
        return {
            **similarities({name: line[0] for name, line in table.items()}),
            **_ratios({name: line[3:] for name, line in table.items()}),
            **_errors_in_db({name: energies[name] for name in table}),
            "grad_snr_db/total": decibels(signal, noise),
        }


class Shadow(Instrument):
    """`shadow_loss`, and how the gradients differ from those of `context.twin`: at the same
    weights, on the same batch, under the same dropout masks."""

    when = (SHADOW,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._told: set[str] = set()
        if context.twin is not None:
            context.twin.model.to(context.fabric.device)
            if context.compiled:
                context.twin.compile()

    @property
    def _devices(self) -> list[torch.device]:
        device = self.context.fabric.device
        return [device] if device.type == "cuda" else []

    def before(self, step: int) -> None:
        """Where the run's generators stand before its forward pass: the twin starts from there."""
        self._random = torch.get_rng_state()
        self._cuda_random = [torch.cuda.get_rng_state(device) for device in self._devices]

    def gradients(self) -> None:
        c, twin = self.context, self.context.twin
        twin.sync_weights(c.model)
        with torch.random.fork_rng(devices=self._devices):
            torch.set_rng_state(self._random)
            for device, state in zip(self._devices, self._cuda_random, strict=True):
                torch.cuda.set_rng_state(state, device)
            loss = twin.forward_backward(c.x, c.y, accumulation=c.accumulation)
        if c.fabric.world_size > 1:
            # The run's own gradients are means over the processes, too.
            for parameter in twin.model.parameters():
                if parameter.grad is not None:
                    parameter.grad = c.fabric.all_reduce(parameter.grad, reduce_op="mean")
        c.readout.add([loss], lambda numbers: {"shadow_loss": numbers[0]})
        twin.observe_gradient_similarity(c.readout, c.model)

    def news(self) -> str:
        """Parameters that the last comparison left out for the first time."""
        left_out = self.context.twin.left_out if self.context.twin is not None else []
        new = [name for name in left_out if name not in self._told]
        self._told |= set(new)
        if not new:
            return ""
        return f"no gradient in FP32 but rounding, left out of the comparison: {', '.join(new)}"


def _ratios(table: dict[str, list[float]]) -> Metrics:
    ratios: dict[str, list[float]] = {"fp8": [], "fp32": [], "diff": []}
    found: Metrics = {}
    for name, (mean, std, mean32, std32) in table.items():
        low, high = mean_over_std(mean, std), mean_over_std(mean32, std32)
        for kind, value in (("fp8", low), ("fp32", high), ("diff", high - low)):
            found[f"grad_snr/{name}_{kind}"] = value
            ratios[kind].append(value)
    means = {f"grad_snr/mean_{kind}": mean_of_finite(values) for kind, values in ratios.items()}
    return {**found, **means}


def _errors_in_db(table: dict[str, tuple[float, float]]) -> Metrics:
    each = {name: decibels(signal, noise) for name, (signal, noise) in table.items()}
    return {
        **{f"grad_snr_db/{name}": value for name, value in each.items()},
        "grad_snr_db/mean": mean_of_finite(each.values()),
        "grad_snr_db/min": min(each.values()),
    }


@contextmanager
def _borrowed_random_state() -> Iterator[None]:
    """Whatever is drawn inside, the global torch generators are afterwards as before."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        yield
