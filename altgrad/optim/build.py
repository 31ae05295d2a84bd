"""`OptimConfig` -> one `torch.optim.Optimizer` over every trainable parameter of a model.

A new optimiser is a function here (or `package.module:function`) from parameter groups and config
to an optimiser, one line in OPTIMIZERS, and, where its rates differ by role, one in LR_FACTORS.
"""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from altgrad.optim.combined import CombinedOptimizer
from altgrad.optim.config import OptimConfig
from altgrad.optim.groups import parameter_groups
from altgrad.optim.muon import Muon
from altgrad.optim.names import lookup

Groups = list[dict[str, Any]]
FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


def adamw(groups: Groups, config: OptimConfig) -> Optimizer:
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


def muon(groups: Groups, config: OptimConfig) -> Optimizer:
    """Muon for the matrices, AdamW for the rest."""
    matrices = [group for group in groups if group["name"] == "matrix"]
    rest = [group for group in groups if group["name"] != "matrix"]
    parts: list[Optimizer] = [adamw(rest, config)] if rest else []
    if matrices:
        muon_part = Muon(
            matrices,
            momentum=config.momentum,
            nesterov=config.nesterov,
            ns_steps=config.ns_steps,
            scale=config.muon_scale,
            momentum_warmup_steps=config.momentum_warmup_steps,
        )
        parts.insert(0, muon_part)
    return CombinedOptimizer(parts)


def sgd(groups: Groups, config: OptimConfig) -> Optimizer:
    """torch.optim.SGD; its weight decay is added to the gradient, not decoupled."""
    return SGD(groups, momentum=config.momentum, nesterov=config.nesterov)


OPTIMIZERS: dict[str, Callable[[Groups, OptimConfig], Optimizer]] = {
    "adamw": adamw,
    "muon": muon,
    "sgd": sgd,
}

SAME = {"matrix": 1.0, "embedding": 1.0, "head": 1.0, "scalar": 1.0}
# Muon's rate is in units of an orthogonal step; heads and gains want a fifth of it under Adam.
LR_FACTORS = {"muon": {"matrix": 1.0, "embedding": 1.0, "head": 0.2, "scalar": 0.2}}


def build_optimizer(model: nn.Module, config: OptimConfig) -> Optimizer:
    """One optimiser whose groups have `name`, `lr`, `initial_lr` and `weight_decay`.

    Raises ValueError for an unknown name, a value out of range, or a model without trainable
    parameters.
    """
    config.check()
    make = lookup(OPTIMIZERS, config.name, "optim.name")
    groups = parameter_groups(model, config, lr_factors(config))
    if not groups:
        raise ValueError("the model has no trainable parameter; nothing to optimise")
    optimizer = make(groups, config)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def lr_factors(config: OptimConfig) -> dict[str, float]:
    """Role -> factor on `config.lr`; an RMS-matched Muon step wants one rate everywhere."""
    if config.muon_scale == "match_rms_adamw":
        return SAME
    return LR_FACTORS.get(config.name, SAME)
