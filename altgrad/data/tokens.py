"""Tokens on disk: one flat `.bin` file a split, mapped into memory, never read whole."""

from pathlib import Path

import numpy as np

from altgrad.data.errors import DataError, refuse_unknown
from altgrad.data.metadata import Metadata, load_metadata


def load_tokens(folder: str | Path, split: str) -> np.memmap:
    """The tokens of `split` ("train" or "val") of a prepared folder, read-only, shape (N,).

    A folder of plain files without `meta.json`, as nanoGPT or llm.c makes it, is accepted. Raises
    DataError for an unknown split, a missing file, or one whose size contradicts `meta.json`.
    """
    meta = load_metadata(folder)
    if split not in meta.splits:
        raise refuse_unknown(split, meta.splits, what="split")
    path = Path(folder) / f"{split}.bin"
    _check_size(path, meta, split)
    return np.memmap(path, dtype=meta.dtype, mode="r", offset=meta.splits[split].offset)


def _check_size(path: Path, meta: Metadata, split: str) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing; prepare the corpus again")
    info = meta.splits[split]
    expected = info.offset + info.tokens * np.dtype(meta.dtype).itemsize
    found = path.stat().st_size
    if found != expected:
        raise DataError(
            f"{path} has {found:,} bytes instead of {expected:,}: it was cut off or changed; "
            f"delete {path.parent} and prepare again"
        )
    if not info.tokens:
        raise DataError(f"{path} is empty; prepare the corpus again")
