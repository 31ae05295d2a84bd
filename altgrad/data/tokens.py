"""Tokens on disk: one flat `.bin` file a split, mapped into memory, never read whole."""

from pathlib import Path

import numpy as np

from altgrad.data.errors import DataError, refuse_unknown
from altgrad.data.metadata import Metadata, load_metadata


def load_tokens(folder: str | Path, split: str) -> np.memmap:
    """The tokens of `split` ("train" or "val") of a prepared folder, read-only, shape (N,).

    A folder of plain `uint16` files without `meta.json`, as nanoGPT makes it, is accepted. Raises
    DataError for an unknown split, a missing file, or one whose size contradicts `meta.json`.
    """
    meta = load_metadata(folder)
    if split not in meta.splits:
        raise refuse_unknown(split, meta.splits, what="split")
    path = Path(folder) / f"{split}.bin"
    _check_size(path, meta, split)
    return np.memmap(path, dtype=meta.dtype, mode="r")


def _check_size(path: Path, meta: Metadata, split: str) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing; prepare the corpus again")
    expected = meta.splits[split].tokens * np.dtype(meta.dtype).itemsize
    found = path.stat().st_size
    if found != expected:
        raise DataError(
            f"{path} has {found:,} bytes instead of {expected:,}: it was cut off or changed; "
            f"delete {path.parent} and prepare again"
        )
    if not found:
        raise DataError(f"{path} is empty; prepare the corpus again")
