"""LoRA in one file: a frozen network, and beside each chosen matrix two thin ones that learn.

y = W x + b + (alpha / rank)·B A x, with W (out, in), A (rank, in), B (out, rank).
Hu et al. 2021, arXiv 2106.09685.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class LoRALinear(nn.Module):
    """A Linear that stays as it is, and a change of low rank beside it."""

    def __init__(self, base, rank, alpha, dropout=0.0):
        """Keep base (an nn.Linear), whose parameters train no more; make the parameters A and B.

        A (rank, in): uniform between ±1/sqrt(in). B (out, rank): zeros, so that at first nothing
        changes. Both have base.weight's dtype and device. scaling = alpha / rank (float),
        merged = False, dropout = an nn.Dropout. Refuse (ValueError) a rank below 1.
        """
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank={rank} must be at least 1")
        weight = base.weight
        self.base = base.requires_grad_(False)
        bound = 1 / math.sqrt(base.in_features)
        self.A = nn.Parameter(weight.new_empty(rank, base.in_features).uniform_(-bound, bound))
        self.B = nn.Parameter(weight.new_zeros(base.out_features, rank))
        self.scaling = alpha / rank
        self.dropout = nn.Dropout(dropout)
        self.merged = False

    def delta(self):
        """scaling·B A, of base.weight's shape, with its graph."""
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        """base(x) + scaling·B A dropout(x), for x (…, in); once merged base(x) alone.

        Only the input of the thin branch is dropped. First by A, then by B is cheaper than by B A.
        """
        if self.merged:
            return self.base(x)
        thin = F.linear(self.dropout(x), self.A)
        return self.base(x) + self.scaling * F.linear(thin, self.B)

    def merge(self):
        """Add delta() to base.weight in place and set merged; a second call changes nothing."""
        if not self.merged:
            with torch.no_grad():
                self.base.weight.add_(self.delta())
            self.merged = True

    def unmerge(self):
        """Take delta() from base.weight again in place; nothing where it is not merged."""
        if self.merged:
            with torch.no_grad():
                self.base.weight.sub_(self.delta())
            self.merged = False


def add_lora(model, names, rank, alpha, dropout=0.0):
    """Put a LoRALinear in the place of every nn.Linear of model whose own name is in names.

    Its own name is the last part of its path: c_q of transformer.h.0.attn.c_q. In place; returns
    model, in which afterwards A and B of the LoRALinears train and nothing else.
    Refuse (ValueError) names of which none fits a Linear.
    """
    chosen = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if name in names and isinstance(child, nn.Linear)
    ]
    if not chosen:
        raise ValueError(f"no Linear of the model is called {' or '.join(names)}")
    model.requires_grad_(False)
    for parent, name, child in chosen:
        setattr(parent, name, LoRALinear(child, rank, alpha, dropout))
    return model


def lora_parameters(model):
    """A and B of every LoRALinear, a list in the model's order: all that the optimiser gets."""
    layers = [m for m in model.modules() if isinstance(m, LoRALinear)]
    return [p for layer in layers for p in (layer.A, layer.B)]


def trainable_share(model):
    """How many of the model's numbers train, divided by how many there are (float)."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trains in sizes if trains) / sum(n for n, _ in sizes)


def lora_state_dict(model):
    """{name in the model: copy} of every A and B, and of nothing else: what has to be saved.

    The copies have no graph, and training on does not change them.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LoRALinear)}
    own = {f"{n}.{which}": getattr(m, which) for n, m in layers.items() for which in ("A", "B")}
    return {name: p.detach().clone() for name, p in own.items()}


def load_lora(model, state):
    """Copy the tensors of lora_state_dict into the model's A and B, which stay the same objects.

    Refuse (ValueError) a state whose names or shapes are not exactly the model's, before anything
    is changed.
    """
    names = lora_state_dict(model)
    shapes = {name: tensor.shape for name, tensor in names.items()}
    if shapes != {name: tensor.shape for name, tensor in state.items()}:
        raise ValueError("the state has other names or shapes than the model's LoRA layers")
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in state.items():
            parameters[name].copy_(tensor)


def merge_all(model):
    """Put a plain nn.Linear that computes the same in the place of every LoRALinear; returns model.

    In place. The Linear is the layer's own base, merged; a layer that is merged already is not
    merged twice.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoRALinear):
                child.merge()
                setattr(parent, name, child.base)
    return model
