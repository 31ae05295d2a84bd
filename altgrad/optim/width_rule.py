"""Rates that travel: what `optim.width_rule` makes of a rate found at a smaller size.

m = n_embd / base_width and l = n_layer / base_depth say how much larger a network is than the one
its rates are meant for. Everything below is a power of them, and at m = l = 1 nothing changes.

| what                              | mup, completep               | where                         |
|-----------------------------------|------------------------------|-------------------------------|
| start of matrices in the blocks   | std · m^-½                   | model.init_width = base_width |
| start of embeddings and head      | unchanged                    |                               |
| logits                            | · m^-1                       | model.logit_scale             |
| scores of attention               | (base_head_dim)^½ / head_dim | model.attention_scale         |
| adamw: rate of matrices           | · m^-1, decay · m            |                               |
| adamw: embeddings, head, vectors  | unchanged                    |                               |
| sgd: rate of matrices             | unchanged                    |                               |
| sgd: embeddings, head, vectors    | · m, decay · m^-1            |                               |
| muon: matrices, original          | unchanged                    |                               |
| muon: matrices, match_rms_adamw   | · m^-½, decay · m^½          |                               |
| muon: embeddings, head, vectors   | as adamw's                   |                               |
| completep: what a block adds      | · l^-1                       | model.branch_scale            |
| completep: start of gpt2's c_proj | counts with base_depth       | model.init_depth              |
| completep: Adam's epsilon         | · m^-1, and · l^-1 in blocks | a group's eps                 |

mup is the parameterisation of G. Yang, E. Hu et al., arXiv 2203.03466, in the form of its Table 8
(a factor on the output, the head's rate unchanged), which a head tied to the embedding needs, too
(Table 8); attention is scaled by 1/d (Definition 4.1). A decoupled
decay is multiplied by the rate, so it grows as the rate of its group falls. completep adds depth:
N. Dey et al., arXiv 2505.01618, Table 1 with α = 1, under which no rate changes with the depth; B.
Mlodozeniec et al., arXiv 2512.22382, build on the same rules. Muon's orthogonal step has a spectral
norm of 1 whatever the width, and `original` multiplies it by sqrt(rows / columns), which a network
whose dimensions all grow together keeps: the condition of G. Yang, J. Simon, J. Bernstein, arXiv
2310.17813, Condition 1. match_rms_adamw lets the step grow with the root of the width; the rule
takes that back.

The network's part is set by `settle_width_rule` (`training/unread_settings.py`), before a network
is built; an optimiser refuses a network without it.
"""

from dataclasses import dataclass
from typing import Any, Protocol

RULES = ("mup", "completep")
ROLES_OF_VECTORS = ("embedding", "head", "scalar")
"""Roles with at most one dimension that grows with the width."""


class Ruled(Protocol):
    """What the rule reads of `OptimConfig`."""

    name: str
    muon_scale: str
    width_scaling: bool
    width_rule: str | None
    base_width: int | None
    base_depth: int | None
    base_head_dim: int | None


@dataclass(frozen=True)
class Factor:
    """On the rate, the decay and Adam's epsilon of a role; eps None leaves it to the optimiser."""

    lr: float = 1.0
    decay: float = 1.0
    eps: float | None = None

    def epsilon(self, eps: float) -> dict[str, float]:
        """A group's own epsilon, where the rule has one."""
        return {} if self.eps is None else {"eps": eps * self.eps}


Powers = dict[str, float]
"""Role -> power of m on the rate; the decay has the opposite power."""

ADAMW: Powers = {"matrix": -1.0, "embedding": 0.0, "head": 0.0, "scalar": 0.0}
SGD: Powers = {"matrix": 0.0, "embedding": 1.0, "head": 1.0, "scalar": 1.0}
MUON: dict[str, Powers] = {
    "original": {**ADAMW, "matrix": 0.0},
    "match_rms_adamw": {**ADAMW, "matrix": -0.5},
}
KNOWN = ("adamw", "sgd", "muon")
"""Optimisers whose steps the rule is right for."""


def check_rule(config: Ruled) -> None:
    """Raise ValueError, in one line, for a rule that is none, or that does not know the
    optimiser."""
    rule = config.width_rule
    if rule is None:
        return
    if rule not in RULES:
        raise ValueError(f"optim.width_rule={rule!r} is not one of {', '.join(RULES)}, or null")
    if config.name not in KNOWN:
        raise ValueError(
            f"optim.width_rule={rule} does not know optim.name={config.name!r}; it is right for "
            f"{', '.join(KNOWN)}: take one of them, or tune the rate at each size (tune=optim.lr)"
        )
    if config.width_scaling:
        raise ValueError(
            f"optim.width_rule={rule} and optim.width_scaling=true are two rules for one thing; "
            "set optim.width_scaling=false"
        )
    for name in ("base_width", *(["base_depth"] if rule == "completep" else [])):
        if (getattr(config, name) or 0) < 1:
            raise ValueError(
                f"optim.width_rule={rule} needs optim.{name}: the size that the rates are meant "
                f"for, such as optim.{name}={64 if name == 'base_width' else 2}"
            )
    if config.base_head_dim is not None and config.base_head_dim < 1:
        raise ValueError(f"optim.base_head_dim={config.base_head_dim} must be at least 1, or null")


def network_settings(config: Ruled, model: Any) -> dict[str, Any]:
    """Settings `model.*` that the rule asks for. model: has n_embd, n_layer, resolved_head_dim."""
    if config.width_rule is None:
        return {}
    width, depth = _ratios(config, model)
    head, base_head = model.resolved_head_dim, config.base_head_dim
    settings = {
        "logit_scale": 1 / width,
        "init_width": config.base_width,
        "attention_scale": None if base_head in (None, head) else base_head**0.5 / head,
    }
    if config.width_rule == "completep":
        settings |= {"branch_scale": 1 / depth, "init_depth": config.base_depth}
    return settings


def check_network(model: Any, config: Ruled) -> None:
    """Refuse a network that was built without the rule: its rates would be wrong. Raises
    ValueError."""
    if config.width_rule is None:
        return
    own = getattr(model, "config", None)
    if not hasattr(own, "logit_scale"):
        raise ValueError(
            f"optim.width_rule={config.width_rule} needs a network with model settings to scale; "
            f"{type(model).__name__} has none"
        )
    for name, value in network_settings(config, own).items():
        if getattr(own, name) != value:
            raise ValueError(
                f"optim.width_rule={config.width_rule} wants model.{name}={value}, the network "
                f"was built with {getattr(own, name)}; call settle_width_rule(config) of "
                "altgrad.training.unread_settings before the network is built"
            )


def group_factors(config: Ruled, model: Any) -> dict[str, Factor]:
    """Role -> factors; all 1 without a rule."""
    roles = ("matrix", *ROLES_OF_VECTORS)
    if config.width_rule is None:
        return dict.fromkeys(roles, Factor())
    width, depth = _ratios(config, model)
    powers = {"adamw": ADAMW, "sgd": SGD, "muon": MUON[config.muon_scale]}[config.name]
    eps = dict.fromkeys(roles, None) | _epsilons(config, width, depth)
    return {
        role: Factor(width ** powers[role], width ** -powers[role], eps[role]) for role in roles
    }


def _epsilons(config: Ruled, width: float, depth: float) -> dict[str, float]:
    """Factors on Adam's epsilon, of the roles that Adam moves."""
    if config.width_rule != "completep" or config.name == "sgd":
        return {}
    inside, outside = 1 / (width * depth), 1 / width
    found = {"matrix": inside, "embedding": outside, "head": outside, "scalar": inside}
    return {r: f for r, f in found.items() if not (config.name == "muon" and r == "matrix")}


def _ratios(config: Ruled, model: Any) -> tuple[float, float]:
    """m and l."""
    assert config.base_width is not None
    depth = model.n_layer / config.base_depth if config.base_depth else 1.0
    return model.n_embd / config.base_width, depth
