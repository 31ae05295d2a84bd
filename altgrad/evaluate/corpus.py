"""Loss on a text: nats per token, perplexity, and bits per byte, which tokenizers cannot change."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from altgrad.data import DataConfig, DataError, evaluation_batches, load_tokens
from altgrad.model import GPT
from altgrad.training.metrics import bits_per_byte, compute_perplexity

if TYPE_CHECKING:
    from altgrad.data.chunks import Encoded

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CorpusResult:
    """Of a text of `tokens` tokens and `bytes` bytes, None where the bytes are not known.

    lost: pieces of the text that the tokenizer does not give back, so that bits per byte would
    flatter it; they are None then.
    """

    text: str
    tokens: int
    bytes: int | None
    loss: float
    perplexity: float
    bits_per_byte: float | None
    lost: int = 0

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
    metadata.refuse_too_large(model.config.vocab_size or 0)
    tokens, info = load_tokens(data_dir, split), metadata.splits[split]
    name = f"{metadata.corpus}, {split} split"
    return _result(model, name, tokens, info.bytes, info.lost or 0, batch_size, progress)


def evaluate_file(
    model: GPT,
    tokenizer: Any,
    path: Path,
    *,
    config: DataConfig | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> CorpusResult:
    """A file of text (or JSONL, parquet), cut as preparation cuts a split: end of text between
    documents, the text in the field that the run's `config` names.

    Raises DataError for a file that cannot be read or has a character the tokenizer does not know.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    encoded = _encode(path, tokenizer, config or DataConfig())
    tokens = np.frombuffer(b"".join(part.content for part in encoded), dtype=np.int64)
    n_bytes, lost = sum(part.bytes for part in encoded), sum(part.lost for part in encoded)
    return _result(model, path.name, tokens, n_bytes, lost, batch_size, progress)


def _encode(path: Path, tokenizer: Any, config: DataConfig) -> "list[Encoded]":
    from altgrad.data.chunks import chunks, encode_chunk
    from altgrad.data.passages import passages
    from altgrad.data.sources import Source, SourceFile

    file = SourceFile(path, sha256="", size_bytes=path.stat().st_size)
    source = Source(path.name, "your own", {"val": (file,)})
    return [encode_chunk(c, tokenizer, "int64") for c in chunks(passages(config, source, None))]


def _result(
    model: GPT,
    name: str,
    tokens: np.ndarray,
    n_bytes: int | None,
    lost: int,
    batch_size: int,
    progress: Progress | None,
) -> CorpusResult:
    loss = mean_loss(model, tokens, batch_size=batch_size, progress=progress)
    bits = None
    if n_bytes and not lost:
        bits = bits_per_byte(loss, predicted=len(tokens) - 1, n_bytes=n_bytes)
    return CorpusResult(name, len(tokens), n_bytes, loss, compute_perplexity(loss), bits, lost)


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
