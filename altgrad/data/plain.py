"""Folders of tokens that another program wrote: bare `.bin` files, and llm.c's, with a header.

Bare files are `uint16`, as nanoGPT writes them; what shows that they are not is refused, because
the halves of wider numbers, or a header, train without a word. A `meta.json` of one line,
`{"dtype": "uint32"}`, says what they are.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.data.errors import DataError, refuse_unknown

DTYPES = ("uint8", "uint16", "uint32", "int32", "int64")
HEADER_BYTES = 1024
MAGIC = {20240520: "uint16", 20240801: "uint32"}
"""First number of llm.c's header of 256 int32 -> type of the tokens; its third is their count."""
SMALL, ENOUGH, LOOKED_AT = 16, 16, 1 << 20
BLOCK_TOKENS = 1 << 24


def plain_facts(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The dtype, vocab_size, largest id, and per split (tokens, offset) of a folder of bare files.

    given: what the user's own `meta.json` says: `dtype`, `vocab_size`.

    Raises DataError for a missing file, and for one that is not what it is taken for.
    """
    for name in set(given) - {"dtype", "vocab_size"}:
        raise refuse_unknown(name, ["dtype", "vocab_size"], what=f"entry of {folder}/meta.json")
    vocab_size = given.get("vocab_size")
    if not (vocab_size is None or (type(vocab_size) is int and vocab_size > 0)):
        raise DataError(f"{folder}/meta.json: vocab_size={vocab_size!r} must be a whole number")
    paths = {split: folder / f"{split}.bin" for split in ("train", "val")}
    kinds = {split: _kind(path, given.get("dtype")) for split, path in paths.items()}
    (dtype, offset), other = kinds["train"], kinds["val"]
    if (dtype, offset) != other:
        raise DataError(f"{folder}: train.bin is {dtype} and val.bin {other[0]}; bring a pair")
    counts = {s: (p.stat().st_size - offset) // np.dtype(dtype).itemsize for s, p in paths.items()}
    largest = {split: largest_id(path, dtype, offset) for split, path in paths.items()}
    return {"dtype": dtype, "vocab_size": vocab_size, "offset": offset, "counts": counts} | {
        "largest": max(largest.values())
    }


def _kind(path: Path, dtype: str | None) -> tuple[str, int]:
    """The type of a file's tokens and the bytes before the first."""
    if not path.is_file():
        raise DataError(f"{path} is missing; `altgrad data prepare` makes a folder of tokens")
    header = _header_dtype(path)
    if header is not None:
        return header, HEADER_BYTES
    if dtype is not None and dtype not in DTYPES:
        raise refuse_unknown(str(dtype), DTYPES, what=f"dtype in {path.with_name('meta.json')}")
    size, itemsize = path.stat().st_size, np.dtype(dtype or "uint16").itemsize
    if size % itemsize:
        raise DataError(f"{path} has {size:,} bytes, no whole number of {dtype or 'uint16'} tokens")
    if dtype is None and _looks_wide(path):
        raise DataError(
            f"{path} looks like 32-bit tokens, and without meta.json it would be read as uint16: "
            f"every number cut into halves; say what it is: "
            f"""echo '{{"dtype": "uint32"}}' > {path.with_name("meta.json")}"""
        )
    return dtype or "uint16", 0


def _header_dtype(path: Path) -> str | None:
    header = np.fromfile(path, "<i4", count=HEADER_BYTES // 4)
    if len(header) < HEADER_BYTES // 4 or int(header[0]) not in MAGIC:
        return None
    dtype = MAGIC[int(header[0])]
    found = path.stat().st_size - HEADER_BYTES
    if found != int(header[2]) * np.dtype(dtype).itemsize:
        raise DataError(
            f"{path} has llm.c's header, which speaks of {int(header[2]):,} {dtype} tokens, and "
            f"{found:,} bytes of them: it was cut off or changed; bring it again"
        )
    return dtype


def _looks_wide(path: Path) -> bool:
    """Whether every second 16-bit number is next to nothing and the others are not."""
    words = np.fromfile(path, "<u2", count=LOOKED_AT)
    low, high = words[::2], words[1::2]
    if len(high) < ENOUGH or high.max() >= SMALL:
        return False
    return bool(low.max() >= SMALL or (low.any() and not high.any()))


def largest_id(path: Path, dtype: str, offset: int = 0) -> int:
    """The largest token of a file, -1 of an empty one. Raises DataError for a negative one."""
    stat = path.stat()
    return _largest(path, dtype, offset, (stat.st_size, stat.st_mtime_ns, stat.st_ino))


@lru_cache(maxsize=64)
def _largest(path: Path, dtype: str, offset: int, stamp: tuple[int, ...]) -> int:
    if stamp[0] <= offset:
        return -1
    tokens = np.memmap(path, dtype=dtype, mode="r", offset=offset)
    blocks = [tokens[at : at + BLOCK_TOKENS] for at in range(0, len(tokens), BLOCK_TOKENS)]
    if tokens.dtype.kind == "i" and min(int(block.min()) for block in blocks) < 0:
        raise DataError(f"{path} holds negative numbers, so it is not tokens of the type {dtype}")
    return max(int(block.max()) for block in blocks)
