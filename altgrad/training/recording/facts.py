"""What a run says about itself: to a person at the start, and in `data.json`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from altgrad.data import Metadata, split_hashes
from altgrad.data.files import write_whole
from altgrad.data.hf_tokenizer import FILE as TOKENIZER_FILE
from altgrad.training.config import TrainConfig


def data_facts(data_dir: Path, metadata: Metadata) -> dict[str, Any]:
    """`data.json`: corpus, licence, tokenizer, counts, and the sha256 of both splits."""
    return {"data_dir": str(data_dir), **asdict(metadata), "sha256": split_hashes(data_dir)}


def keep_tokenizer(data_dir: Path, run: Path) -> None:
    """Copy the tokenizer's file beside the tokens, where there is one, into the run folder: the
    run is used when the tokens and the cache are gone."""
    file = data_dir / TOKENIZER_FILE
    if file.is_file() and not (run / TOKENIZER_FILE).exists():
        write_whole(run / TOKENIZER_FILE, file.read_bytes())


def start_facts(
    config: TrainConfig,
    model: nn.Module,
    metadata: Metadata,
    *,
    device: torch.device,
    world_size: int,
) -> dict[str, Any]:
    """What a person wants to know before a run starts."""
    processes = f" x {world_size} {config.strategy}" if config.devices > 1 else ""
    per_step = config.data.batch_size * config.accumulation * config.devices
    return {
        "model": f"{config.model.n_layer} layers x {config.model.n_embd}, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters",
        "data": f"{metadata.corpus}, {metadata.splits['train'].tokens:,} tokens "
        f"to learn from, {metadata.splits['val'].tokens:,} to validate on",
        "work": f"{config.max_steps:,} steps of {per_step} x {config.model.block_size} tokens, "
        f"{config.optim.name}",
        "machine": f"{device}{processes}, {config.precision.compute}, "
        f"{'compiled' if config.compile else 'not compiled'}",
    }
