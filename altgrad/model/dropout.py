"""Dropout as the configuration asks for it."""

from torch import nn


def build_dropout(p: float) -> nn.Module:
    """Dropout, or nothing at all for p = 0.

    nn.Dropout(0) would still ask whether the model is in training mode, and so make torch.compile
    compile a second graph, for evaluation, that computes the same.
    """
    return nn.Dropout(p) if p else nn.Identity()
