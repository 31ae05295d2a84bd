"""The settings of the `data` group, and where their files are kept."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from altgrad.data.errors import DataError, refuse_unknown

ENDS = ("between", "after")
ORDERS = ("random", "epochs", "documents")


@dataclass
class DataConfig:
    """Which text, cut into which tokens, in batches of what size and order."""

    name: str = "shakespeare"
    """A corpus out of `corpora.CORPORA`; not looked at when `path` is set."""
    path: Optional[str] = None  # noqa: UP045 - OmegaConf reads this annotation
    """Your own text instead: a file (text, JSONL, parquet), a folder of them, a glob, or `-` for
    the standard input; or a folder that holds `train.bin` and `val.bin`."""
    val_path: Optional[str] = None  # noqa: UP045
    """Your own validation text, in the same forms; null cuts it off the end of `path`."""
    tokenizer: str = "char"
    """char, byte, gpt2, a tiktoken encoding, a `tokenizer.json`, or `package.module:Class`."""
    batch_size: int = 16
    """Sequences in one micro-batch."""
    order: str = "random"
    """random: blocks at random places; epochs: every block once, shuffled; documents: every
    document once, shuffled and packed end to end."""
    mask_documents: bool = False
    """Keep attention inside one document when several are packed into a block; the end-of-text
    token becomes `model.document_token`."""
    val_fraction: float = 0.1
    """Share of the characters, at the end of the text, that is kept for validation."""
    share: float = 1.0
    """Share of the training documents that is used, evenly spaced; validation stays whole."""
    shards: Optional[int] = None  # noqa: UP045
    """How many numbered training files of a sharded corpus are used; null is the recipe's own."""
    end_of_text: str = "between"
    """Where the end-of-text token stands: between two documents, or after every document, the last
    one of a split too."""
    text_field: str = "text"
    """The field of a JSONL line, or the column of a parquet file, that holds the text."""
    workers: int = 0
    """Processes that encode; 0 is one, or one per core for texts above 64 MB."""
    cache_dir: Optional[str] = None  # noqa: UP045
    """Where downloads and tokens are kept: null is `$ALTGRAD_CACHE`, else `~/.cache/altgrad`."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(f"data.batch_size={self.batch_size}: must be at least 1")
        if not 0 < self.val_fraction < 1:
            raise DataError(f"data.val_fraction={self.val_fraction}: must lie between 0 and 1")
        if not 0 < self.share <= 1:
            raise DataError(f"data.share={self.share}: must be above 0 and at most 1")
        if self.workers < 0:
            raise DataError(f"data.workers={self.workers}: must be 0 (automatic) or more")
        if self.shards is not None and self.shards < 1:
            raise DataError(f"data.shards={self.shards}: must be null or at least 1")
        if self.order not in ORDERS:
            raise refuse_unknown(self.order, ORDERS, what="data.order")
        if self.end_of_text not in ENDS:
            raise refuse_unknown(self.end_of_text, ENDS, what="data.end_of_text")
        if self.val_path is not None and self.path is None:
            raise DataError(
                f"data.val_path={self.val_path} needs data.path, the training text it belongs to"
            )


def cache_root(config: DataConfig) -> Path:
    """The folder under which everything downloaded or prepared for `config` lives."""
    chosen = config.cache_dir or os.environ.get("ALTGRAD_CACHE") or "~/.cache/altgrad"
    return Path(chosen).expanduser()
