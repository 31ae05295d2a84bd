"""The null test: a variant with its novelty switched off is the control, to 1e-12 in float64.

Our own novelties switch off by their neutral parameters, held still. An outside part may offer
`switch_off()`, which must make it compute what the control's part computes with the same weights;
parameters of the same name and shape are shared with the control.
"""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import nn

from altgrad.learn.verify.result import Check, NotApplicable, require
from altgrad.learn.verify.subject import Subject
from altgrad.model import GPT, GPTConfig
from altgrad.model.parts import PARTS

STEPS, LIMIT = 50, 1e-12
NEUTRAL = {"embedding": "token", "residual": "plain"}  # what these are without their novelty


def null_test(s: Subject) -> str:
    if ":" in s.model_config.network:
        raise NotApplicable(
            "a whole class of your own has no control; `learn race` sets it against one"
        )
    control_config, novelties = control_of(s.model_config)
    if not novelties:
        raise NotApplicable("nothing here is a novelty with an off switch")
    control = GPT(control_config).double()
    variant = s.awake()
    _share(control, variant)
    frozen = _switch_off(variant, control)
    worst = _train_both(s, control, variant)
    require(worst < LIMIT, f"with {', '.join(novelties)} off, losses part by {worst:.3g}")
    off = f"{', '.join(novelties)} off ({frozen} tensors still)"
    return f"{off}: {STEPS} steps within {worst:.1e} of the control"


def control_of(config: GPTConfig) -> tuple[GPTConfig, list[str]]:
    """The configuration without its novelties, and what they are."""
    changes: dict[str, Any] = {
        kind: plain for kind, plain in NEUTRAL.items() if getattr(config, kind) != plain
    }
    defaults = {f.name: f.default for f in fields(GPTConfig)}
    changes |= {k: defaults[k] for k in PARTS if ":" in getattr(config, k)}
    return replace(config, **changes), [f"{k}={getattr(config, k)}" for k in changes]


@torch.no_grad()
def _share(control: GPT, variant: GPT) -> None:
    theirs = dict(variant.named_parameters())
    for name, parameter in control.named_parameters():
        if name in theirs and theirs[name].shape == parameter.shape:
            theirs[name].copy_(parameter)


@torch.no_grad()
def _switch_off(variant: GPT, control: GPT) -> int:
    """Novel parameters go to their neutral values and stay there; returns how many."""
    for module in variant.modules():
        if type(module).__module__.startswith("altgrad."):
            continue
        if switch := getattr(module, "switch_off", None):
            switch()
    outside = [m for m in variant.modules() if _is_outside(m)]
    if outside and not any(hasattr(m, "switch_off") for m in outside):
        raise NotApplicable(f"{type(outside[0]).__name__} has no switch_off()")
    shared = dict(control.named_parameters())
    novel = [n for n, _ in variant.named_parameters() if n not in shared]
    neutral = {"lambda_x": 1.0}
    for name in novel:
        parameter = variant.get_parameter(name)
        if not _is_outside_name(variant, name):
            parameter.fill_(neutral.get(name.split(".")[-1], 0.0))
        parameter.requires_grad_(False)
    return len(novel)


def _is_outside(module: nn.Module) -> bool:
    return not type(module).__module__.startswith(("altgrad.", "torch."))


def _is_outside_name(model: GPT, name: str) -> bool:
    owner = model.get_submodule(name.rpartition(".")[0])
    return _is_outside(owner)


def _train_both(s: Subject, control: GPT, variant: GPT) -> float:
    worst = 0.0
    models = (control.train(), variant.train())
    optimizers = [
        torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=0.05) for m in models
    ]
    for step in range(STEPS):
        ids, targets = s.ids(seed=step), s.ids(seed=step + 1)
        losses = []
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            loss = model(ids, targets)[1]
            loss.backward()
            losses.append(loss.item())
        for name, parameter in control.named_parameters():
            other = dict(variant.named_parameters()).get(name)
            if other is None or other.shape != parameter.shape:
                continue
            if parameter.grad is not None and other.grad is not None:
                worst = max(worst, (parameter.grad - other.grad).abs().max().item())
        worst = max(worst, abs(losses[0] - losses[1]))
        for optimizer in optimizers:
            optimizer.step()
    return worst


CHECKS = [
    Check(
        "null test",
        "the novelty is the only difference",
        "what the part does besides its novelty",
        null_test,
    )
]
