"""Text to numbers and back: the table of tokenizers, and the two simplest.

Each tokenizer has `name`, `vocab_size`, `encode(text) -> list[int]`, `decode(ids) -> str`,
`encode_array(text)` (the same ids as an array, for preparation), `token_bytes(id)` (what one token
stands for), `end_of_text` (the token between documents, or None) and `describe()`, the entry in
`meta.json` out of which `load_tokenizer` builds it again.
"""

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from altgrad.data.bpe import gpt2, tiktoken_encoding, tiktoken_names
from altgrad.data.config import DataConfig, cache_root
from altgrad.data.errors import DataError, refuse_unknown
from altgrad.data.files import sha256_of, write_whole
from altgrad.data.hf_tokenizer import FILE, FileTokenizer
from altgrad.data.metadata import Metadata, load_metadata
from altgrad.outside import load_outside, source_of


class Tokenizer(Protocol):
    name: str
    vocab_size: int
    end_of_text: int | None

    def encode(self, text: str) -> list[int]: ...
    def encode_array(self, text: str) -> np.ndarray: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def token_bytes(self, token: int) -> bytes: ...
    def describe(self) -> dict[str, Any]: ...


CONTRACT = (
    *("name", "vocab_size", "end_of_text"),
    *("encode", "encode_array", "decode", "token_bytes", "describe"),
)
"""What an outside tokenizer must have: the parts of `Tokenizer`."""


class CharTokenizer:
    """One token per character; the vocabulary is the sorted set of characters of the text.

    Of a text of several documents NUL, which no text contains, is the end-of-text character.
    """

    name = "char"

    def __init__(self, vocabulary: str):
        self.vocabulary = vocabulary
        self.vocab_size = len(vocabulary)
        self.end_of_text = vocabulary.index("\0") if "\0" in vocabulary else None
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

    def token_bytes(self, token: int) -> bytes:
        return self.vocabulary[token].encode()

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "vocabulary": self.vocabulary}


class ByteTokenizer:
    """One token per UTF-8 byte. Byte 0, which no text contains, is the end of a text."""

    name = "byte"
    vocab_size = 256
    end_of_text: int | None = 0

    def encode_array(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), dtype=np.uint8)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text; a character cut off at an edge shows as the replacement character."""
        return bytes(ids).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        return bytes([token])

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


TOKENIZERS: dict[str, Callable[[str, Path], Tokenizer]] = {
    "char": lambda characters, cache: CharTokenizer(characters),
    "byte": lambda characters, cache: ByteTokenizer(),
    "gpt2": lambda characters, cache: gpt2(cache),
}
"""Name -> how it is made from the characters of a text (only `char` needs them) and the cache.

Beside these: the name of a tiktoken encoding, a `tokenizer.json` or a folder that holds one, and
`package.module:Class` for your own.
"""


def identify(name: str, cache: Path) -> dict[str, Any]:
    """Which tokenizer `name` means; a file is kept in `cache` by its hash.

    Raises DataError for a name that means none, and for a file that is no tokenizer.
    """
    if name in TOKENIZERS:
        return {"name": name}
    path = _file_of(name)
    if path is not None:
        digest = sha256_of(path)
        kept = _kept(cache, digest)
        if not kept.is_file():
            FileTokenizer(path)  # refuses a damaged file under the name that was given
            write_whole(kept, path.read_bytes())
        return {"name": FileTokenizer.name, "file": FILE, "sha256": digest}
    if ":" not in name and name not in tiktoken_names():
        allowed = dict.fromkeys([*TOKENIZERS, *tiktoken_names()])
        raise refuse_unknown(name, allowed, what="data.tokenizer")
    return _identify_outside(name) if ":" in name else {"name": name}


def _identify_outside(name: str) -> dict[str, Any]:
    """The code of an outside tokenizer and what it says of itself: with either the tokens change.

    Raises DataError for one that does not keep the contract of `Tokenizer`.
    """
    made = _outside(name)
    if type(made.vocab_size) is not int or made.vocab_size < 1:
        raise DataError(f"data.tokenizer={name}: vocab_size={made.vocab_size!r} must be an int")
    described = made.describe()
    if not isinstance(described, dict) or described.get("name") != name or not _is_json(described):
        raise DataError(
            f"data.tokenizer={name}: its describe() must give {{'name': {name!r}}}, by which it is "
            f"found again, and values that JSON can hold, not {described!r}"
        )
    source = source_of(name, setting="data.tokenizer").version
    return {"name": name, "source": source, "described": described}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def build_tokenizer(identity: dict[str, Any], characters: str, cache: Path) -> Tokenizer:
    """The tokenizer that `identify` named."""
    name = identity["name"]
    if name in TOKENIZERS:
        return TOKENIZERS[name](characters, cache)
    if name == FileTokenizer.name:
        return FileTokenizer(_kept(cache, identity["sha256"]))
    return _outside(name) if ":" in name else tiktoken_encoding(name)


def load_tokenizer(
    where: Metadata | str | Path, *, cache: Path | None = None, beside: Path | None = None
) -> Tokenizer:
    """The tokenizer that made a folder of tokens, from its `Metadata` or the folder itself.

    beside: a folder that may hold its `tokenizer.json`, by default that of the tokens.

    Raises DataError when the folder does not say (a plain one, without `meta.json`), or when the
    `tokenizer.json` it was made with is neither beside it nor in the cache.
    """
    meta = where if isinstance(where, Metadata) else load_metadata(where)
    identity = meta.tokenizer
    if identity is None:
        raise DataError(f"{meta.corpus} has no meta.json, so its tokenizer is not known")
    cache = cache or cache_root(DataConfig())
    if identity["name"] == FileTokenizer.name:
        if not isinstance(where, Metadata):
            beside = beside or Path(where)
        return FileTokenizer(_find_file(identity["sha256"], beside, cache))
    return build_tokenizer(identity, identity.get("vocabulary", ""), cache)


def _find_file(digest: str, beside: Path | None, cache: Path) -> Path:
    for path in (beside / FILE if beside else None, _kept(cache, digest)):
        if path is not None and path.is_file() and sha256_of(path) == digest:
            return path
    raise DataError(
        f"the tokenizer.json with sha256 {digest[:16]}… that made these tokens is not in {cache}; "
        "prepare the corpus again, or put the file beside meta.json"
    )


def _kept(cache: Path, digest: str) -> Path:
    return cache / "tokenizers" / digest[:16] / FILE


def _file_of(name: str) -> Path | None:
    """The `tokenizer.json` that `name` is a path to, or None if it is not a path."""
    path = Path(name).expanduser()
    if path.is_dir():
        path = path / FILE
    if path.is_file():
        return path
    if path.suffix == ".json" or "/" in name:
        raise DataError(f"data.tokenizer={name}: there is no file {path}")
    return None


def _outside(name: str) -> Tokenizer:
    try:
        found = load_outside(name, setting="data.tokenizer")
        inspect.signature(found).bind()
        made: Tokenizer = found()
    except ValueError as error:
        raise DataError(str(error)) from error
    except TypeError as error:
        raise DataError(f"data.tokenizer={name} is made without arguments: {error}") from error
    if missing := [n for n in CONTRACT if not hasattr(made, n)]:
        raise DataError(
            f"data.tokenizer={name} has no {', '.join(missing)}; a tokenizer needs "
            f"{', '.join(CONTRACT)}"
        )
    return made


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
