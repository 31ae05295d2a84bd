"""What low precision does to a run: the one part of the trainer that knows about it.

It puts the recipe into the model, and around every step it looks: at the gradients before they are
clipped (statistics, FP32 shadow, dead neurons), at the weights before and after the optimiser moved
them (stalls and flips), at what the layers counted (overflow, underflow, …). `metrics()` gives the
numbers of the last step; names and units are in docs/metrics.md.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from altgrad.optim import OptimConfig, Storage, change_storage
from altgrad.optim.build import needs_grid
from altgrad.quantization import PerTensor
from altgrad.quantization.convert import (
    ConversionReport,
    apply_recipe,
    count_statistics,
    finish_step,
    load_quantization_state,
    needs_counts,
    quant_layers,
    quantization_state,
    strip_recipe,
)
from altgrad.quantization.recipe import ROLES, Cast, PrecisionConfig, Recipe, named_format
from altgrad.quantization.rounding import gradient_sums, round_values
from altgrad.quantization.weight_grid import WeightGrid, grids_of, refuse_delayed
from altgrad.runs import Metrics
from altgrad.training.instruments.code_use import observe_grid_use
from altgrad.training.instruments.config import DiagnosticsConfig, ShadowConfig, interval
from altgrad.training.instruments.dead_neurons import DeadNeurons
from altgrad.training.instruments.gradients import gradients_of, observe_gradient_stats
from altgrad.training.instruments.lost_updates import StallWatch
from altgrad.training.instruments.ranks import SpectrumWatch
from altgrad.training.instruments.readout import Readout
from altgrad.training.instruments.rounding_counts import observe_rounding
from altgrad.training.instruments.shadow import FP32ShadowModel


class Numerics:
    """The recipe of a run and the instruments around it.

    Args:
        model: converted in place.
        accumulation: micro-batches per step, which the shadow cuts alike.
        device: where the run computes.
    """

    def __init__(
        self,
        model: nn.Module,
        precision: PrecisionConfig,
        shadow: ShadowConfig,
        diagnostics: DiagnosticsConfig,
        *,
        seed: int,
        accumulation: int,
        device: torch.device,
    ) -> None:
        self.model, self.precision, self.accumulation = model, precision, accumulation
        self.seed = seed
        self.shadow = FP32ShadowModel(model) if shadow.enabled else None
        self.shadow_every = shadow.every_steps if shadow.enabled else -1
        self.report = self._convert(device)
        rounded = bool(self.report.converted)
        self.every = interval(diagnostics.every_steps, rounded=rounded, usual=1)
        self.rank_every = interval(diagnostics.rank_every_steps, rounded=rounded, usual=100)
        self.threshold = diagnostics.dead_neuron_threshold
        self.dead = DeadNeurons(self.threshold, diagnostics.dead_neuron_window)
        self.spectra = SpectrumWatch()
        self.stalls: StallWatch | None = None
        self.counting = self.shadowing = self.ranking = False
        self._found: Metrics = {}
        self._left_out: set[str] = set()
        self._readout = Readout()

    def _convert(self, device: torch.device) -> ConversionReport:
        report = ConversionReport()
        if self.precision.simulate:
            recipe = Recipe.of(self.precision)
            report = apply_recipe(self.model, recipe, seed=self.seed, device=device)
        self.layers = quant_layers(self.model)
        self.always_counting = needs_counts(self.layers)
        return report

    # -- wiring ---------------------------------------------------------------------------------

    def storage(self, optim: OptimConfig) -> Storage:
        """How the optimiser stores weights and state: grids from the recipe, nothing set twice."""
        self.optim = optim
        grids = grids_of(self.model) if self.rounds else {}
        if self.precision.storage != "master" or needs_grid(optim.name):
            refuse_delayed(grids)
        return Storage(
            grids=grids,
            geometry=_placebo(optim.stiffness, list(grids)),
            mode=self.precision.storage,
            stochastic=self.precision.storage_rounding == "stochastic",
            round_state=_state_rounding(optim.state_format),
            seed=self.seed,
        )

    def ready(self, fabric: Fabric, optimizer: Any, *, compiled: bool) -> None:
        """After the model is on its device and the optimiser is there."""
        self.fabric, self.optimizer = fabric, optimizer
        if self.shadow is not None:
            self.shadow.model.to(fabric.device)
            if compiled:
                self.shadow.compile()
        self.stalls = StallWatch(self.model, optimizer)

    def change_format(self, name: str) -> None:
        """From now on everything is rounded to `name`, with the settings it had otherwise."""
        strip_recipe(self.model)
        casts = {role: replace(getattr(self.precision, role), format=None) for role in ROLES}
        self.precision = replace(self.precision, format=name, modules={}, **casts)
        self.report = self._convert(self.fabric.device)
        change_storage(self.optimizer, self.optim, self.storage(self.optim))
        self.stalls = StallWatch(self.model, self.optimizer)

    # -- around a step --------------------------------------------------------------------------

    def before(self, step: int) -> None:
        """Before the forward pass of step number `step` (from 1)."""
        self._found, self._readout = {}, Readout()
        self.counting = _due(step, self.every)
        self.shadowing = _due(step, self.shadow_every)
        self.ranking = _due(step, self.rank_every)
        count_statistics(self.layers, self.counting or self.always_counting)
        self._random = torch.get_rng_state() if self.shadowing else None
        if self.shadowing and self.fabric.device.type == "cuda":
            self._cuda_random = torch.cuda.get_rng_state(self.fabric.device)

    def gradients(self, x: Tensor, y: Tensor) -> None:
        """After the backward pass, before clipping."""
        if self.counting:
            self._look_at_gradients()
            observe_rounding(self._readout, self.layers)
            assert self.stalls is not None
            self.stalls.before()
        if self.shadowing:
            self._compare_with_shadow(x, y)
        self._clip_to_range()

    def _look_at_gradients(self) -> None:
        gradients = gradients_of(self.model)
        if not gradients:
            return
        sums = gradient_sums(list(gradients.values()), self.threshold)
        observe_gradient_stats(self._readout, list(gradients), sums)
        self.dead.observe(self.model, gradients, sums.peaks)
        self.dead.measure_into(self._readout)

    def _clip_to_range(self) -> None:
        """Clamp each rounded weight's gradient to a multiple of its format's largest number."""
        if not self.precision.grad_clip_range:
            return
        for layer in self.layers.values():
            f = layer.recipe.grad_output.format
            if f is not None and layer.weight.grad is not None:
                limit = self.precision.grad_clip_range * f.max
                layer.weight.grad.clamp_(-limit, limit)

    def _compare_with_shadow(self, x: Tensor, y: Tensor) -> None:
        assert self.shadow is not None
        assert self._random is not None
        self.shadow.sync_weights(self.model)
        with torch.random.fork_rng(devices=self._cuda_devices()):
            torch.set_rng_state(self._random)
            if self._cuda_devices():
                torch.cuda.set_rng_state(self._cuda_random, self.fabric.device)
            loss = self.shadow.forward_backward(x, y, accumulation=self.accumulation)
        if self.fabric.world_size > 1:
            for parameter in self.shadow.model.parameters():
                if parameter.grad is not None:
                    mean = self.fabric.all_reduce(parameter.grad, reduce_op="mean")
                    parameter.grad = cast(Tensor, mean)
        self._readout.add([loss], lambda numbers: {"shadow_loss": numbers[0]})
        self.shadow.observe_gradient_similarity(self._readout, self.model)

    def _cuda_devices(self) -> list[torch.device]:
        return [self.fabric.device] if self.fabric.device.type == "cuda" else []

    def moved(self) -> None:
        """After the optimiser's step, or instead of it where the guard left the weights alone."""
        if self.ranking:
            self.spectra.measure_into(self._readout, self.model)
        if self.counting and self.stalls is not None:
            if self.ranking:
                observe_grid_use(self._readout, self.model, self.stalls.weights_before)
            self.stalls.after_into(self._readout)
        finish_step(self.layers, self._largest if self.fabric.world_size > 1 else None)

    def _largest(self, values: Tensor) -> Tensor:
        return cast(Tensor, self.fabric.all_reduce(values, reduce_op="max"))

    def metrics(self) -> Metrics:
        """The numbers of the last step, read from the device all at once.

        Empty in a plain run without a shadow.
        """
        self._found |= self._readout.read()
        return self._found

    def news(self) -> str:
        """What the last step's comparison left out for the first time, in words; or nothing."""
        left_out = self.shadow.left_out if self.shadow is not None else []
        new = [name for name in left_out if name not in self._left_out]
        self._left_out |= set(new)
        if not new:
            return ""
        return f"no gradient in FP32 but rounding, left out of the comparison: {', '.join(new)}"

    # -- state ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "format": self.precision.format,
            "layers": quantization_state(self.model),
            "dead": self.dead.state_dict(),
            "spectra": self.spectra.state_dict(),
            "stalls": self.stalls.state_dict() if self.stalls is not None else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["format"] != self.precision.format:
            self.change_format(state["format"])
        load_quantization_state(self.model, state["layers"])
        self.dead.load_state_dict(state["dead"])
        self.spectra.load_state_dict(state["spectra"])
        if self.stalls is not None:
            self.stalls.load_state_dict(state["stalls"])

    @property
    def rounds(self) -> bool:
        """Whether any layer is rounded."""
        return bool(self.layers)


def _placebo(stiffness: str, parameters: list[Tensor]) -> dict[Tensor, WeightGrid] | None:
    """The grids of another format, where `optim.stiffness` names one."""
    if stiffness in ("own", "shuffled"):
        return None
    cast = Cast(named_format(stiffness, "optim.stiffness"))
    return {p: WeightGrid(cast) for p in parameters}


def _state_rounding(name: str | None) -> Callable[[Tensor], Tensor] | None:
    """Rounds a tensor of the optimiser's state, with one power-of-two scale per tensor."""
    if name is None:
        return None
    f, scaling = named_format(name, "optim.state_format"), PerTensor("power_of_two")
    if not (f.signed and f.has_zero):
        raise ValueError(f"optim.state_format={name} has no sign or no zero; momentum needs both")
    return lambda x: round_values(x, f, scaling=scaling, out_dtype=x.dtype).values


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0
