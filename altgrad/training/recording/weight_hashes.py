"""Hashes of a run's weights, at its start and its end: what two runs share is looked up, not said.

    weights.json       how the weights came about, sha256 of each tensor (16 digits) and of all
    events.jsonl       `weights` of the closing event: sha256 of the last ones

Two runs started alike if the tensors they both have are equal; two arms whose last weights are
equal bit for bit are one arm under two names.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.model.init import draw_seed
from altgrad.runs import GIVEN
from altgrad.training.config import TrainConfig
from altgrad.training.randomness import initialisation_generator

DIGITS = 16


def tensor_hashes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Name -> sha256 over dtype, shape and bytes. Packed tensors (four-bit bases) are left out:
    they do not learn, and `finetune.base_sha256` names them."""
    plain = {n: t for n, t in tensors.items() if type(t) in (Tensor, nn.Parameter)}
    return {name: _hash(tensor) for name, tensor in plain.items()}


def _hash(tensor: Tensor) -> str:
    bits = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    head = f"{tensor.dtype} {list(tensor.shape)} ".encode()
    return hashlib.sha256(head + bits.numpy().tobytes()).hexdigest()[:DIGITS]


def whole_hash(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def initial_weights(model: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """The content of `weights.json`, of a model that nothing has rounded, sharded or moved yet."""
    hashes = tensor_hashes(dict(model.named_parameters()))
    return {"from": _origin(model, config), "sha256": whole_hash(hashes), "tensors": hashes}


def _origin(model: nn.Module, config: TrainConfig) -> str:
    if config.init_from is not None:
        return f"init_from {config.init_from}"
    drawn = draw_seed(initialisation_generator(config.seed))
    return f"seed {config.seed}" if getattr(model, "origin", None) == drawn else GIVEN
