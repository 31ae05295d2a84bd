"""Random generators, one per concern, so that changing one part cannot change another's draws.

initialisation   own generator from `seed`            (only while the model is built)
data order       a pure function of (`seed`, step)    (data/batches.py)
dropout          torch's global generators            (nothing else draws from them)
samples          own generator per sample             (model/generate.py)
"""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def initialisation_generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seed_dropout(seed: int, rank: int = 0) -> None:
    """Seed the global generators; each process draws its own dropout masks."""
    torch.manual_seed(seed * 1000 + rank + 1)
    np.random.seed((seed * 1000 + rank + 1) % 2**32)
    random.seed(seed * 1000 + rank + 1)


def set_seed(seed: int) -> None:
    """Seed every global generator: Python's, NumPy's, torch's on all devices.

    For training loops of one's own; a run has generators of its own (see above).
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def global_state() -> dict[str, Any]:
    """State of the global generators of Python, NumPy, torch and CUDA."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [
            name,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": [s.cpu() for s in torch.cuda.get_rng_state_all()] if _has_cuda() else [],
    }


def restore_global_state(state: dict[str, Any]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, _to_uint32(keys), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and _has_cuda():
        torch.cuda.set_rng_state_all(state["cuda"])


def _to_uint32(keys: Tensor) -> np.ndarray:
    return keys.numpy().astype(np.uint32)


def _has_cuda() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()
