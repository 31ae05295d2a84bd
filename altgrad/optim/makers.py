"""One function per optimiser: parameter groups, config and storage -> `torch.optim.Optimizer`."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from altgrad.optim.combined import CombinedOptimizer
from altgrad.optim.config import OptimConfig
from altgrad.optim.grid import Grid, Storage
from altgrad.optim.grid_steps import GridOptimizer
from altgrad.optim.m_adam import MAdam
from altgrad.optim.madam import Madam
from altgrad.optim.manifold import ManifoldOptimizer
from altgrad.optim.muon import Muon
from altgrad.optim.stiffness import PLACEBOS, Field, published_stiffness, shuffled
from altgrad.optim.ulp import UlpOptimizer

Groups = list[dict[str, Any]]
Builder = Callable[[Groups, OptimConfig, Storage], Optimizer]
FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


def adamw(groups: Groups, config: OptimConfig, storage: Storage) -> Optimizer:
    """torch.optim.AdamW, fused where torch has a kernel for it."""
    devices = {p.device.type for group in groups for p in group["params"]}
    optimizer = AdamW(
        groups,
        betas=(config.betas[0], config.betas[1]),
        eps=config.eps,
        fused=devices <= set(FUSED_DEVICES),
    )
    # A gradient scaler must unscale before clipping, not hand the scale to the fused kernel.
    optimizer._step_supports_amp_scaling = False
    return optimizer


def muon(groups: Groups, config: OptimConfig, storage: Storage) -> Optimizer:
    """Muon for the matrices, AdamW for the rest."""
    matrices, rest = split(groups, lambda name, p: name == "matrix")
    parts: list[Optimizer] = [adamw(rest, config, storage)] if rest else []
    if matrices:
        muon_part = Muon(
            matrices,
            momentum=config.momentum,
            nesterov=config.nesterov,
            ns_steps=config.ns_steps,
            scale=config.muon_scale,
            momentum_warmup_steps=config.momentum_warmup_steps,
            neuron_beta=config.neuron_beta,
        )
        parts.insert(0, muon_part)
    return CombinedOptimizer(parts)


def sgd(groups: Groups, config: OptimConfig, storage: Storage) -> Optimizer:
    """torch.optim.SGD; its weight decay is added to the gradient, not decoupled."""
    return SGD(groups, momentum=config.momentum, nesterov=config.nesterov)


def manifold(base: Builder, groups: Groups, config: OptimConfig, storage: Storage) -> Optimizer:
    fields = fields_of(config, storage, published_stiffness)
    even = config.placebo == "constant"
    return ManifoldOptimizer(base(groups, config, storage), fields, even=even)


def ulp(base: Builder, groups: Groups, config: OptimConfig, storage: Storage) -> Optimizer:
    fields = fields_of(config, storage, spacing)
    return UlpOptimizer(
        base(groups, config, storage),
        fields,
        match_rms=config.match_rms,
        even=config.placebo == "constant",
    )


def spacing(grid: Grid) -> Field:
    return grid.ulp


def grid(base: Builder, groups: Groups, config: OptimConfig, storage: Storage) -> Optimizer:
    grids = _needed_grids(config, storage)
    on_grid, rest = split(groups, lambda name, p: p in grids)
    return GridOptimizer(
        base(on_grid, config, storage),
        adamw(_at_free_rate(rest, config), config, storage) if rest else None,
        grids,
        rung_clip=config.rung_clip,
        seed=storage.seed,
    )


def madam(groups: Groups, config: OptimConfig, storage: Storage) -> Optimizer:
    levels = config.lns_steps_per_octave if config.name == "lns_madam" else 0
    make = partial(
        Madam, bound=config.madam_bound, scale=config.madam_scale, steps_per_octave=levels
    )
    return _with_adamw(make, groups, config, storage)


def m_adam(groups: Groups, config: OptimConfig, storage: Storage) -> Optimizer:
    make = partial(
        MAdam,
        betas=(config.betas[0], config.betas[1]),
        eps=config.eps,
        exponent_lr_ratio=config.exponent_lr_ratio,
    )
    return _with_adamw(make, groups, config, storage)


def split(groups: Groups, belongs: Callable[[str, Tensor], bool]) -> tuple[Groups, Groups]:
    """Groups of the parameters, of any shape, with `belongs(group name, p)`, and of the others."""

    def chosen(wanted: bool) -> Groups:
        kept = (
            {**group, "params": [p for p in group["params"] if belongs(group["name"], p) == wanted]}
            for group in groups
        )
        return [group for group in kept if group["params"]]

    return chosen(True), chosen(False)


def _with_adamw(
    make: Callable[[Groups], Optimizer], groups: Groups, config: OptimConfig, storage: Storage
) -> Optimizer:
    """`make` for what is 2-D, AdamW at its free rate for the rest."""
    matrices, rest = split(groups, lambda name, p: p.ndim == 2)
    parts = [make(matrices)] if matrices else []
    if rest:
        parts.append(adamw(_at_free_rate(rest, config), config, storage))
    return CombinedOptimizer(parts)


def _at_free_rate(groups: Groups, config: OptimConfig) -> Groups:
    """A role's own rate where it is set, else `free_lr`."""
    own = {g["name"]: getattr(config, f"{g['name']}_lr") is not None for g in groups}
    return [{**g, "lr": g["lr"] if own[g["name"]] else config.free_lr} for g in groups]


def _needed_grids(config: OptimConfig, storage: Storage) -> Mapping[Tensor, Grid]:
    if not storage.grids:
        raise ValueError(
            f"optim.name={config.name!r} needs weights with a number format, and none has one; "
            "set precision (e.g. precision=e4m3)" + _without_rounding(config)
        )
    return storage.grids


def _without_rounding(config: OptimConfig) -> str:
    """A second cure, for those that only need to know a spacing."""
    if config.name.startswith("grid"):
        return ""
    return ", or name a format's spacing for weights that are not rounded (optim.stiffness=e4m3)"


def fields_of(
    config: OptimConfig, storage: Storage, field_of: Callable[[Grid], Field]
) -> dict[Tensor, Field]:
    """The stiffness, of the weight's shape, of each steered weight: its own or another format's."""
    grids = storage.geometry
    if config.stiffness == "own":
        grids = _needed_grids(config, storage)
    if not grids:
        raise ValueError(
            f"optim.stiffness={config.stiffness!r} is neither own nor a known format; "
            f"the placebos of a spacing are optim.placebo={' or '.join(PLACEBOS[1:])}"
        )
    fields = {p: field_of(grid) for p, grid in grids.items()}
    if config.placebo == "shuffled":
        return {p: shuffled(field, storage.seed) for p, field in fields.items()}
    return fields
