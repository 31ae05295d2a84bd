"""Which parameter is what: the one place that sorts parameters into groups.

| role      | what                                                    | weight decay |
|-----------|---------------------------------------------------------|--------------|
| embedding | the table of every `nn.Embedding` (tokens, positions, values) | yes    |
| head      | the 2-D weight of the module named `lm_head`            | yes          |
| matrix    | every other 2-D parameter                               | yes          |
| scalar    | everything else: gains, biases, single numbers          | no           |

A tied head is one parameter under its first name, so it is an embedding and is counted once.
Parameters that ask for no gradient are in no group.
"""

from typing import Any

from torch import nn

from altgrad.optim.config import OptimConfig
from altgrad.optim.width_rule import check_network, group_factors

ROLES = ("matrix", "embedding", "head", "scalar")
HEAD_NAME = "lm_head"
REFERENCE_WIDTH = 768


def parameter_roles(model: nn.Module) -> dict[str, str]:
    """Parameter name -> role, for every trainable parameter once."""
    embeddings = {
        id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    }
    return {
        name: role_of(name, p, is_embedding=id(p) in embeddings)
        for name, p in model.named_parameters()
        if p.requires_grad
    }


def role_of(name: str, parameter: nn.Parameter, *, is_embedding: bool) -> str:
    if parameter.ndim != 2:
        return "scalar"
    if is_embedding:
        return "embedding"
    return "head" if HEAD_NAME in name.split(".") else "matrix"


def parameter_groups(
    model: nn.Module, config: OptimConfig, factors: dict[str, float]
) -> list[dict[str, Any]]:
    """One group per role that has parameters, in the order of ROLES.

    Each has `name`, `params`, `lr` and `weight_decay`. `factors[role]` times `config.lr` is the
    learning rate of a role whose own is null.
    """
    roles = parameter_roles(model)
    named = {name: p for name, p in model.named_parameters() if name in roles}
    members = {role: [p for name, p in named.items() if roles[name] == role] for role in ROLES}
    width = model_width(members)
    check_network(model, config)
    by_rule = group_factors(config, getattr(model, "config", None))
    return [
        {
            "name": role,
            "params": members[role],
            "lr": learning_rate(role, config, factors)
            * width_factor(role, config, width)
            * by_rule[role].lr,
            "weight_decay": 0.0 if role == "scalar" else config.weight_decay * by_rule[role].decay,
            **by_rule[role].epsilon(config.eps),
        }
        for role in ROLES
        if members[role]
    ]


def learning_rate(role: str, config: OptimConfig, factors: dict[str, float]) -> float:
    own = getattr(config, f"{role}_lr")
    return config.lr * factors[role] if own is None else own


def width_factor(role: str, config: OptimConfig, width: int | None) -> float:
    """(d_model / 768) ** -0.5 for embedding and head: nanochat's rule, tuned at width 768."""
    if not config.width_scaling or role not in ("embedding", "head"):
        return 1.0
    assert width is not None
    return (width / REFERENCE_WIDTH) ** -0.5


def model_width(members: dict[str, list[nn.Parameter]]) -> int | None:
    """Columns of the first embedding table, else of the head: the width of the residual stream."""
    tables = members["embedding"] + members["head"]
    return tables[0].shape[1] if tables else None
