"""Several linear layers of one input, as one product where that changes nothing but the time.

Eagerly under autocast, three layers cast their common input three times, and their three input
gradients are cast and added. The layers stay three modules with three names, each with an
initialisation, a rounding and an adapter of its own. A compiled graph shares the cast by itself.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def products_of(x: Tensor, layers: Sequence[nn.Module]) -> Sequence[Tensor]:
    """x (…, C) -> one (…, C_out) for each layer, in order; what each layer gives by itself.

    Layers that do more than multiply (rounded, adapted, sharded, watched by a hook) are called.
    """
    shared = _casts(x) and not torch.compiler.is_compiling()
    plain = [layer for layer in layers if isinstance(layer, nn.Linear) and _only_multiplies(layer)]
    biases = [layer.bias for layer in plain if layer.bias is not None]
    if not shared or len(plain) < len(layers) or len(biases) not in (0, len(plain)):
        return [layer(x) for layer in layers]
    weight = torch.cat(tuple(layer.weight for layer in plain))
    products = F.linear(x, weight, torch.cat(tuple(biases)) if biases else None)
    return products.split([layer.out_features for layer in plain], dim=-1)


def _casts(x: Tensor) -> bool:
    kind = x.device.type  # `meta` knows no autocast
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def _only_multiplies(layer: nn.Linear) -> bool:
    before, after = layer._forward_pre_hooks, layer._forward_hooks
    if before or after or layer._backward_hooks or layer._backward_pre_hooks:
        return False
    plain = type(layer) is nn.Linear or getattr(layer, "plain_under_autocast", False)
    return plain and type(layer.weight) is nn.Parameter
