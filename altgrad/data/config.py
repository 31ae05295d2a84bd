"""The settings of the `data` group, and where their files are kept."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from altgrad.data.errors import DataError


@dataclass
class DataConfig:
    """Which text, cut into which tokens, in batches of what size."""

    name: str = "shakespeare"
    """A corpus out of `corpora.CORPORA`; not looked at when `path` is set."""
    path: Optional[str] = None  # noqa: UP045 - OmegaConf reads this annotation
    """Your own text file instead, or a folder that holds `train.bin` and `val.bin`."""
    tokenizer: str = "char"
    """A tokenizer out of `tokenizers.TOKENIZERS`."""
    batch_size: int = 16
    """Sequences in one micro-batch."""
    val_fraction: float = 0.1
    """Share of the characters, at the end of the text, that is kept for validation."""
    cache_dir: Optional[str] = None  # noqa: UP045
    """Where downloads and tokens are kept: null is `$ALTGRAD_CACHE`, else `~/.cache/altgrad`."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(f"data.batch_size={self.batch_size}: must be at least 1")
        if not 0 < self.val_fraction < 1:
            raise DataError(f"data.val_fraction={self.val_fraction}: must lie between 0 and 1")


def cache_root(config: DataConfig) -> Path:
    """The folder under which everything downloaded or prepared for `config` lives."""
    chosen = config.cache_dir or os.environ.get("ALTGRAD_CACHE") or "~/.cache/altgrad"
    return Path(chosen).expanduser()
