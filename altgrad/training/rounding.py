"""How a run's model is rounded: its recipe, its storage on the grid, and a change of format."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.optim import OptimConfig, Storage
from altgrad.optim.build import STORES, needs_grid
from altgrad.quantization import PerTensor
from altgrad.quantization.convert import (
    ConversionReport,
    apply_recipe,
    load_quantization_state,
    plain_layers,
    quant_layers,
    quantization_state,
    strip_recipe,
)
from altgrad.quantization.recipe import ROLES, Cast, PrecisionConfig, Recipe, named_format
from altgrad.quantization.rounding import round_values
from altgrad.quantization.weight_grid import WeightGrid, grids_of, refuse_delayed

STORED_BY_OPTIMIZER = {
    **dict.fromkeys(STORES, "stored on the grid, and moved from number to number there"),
    "lns_madam": "powers of a constant (the optimiser's logarithmic numbers), rounded copies used",
}
"""Optimisers that decide how weights are stored -> how, in words."""


class ModelRounding:
    """Rounds a model in place; from here on it computes as `precision` says.

    Args:
        seed: of stochastic rounding.
        device: where the run computes.

    Attributes:
        precision: as it is now; other settings after a change of format.
        report: what was converted. layers: name -> rounded layer, empty in a plain run.
    """

    def __init__(
        self, model: nn.Module, precision: PrecisionConfig, *, seed: int, device: torch.device
    ) -> None:
        self.model, self.precision, self.seed, self.device = model, precision, seed, device
        self._convert()

    def _convert(self) -> None:
        self.report = ConversionReport()
        if self.precision.simulate:
            recipe = Recipe.of(self.precision)
            self.report = apply_recipe(self.model, recipe, seed=self.seed, device=self.device)
        self.layers = quant_layers(self.model)

    @property
    def rounds(self) -> bool:
        """Whether any layer is rounded."""
        return bool(self.layers)

    def change_format(self, name: str) -> None:
        """Round everything to `name`, with the settings it had otherwise."""
        strip_recipe(self.model)
        casts = {role: replace(getattr(self.precision, role), format=None) for role in ROLES}
        self.precision = replace(self.precision, format=name, modules={}, **casts)
        self._convert()

    def storage(self, optim: OptimConfig) -> Storage:
        """How an optimiser stores weights and state: grids from the recipe, nothing set twice."""
        grids = grids_of(self.model) if self.rounds else {}
        if self.precision.storage != "master" or needs_grid(optim.name):
            refuse_delayed(grids)
        return Storage(
            grids=grids,
            geometry=self._geometry(optim.stiffness, list(grids)),
            mode=self.precision.storage,
            stochastic=self.precision.storage_rounding == "stochastic",
            round_state=_state_rounding(optim.state_format),
            seed=self.seed,
        )

    def _geometry(self, stiffness: str, rounded: list[Tensor]) -> dict[Tensor, WeightGrid] | None:
        """The grids of the format that `optim.stiffness` names, if any: of the rounded weights, or
        in a plain run of those that a recipe would round."""
        if stiffness == "own":
            return None
        cast = Cast(named_format(stiffness, "optim.stiffness"))
        steered = rounded or [layer.weight for layer in plain_layers(self.model).values()]
        return {p: WeightGrid(cast) for p in steered}

    def storage_in_words(self, optim: OptimConfig) -> str:
        """How weights are stored, for the lines at a run's start."""
        mode, how = self.precision.storage, self.precision.storage_rounding
        if words := STORED_BY_OPTIMIZER.get(optim.name):
            return words
        if mode == "master":
            return "FP32 master weights, rounded copies used"
        return f"stored on the grid ({mode.replace('_', ' ')}, {how.replace('_', ' ')})"

    def clip_gradients(self) -> None:
        """Clamp each rounded weight's gradient to a multiple of its format's largest number."""
        if not self.precision.grad_clip_range:
            return
        for layer in self.layers.values():
            f = layer.recipe.grad_output.format
            if f is not None and layer.weight.grad is not None:
                limit = self.precision.grad_clip_range * f.max
                layer.weight.grad.clamp_(-limit, limit)

    def state_dict(self) -> dict[str, Any]:
        return {"format": self.precision.format, "layers": quantization_state(self.model)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Scales and generators of the layers; the format must be the one they had."""
        load_quantization_state(self.model, state["layers"])


def _state_rounding(name: str | None) -> Callable[[Tensor], Tensor] | None:
    """Rounds a tensor of the optimiser's state, with one power-of-two scale per tensor."""
    if name is None:
        return None
    f, scaling = named_format(name, "optim.state_format"), PerTensor("power_of_two")
    if not (f.signed and f.has_zero):
        raise ValueError(f"optim.state_format={name} has no sign or no zero; momentum needs both")
    return lambda x: round_values(x, f, scaling=scaling, out_dtype=x.dtype).values
