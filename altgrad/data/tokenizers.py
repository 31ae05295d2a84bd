"""Text to numbers and back: the table of tokenizers, and the two simplest.

Each tokenizer has `name`, `vocab_size`, `encode(text) -> list[int]`, `decode(ids) -> str`,
`encode_array(text)` (the same ids as an array, for preparation) and `describe()`, the entry in
`meta.json` out of which `load_tokenizer` builds it again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from altgrad.data.config import DataConfig, cache_root
from altgrad.data.errors import DataError, refuse_unknown
from altgrad.data.gpt2 import GPT2Tokenizer
from altgrad.data.metadata import Metadata, load_metadata


class Tokenizer(Protocol):
    name: str
    vocab_size: int

    def encode(self, text: str) -> list[int]: ...
    def encode_array(self, text: str) -> np.ndarray: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def describe(self) -> dict[str, Any]: ...


class CharTokenizer:
    """One token per character; the vocabulary is the sorted set of characters of the text."""

    name = "char"

    def __init__(self, vocabulary: str):
        self.vocabulary = vocabulary
        self.vocab_size = len(vocabulary)
        codes = _code_points(vocabulary)
        self._id_of = np.full(int(codes.max(initial=0)) + 1, -1, dtype=np.int64)
        self._id_of[codes] = np.arange(len(codes))

    @classmethod
    def of_text(cls, text: str) -> "CharTokenizer":
        return cls("".join(sorted(set(text))))

    def encode_array(self, text: str) -> np.ndarray:
        codes = _code_points(text)
        known = codes < len(self._id_of)
        ids = self._id_of[np.where(known, codes, 0)]
        bad = ~known | (ids < 0)
        if bad.any():
            char = text[int(bad.argmax())]
            raise DataError(
                f"character {char!r} is not among the {self.vocab_size} of this tokenizer"
            )
        return ids

    def encode(self, text: str) -> list[int]:
        return self.encode_array(text).tolist()

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.vocabulary[i] for i in ids)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "vocabulary": self.vocabulary}


class ByteTokenizer:
    """One token per UTF-8 byte."""

    name = "byte"
    vocab_size = 256

    def encode_array(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text; a character cut off at an edge shows as the replacement character."""
        return bytes(ids).decode(errors="replace")

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


TOKENIZERS = {
    "char": lambda text, cache: CharTokenizer.of_text(text),
    "byte": lambda text, cache: ByteTokenizer(),
    "gpt2": lambda text, cache: GPT2Tokenizer.fetched(cache),
}
"""Name -> how it is made from a text (only `char` looks at it) and the cache folder."""


def check_tokenizer_name(name: str) -> None:
    if name not in TOKENIZERS:
        raise refuse_unknown(name, TOKENIZERS, what="data.tokenizer")


def build_tokenizer(name: str, text: str, cache: Path) -> Tokenizer:
    check_tokenizer_name(name)
    return TOKENIZERS[name](text, cache)


def load_tokenizer(where: Metadata | str | Path, *, cache: Path | None = None) -> Tokenizer:
    """The tokenizer that made a folder of tokens, from its `Metadata` or the folder itself.

    Raises DataError when the folder does not say (a plain one, without `meta.json`).
    """
    meta = where if isinstance(where, Metadata) else load_metadata(where)
    if meta.tokenizer is None:
        raise DataError(f"{meta.corpus} has no meta.json, so its tokenizer is not known")
    name = meta.tokenizer["name"]
    if name == "char":
        return CharTokenizer(meta.tokenizer["vocabulary"])
    return build_tokenizer(name, "", cache or cache_root(DataConfig()))


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
