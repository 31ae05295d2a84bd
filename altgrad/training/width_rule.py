"""The network's part of `optim.width_rule`: settings of the model that follow from it.

`optim.width_rule` is one setting with two halves: rates, which the optimiser's groups get, and the
network's start and factors, which have to be known before it is built.
"""

import dataclasses
from typing import Any

from altgrad.model.config import GPTConfig
from altgrad.optim.width_rule import network_settings
from altgrad.settings import require
from altgrad.training.config import TrainConfig


def settle_width_rule(config: TrainConfig) -> None:
    """Fill in `model.*` as the rule asks for; nothing without one.

    Raises:
        ConfigError: a setting of the network that the rule sets was given another value, or a width
            inside it does not grow with n_embd.
    """
    rule = config.optim.width_rule
    if rule is None:
        return
    require(
        config.finetune.name == "none",
        f"optim.width_rule={rule} is for networks that are trained whole; set finetune=none.",
    )
    require(
        config.model.n_inner is None,
        f"optim.width_rule={rule} needs widths that grow with n_embd; set model.n_inner=null.",
    )
    wanted = network_settings(config.optim, config.model)
    for name, value in wanted.items():
        _refuse_other(rule, name, getattr(config.model, name), value)
    config.model = dataclasses.replace(config.model, **wanted)


def _refuse_other(rule: str, name: str, given: Any, wanted: Any) -> None:
    plain = getattr(GPTConfig(), name)
    require(
        given in (plain, wanted),
        f"model.{name}={given} is not what optim.width_rule={rule} makes it ({wanted}); "
        "leave it out.",
    )
