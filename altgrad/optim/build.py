"""`OptimConfig` -> one `torch.optim.Optimizer` over every trainable parameter of a model.

A new optimiser is a function as in `makers.py` (or `package.module:function`), one line in
OPTIMIZERS, and, where its rates differ by role, one in LR_FACTORS. Optimisers that know the grid
need a number format per weight, which `Storage` brings.
"""

from functools import partial

from torch import nn
from torch.optim import Optimizer

from altgrad.optim.config import OptimConfig
from altgrad.optim.grid import Storage
from altgrad.optim.grid_steps import GridOptimizer
from altgrad.optim.groups import parameter_groups
from altgrad.optim.makers import (
    Builder,
    Groups,
    adamw,
    fields_of,
    grid,
    m_adam,
    madam,
    manifold,
    muon,
    sgd,
    spacing,
    ulp,
)
from altgrad.optim.manifold import ManifoldOptimizer
from altgrad.optim.network_setup import OWN, own_setup
from altgrad.optim.outside import arguments_of, as_maker, checked, is_plain
from altgrad.optim.stiffness import published_stiffness
from altgrad.optim.stored import StoredOptimizer
from altgrad.optim.ulp import UlpOptimizer
from altgrad.outside import lookup

OPTIMIZERS: dict[str, Builder] = {
    "adamw": adamw,
    "muon": muon,
    "sgd": sgd,
    "manifold_adamw": partial(manifold, adamw),
    "manifold_muon": partial(manifold, muon),
    "manifold_sgd": partial(manifold, sgd),
    "ulp_adamw": partial(ulp, adamw),
    "ulp_muon": partial(ulp, muon),
    "ulp_sgd": partial(ulp, sgd),
    "grid": partial(grid, sgd),
    "grid_adamw": partial(grid, adamw),
    "grid_muon": partial(grid, muon),
    "madam": madam,
    "lns_madam": madam,
    "m_adam": m_adam,
}

ADAM = ("betas", "eps")
SGD = ("momentum", "nesterov")
MUON = (*SGD, "ns_steps", "muon_scale", "momentum_warmup_steps", "neuron_beta", *ADAM)
STEERED = ("stiffness", "placebo")
SPACED = (*STEERED, "match_rms")
RUNGS = ("rung_clip", "free_lr", *ADAM)
MADAM = ("madam_bound", "madam_scale", "free_lr", *ADAM)

READS: dict[str, tuple[str, ...]] = {
    "adamw": ADAM,
    "muon": MUON,
    "sgd": SGD,
    "manifold_adamw": (*ADAM, *STEERED),
    "manifold_muon": (*MUON, *STEERED),
    "manifold_sgd": (*SGD, *STEERED),
    "ulp_adamw": (*ADAM, *SPACED),
    "ulp_muon": (*MUON, *SPACED),
    "ulp_sgd": (*SGD, *SPACED),
    "grid": (*SGD, *RUNGS),
    "grid_adamw": RUNGS,
    "grid_muon": (*MUON, *RUNGS),
    "madam": MADAM,
    "lns_madam": (*MADAM, "lns_steps_per_octave"),
    "m_adam": (*ADAM, "free_lr", "exponent_lr_ratio"),
}
"""Settings `optim.*` that an optimiser reads beside those that hold for all (rates by role, decay,
clipping, averaging, the state's format). A battery proves each line by what the steps do."""

STORES = {"grid": "rounded", "grid_adamw": "rounded", "grid_muon": "rounded"}
"""Optimisers that leave no choice of `precision.storage`: they go from stored number to number."""

SAME = {"matrix": 1.0, "embedding": 1.0, "head": 1.0, "scalar": 1.0}
# Muon's rate is in units of an orthogonal step; heads and gains want a fifth of it under Adam.
FOR_MUON = {"matrix": 1.0, "embedding": 1.0, "head": 0.2, "scalar": 0.2}
LR_FACTORS = {"muon": FOR_MUON, "manifold_muon": FOR_MUON, "ulp_muon": FOR_MUON}

LINEAR_IN_MOMENTUM = (
    "adamw",
    "sgd",
    "manifold_adamw",
    "manifold_sgd",
    "ulp_adamw",
    "ulp_sgd",
)


def build_optimizer(
    model: nn.Module, config: OptimConfig, storage: Storage | None = None
) -> Optimizer:
    """One optimiser whose groups have `name`, `lr`, `initial_lr` and `weight_decay`.

    With a `storage` other than `master` (and for grid*) the weights are put on their grids here.
    Raises ValueError for an unknown name, a value out of range, an impossible pair of optimiser
    and storage, or a model without trainable parameters.
    """
    config.check()
    storage = storage or Storage()
    if config.name == OWN:
        return _finished(own_setup(model, config), storage)
    make = as_maker(config.name, lookup({**OPTIMIZERS, OWN: own_setup}, config.name, "optim.name"))
    groups = parameter_groups(model, config, lr_factors(config))
    if not groups:
        raise ValueError("the model has no trainable parameter; nothing to optimise")
    _refuse_impossible_storage(config, storage, groups)
    return _finished(checked(config.name, make(groups, config, storage)), storage)


def _finished(optimizer: Optimizer, storage: Storage) -> Optimizer:
    if storage.mode != "master" or storage.round_state is not None:
        optimizer = StoredOptimizer(optimizer, storage)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def needs_grid(name: str) -> bool:
    """Whether the optimiser steers by the numbers that weights are stored as."""
    return bool({"stiffness", "rung_clip"} & set(READS.get(name, ())))


def reads_of(name: str) -> tuple[str, ...] | None:
    """What the optimiser of that name reads beside what holds for all; None = it does not say.

    Outside code may say it in an attribute `reads`, a plain `torch.optim.Optimizer` says it by the
    arguments of its constructor.
    """
    if name == OWN:
        return None  # the class's setup says it (`training/unread_settings.py`)
    if ":" not in name:
        return READS.get(name)
    try:
        made = lookup(OPTIMIZERS, name, "optim.name")
    except ValueError:
        return None  # refused, with the reason, where it is to be used
    if is_plain(made):
        return tuple(arguments_of(made))
    return getattr(made, "reads", None)


def change_storage(optimizer: Optimizer, config: OptimConfig, storage: Storage) -> None:
    """Store and steer by other grids from the next step on, as after a change of format.

    The mode of storage and the parameters that have grids must stay what they were.
    """
    if isinstance(optimizer, StoredOptimizer):
        optimizer.storage = storage
    elif isinstance(optimizer, GridOptimizer):
        optimizer.grids = storage.grids
    elif isinstance(optimizer, ManifoldOptimizer):
        optimizer.fields = fields_of(config, storage, published_stiffness)
    elif isinstance(optimizer, UlpOptimizer):
        optimizer.fields = fields_of(config, storage, spacing)
    for part in getattr(optimizer, "parts", []):
        change_storage(part, config, storage)


def lr_factors(config: OptimConfig) -> dict[str, float]:
    """Role -> factor on `config.lr`; an RMS-matched Muon step wants one rate everywhere."""
    if config.muon_scale == "match_rms_adamw":
        return SAME
    return LR_FACTORS.get(config.name, SAME)


def _refuse_impossible_storage(config: OptimConfig, storage: Storage, groups: Groups) -> None:
    if storage.mode == "error_feedback" and not (
        config.name in LINEAR_IN_MOMENTUM and (config.momentum > 0 or "adam" in config.name)
    ):
        raise ValueError(
            f"precision.storage=error_feedback cannot put its error into the momentum of "
            f"optim.name={config.name!r}; choose one of {', '.join(LINEAR_IN_MOMENTUM)}, "
            "or precision.storage=kahan"
        )
    if storage.mode in ("kahan", "error_feedback") and config.name.startswith("grid"):
        raise ValueError(
            f"optim.name={config.name!r} moves from stored number to stored number and leaves "
            f"nothing for precision.storage={storage.mode}; set precision.storage=rounded"
        )
    if (config.state_format is None) != (storage.round_state is None):
        raise ValueError(f"optim.state_format={config.state_format!r} has no rounding handed in")
    sharded = any(hasattr(p, "full_tensor") for group in groups for p in group["params"])
    if sharded and (storage.grids or storage.round_state):
        raise ValueError("strategy=fsdp shards weights, number formats need them whole; use ddp")
