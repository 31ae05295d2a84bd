"""One run, from its first seed to its last checkpoint. Names load when they are first used."""

from importlib import import_module
from typing import Any

_HOME = {
    "GPT": "altgrad.model",
    "GPTConfig": "altgrad.model",
    "Trainer": "altgrad.training.trainer",
    "TrainConfig": "altgrad.training.config",
    "FP32ShadowModel": "altgrad.training.instruments.shadow",
    "CheckpointManager": "altgrad.training.checkpoints.manager",
    **dict.fromkeys(("save_checkpoint", "load_checkpoint"), "altgrad.training.checkpoint"),
    **dict.fromkeys(("compute_gradient_stats", "compute_perplexity"), "altgrad.training.metrics"),
    "gradient_cosine_similarity": "altgrad.training.metrics",
    **dict.fromkeys(("get_batch", "prepare_eurlex"), "altgrad.training.data"),
    "WandbTracker": "altgrad.training.callbacks",
    "set_seed": "altgrad.training.randomness",
    "build_run": "altgrad.training.build",
    "load_run": "altgrad.training.build",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
