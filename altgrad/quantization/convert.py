"""Putting a recipe into a built model, and taking it out again.

Conversion changes a linear layer's class and nothing else: parameters, names, hooks, ties and the
optimiser's references stay the objects they were. `strip_recipe` changes it back, so a stripped
model computes what it computed before, bit for bit.
"""

import copy
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.quantization import fp8_products
from altgrad.quantization.fp32_products import Fp32Linear
from altgrad.quantization.linear import AMAX, QuantLinear, Rounding
from altgrad.quantization.recipe import ROLES, LayerRecipe, Recipe
from altgrad.quantization.scaling import StatefulScaling

OWN_ATTRIBUTES = ("recipe", "roundings", "tick", "probe", "rounding_enabled", "count", "plain")


@dataclass
class ConversionReport:
    """What became of a model's layers: name -> recipe, or name -> why not."""

    converted: dict[str, LayerRecipe] = field(default_factory=dict)
    left_alone: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """For a person: one line per different recipe, and one per reason."""
        groups: dict[str, list[str]] = {}
        for name, layer in self.converted.items():
            text = "; ".join(f"{r.replace('_', ' of ')} {getattr(layer, r)}" for r in ROLES)
            groups.setdefault(text, []).append(name)
        rows = [f"{_shorten(names)}: {text}" for text, names in groups.items()]
        reasons: dict[str, list[str]] = {}
        for name, reason in self.left_alone.items():
            reasons.setdefault(reason, []).append(name)
        return rows + [f"not rounded: {_shorten(n)} ({reason})" for reason, n in reasons.items()]


def _shorten(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} layers ({names[0]} …)"


def apply_recipe(
    model: nn.Module, recipe: Recipe, *, seed: int = 0, device: torch.device | None = None
) -> ConversionReport:
    """Round the linear layers of `model` in place as `recipe` says.

    `seed` is of stochastic rounding; every layer draws its own bits. `device` is where the model
    will compute, by default where it is: native products are refused where they cannot be had.

    Raises:
        ValueError: the model has a recipe already, a name pattern fits no layer, or native
            products cannot be had.
    """
    if any(isinstance(m, QuantLinear) for m in model.modules()):
        raise ValueError("this model has a recipe already; strip_recipe(model) first")
    report = ConversionReport()
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    _refuse_unused(recipe, list(layers))
    for name, module in layers.items():
        layer = recipe.for_module(name)
        reason = _why_not(module, layer)
        if reason is None and layer is not None:
            report.converted[name] = layer
        else:
            report.left_alone[name] = reason or ""
    _refuse_native(model, report, device)
    for name, layer in report.converted.items():
        _convert(layers[name], layer, zlib.crc32(f"{seed}/{name}".encode()))
    return report


def _refuse_unused(recipe: Recipe, names: list[str]) -> None:
    if unused := recipe.unused_patterns(names):
        raise ValueError(
            f"precision: the pattern {unused[0]!r} fits no linear layer; there are, for example, "
            f"{', '.join(names[:3] + names[-1:])}"
        )


PLAIN = (nn.Linear, Fp32Linear)
"""What a recipe rounds; a subclass of somebody's own computes in its own way."""


def plain_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Name -> linear layer that a recipe without `skip` would round and that is not rounded now."""
    return {n: m for n, m in model.named_modules() if type(m) in PLAIN}


def _why_not(module: nn.Module, layer: LayerRecipe | None) -> str | None:
    if type(module) not in PLAIN:
        return f"a {type(module).__name__}, not a plain nn.Linear"
    if layer is None:
        return "named in precision.skip"
    return None if layer.rounds else "no format in the recipe"


def _refuse_native(model: nn.Module, report: ConversionReport, device: torch.device | None) -> None:
    native = [name for name, layer in report.converted.items() if layer.native]
    if not native:
        return
    modules = dict(model.named_modules())
    shapes = {n: tuple(modules[n].weight.shape) for n in native}
    device = device or next(model.parameters()).device
    if reason := fp8_products.refusal(device, shapes):
        raise ValueError(reason)


def _convert(module: nn.Module, layer: LayerRecipe, seed: int) -> None:
    assert isinstance(module, nn.Linear)
    plain = type(module)
    module.__class__ = QuantLinear
    assert isinstance(module, QuantLinear)
    module.plain = plain
    module.recipe = layer
    module.roundings = {
        role: Rounding(getattr(layer, role), seed * 3 + i, native=layer.native)
        for i, role in enumerate(ROLES)
    }
    module.rounding_enabled = True
    module.count = False
    module.place()


def strip_recipe(model: nn.Module) -> nn.Module:
    """Make every rounded layer the plain `nn.Linear` that it was, in place; returns the model."""
    for module in quant_layers(model).values():
        plain = module.plain
        for name in OWN_ATTRIBUTES:
            module.__dict__.pop(name, None)
        setattr(module, "__class__", plain)  # noqa: B010 - mypy takes an assignment for a mistake
    return model


Layers = Mapping[str, QuantLinear]
"""What `quant_layers` gives; whoever asks every step finds them once and hands them on."""


def quant_layers(model: nn.Module | Layers) -> Layers:
    """Name -> rounded layer."""
    if not isinstance(model, nn.Module):
        return model
    return {n: m for n, m in model.named_modules() if isinstance(m, QuantLinear)}


@contextmanager
def unrounded(model: nn.Module) -> Iterator[None]:
    """Inside, the model computes without rounding: for `val_loss_unrounded`."""
    layers = quant_layers(model).values()
    for layer in layers:
        layer.rounding_enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.rounding_enabled = True


def count_statistics(model: nn.Module | Layers, on: bool) -> None:
    """Whether training steps count overflow, underflow and the like."""
    for layer in quant_layers(model).values():
        layer.count = on


def finish_step(
    model: nn.Module | Layers, over_processes: Callable[[Tensor], Tensor] | None = None
) -> None:
    """After every optimiser step: new random bits, newer histories, no host synchronisation.

    A history gets the largest amax of the step's micro-batches. `over_processes` makes of a tensor
    (histories,) its elementwise maximum over all processes, so that all keep the same histories.
    """
    layers = quant_layers(model).values()
    if layers:
        torch._foreach_add_([layer.tick for layer in layers], 1)
    learning = [
        (scaling, _grad(layer.probe)[ROLES.index(role), AMAX])
        for layer in layers
        if layer.probe.grad is not None
        for role, scaling in layer.scalings.items()
        if scaling.remembers
    ]
    if learning:
        amax = torch.stack([largest for _, largest in learning])
        amax = over_processes(amax) if over_processes else amax
        for (scaling, _), largest in zip(learning, amax, strict=True):
            scaling.update(largest)
    for layer in layers:
        layer.probe.grad = None


def needs_counts(model: nn.Module | Layers) -> bool:
    """Whether a scaling lives on the counts (delayed), so that they cannot be turned off."""
    layers = quant_layers(model).values()
    return any(scaling.remembers for layer in layers for scaling in layer.scalings.values())


def quantization_state(model: nn.Module) -> dict[str, Any]:
    """What a checkpoint needs beside the state_dict: step counts and what scalings remember."""
    return {name: _layer_state(layer) for name, layer in quant_layers(model).items()}


def _layer_state(layer: QuantLinear) -> dict[str, Tensor]:
    kept = {
        place: scaling.state_dict()[name].clone()
        for role, scaling in layer.scalings.items()
        for name, place in _places(role, scaling).items()
    }
    return {"tick": layer.tick.clone(), **kept}


def _places(role: str, scaling: StatefulScaling) -> dict[str, str]:
    """Name in a scaling's state -> name in its layer's: a single tensor (a history) stands under
    the role itself, as it always has."""
    names = list(scaling.state_dict())
    return {name: role if len(names) == 1 else f"{role}.{name}" for name in names}


def load_quantization_state(model: nn.Module, state: dict[str, Any]) -> None:
    """Restore `quantization_state`.

    Raises:
        ValueError: the rounded layers are not the saved ones.
    """
    layers = quant_layers(model)
    if set(layers) != set(state):
        raise ValueError(
            f"the checkpoint rounds other layers: {', '.join(sorted(set(layers) ^ set(state)))}"
        )
    for name, layer in layers.items():
        saved = state[name]
        layer.tick.copy_(saved["tick"])
        for role, scaling in layer.scalings.items():
            places = _places(role, scaling)
            scaling.load_state_dict({key: saved[place] for key, place in places.items()})


def copy_without_recipe(model: nn.Module) -> nn.Module:
    """An independent copy that computes without rounding."""
    return strip_recipe(copy.deepcopy(model))


def read_counts(model: nn.Module | Layers) -> dict[str, dict[str, Tensor]]:
    """Layer -> role -> what the last step counted: float32 (COLUMNS,), on the device.

    Only roles that are rounded; empty unless `count_statistics` is on. `amax` is the largest of
    the step's micro-batches, all else their sum.
    """
    layers = counted_layers(model)
    if not layers:
        return {}
    return {
        name: {r: line[ROLES.index(r)] for r in rounded_roles(layer)}
        for (name, layer), line in zip(layers.items(), count_table(layers), strict=True)
    }


def rounded_roles(layer: QuantLinear) -> list[str]:
    return [role for role in ROLES if getattr(layer.recipe, role).format is not None]


def counted_layers(model: nn.Module | Layers) -> dict[str, QuantLinear]:
    """The layers that counted in the last step."""
    return {n: layer for n, layer in quant_layers(model).items() if layer.probe.grad is not None}


def count_table(layers: Layers) -> Tensor:
    """(layers, roles, COLUMNS): `read_counts` as one tensor."""
    return torch.stack([_grad(layer.probe) for layer in layers.values()])


def _grad(probe: Tensor) -> Tensor:
    assert probe.grad is not None
    return probe.grad
