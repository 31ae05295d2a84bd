"""Loss on a text: nats per token, perplexity, and bits per byte, which tokenizers cannot change."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from altgrad.data import DataError, evaluation_batches, load_tokens
from altgrad.model import GPT
from altgrad.training.metrics import bits_per_byte, compute_perplexity

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CorpusResult:
    """Of a text of `tokens` tokens and `bytes` bytes, None where the bytes are not known."""

    text: str
    tokens: int
    bytes: int | None
    loss: float
    perplexity: float
    bits_per_byte: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate_split(
    model: GPT,
    data_dir: Path,
    split: str = "val",
    *,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> CorpusResult:
    """The whole `split` of a folder of tokens."""
    from altgrad.data import load_metadata

    metadata = load_metadata(data_dir)
    tokens = load_tokens(data_dir, split)
    name = f"{metadata.corpus}, {split} split"
    return _result(model, name, tokens, metadata.splits[split].bytes, batch_size, progress)


def evaluate_file(
    model: GPT,
    tokenizer: Any,
    path: Path,
    *,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> CorpusResult:
    """A file of text (or JSONL, parquet), cut with the model's own tokenizer, end to end.

    Raises DataError for a file that cannot be read or has a character the tokenizer does not know.
    """
    from altgrad.data.readers import read_pieces

    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    texts = [piece.text for piece in read_pieces(path)]
    tokens = np.concatenate([np.asarray(tokenizer.encode_array(text)) for text in texts])
    n_bytes = sum(len(text.encode()) for text in texts)
    return _result(model, path.name, tokens, n_bytes, batch_size, progress)


def _result(
    model: GPT,
    name: str,
    tokens: np.ndarray,
    n_bytes: int | None,
    batch_size: int,
    progress: Progress | None,
) -> CorpusResult:
    loss = mean_loss(model, tokens, batch_size=batch_size, progress=progress)
    bits = bits_per_byte(loss, n_bytes / len(tokens)) if n_bytes else None
    return CorpusResult(name, len(tokens), n_bytes, loss, compute_perplexity(loss), bits)


@torch.inference_mode()
def mean_loss(
    model: GPT, tokens: np.ndarray, *, batch_size: int = 16, progress: Progress | None = None
) -> float:
    """Mean loss in nats per predicted token, blocks of `block_size` without overlap."""
    device = next(model.parameters()).device
    block = model.config.block_size
    total, count = 0.0, 0
    for x, y in evaluation_batches(tokens, block, batch_size=batch_size):
        _, loss = model(x.to(device), y.to(device), loss_reduction="sum")
        total += float(loss)
        count += int((y >= 0).sum())
        if progress:
            progress(count, len(tokens) - 1)
    return total / count
