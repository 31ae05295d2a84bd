"""Any Hugging Face `tokenizer.json`, run by the `tokenizers` library."""

import json
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from altgrad.data.errors import DataError
from altgrad.data.files import sha256_of

FILE = "tokenizer.json"
SPECIAL_FILE = "special_ids.json"
"""Beside a model's own `tokenizer.json`: the ids that its settings name as BOS and EOS."""
ENDS_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
"""Names under which published tokenizers have their end-of-text token, in order of preference."""


class FileTokenizer:
    """A `tokenizer.json`. Its special tokens are never read out of a text.

    Attributes:
        begin_of_text: the token that the file puts before every text, or None.
        ends_of_text: every token that ends a text, `end_of_text` first.
        special_ids: what `SPECIAL_FILE` says.
    """

    name = "file"

    def __init__(self, path: Path):
        self.path = path
        self._sha256 = sha256_of(path)
        self._inner = _load(path)
        self._inner.encode_special_tokens = True
        self._inner.no_padding()
        self._inner.no_truncation()
        ids = self._inner.get_vocab(with_added_tokens=True).values()
        self.vocab_size = max(ids, default=-1) + 1  # not their count: there may be holes
        self.special_ids = _special_ids(path.with_name(SPECIAL_FILE))
        known = [self._inner.token_to_id(name) for name in ENDS_OF_TEXT]
        named = [token for token in known if token is not None][:1]
        self.ends_of_text = tuple(_listed(self.special_ids.get("eos_token_id")) or named)
        self.end_of_text: int | None = next(iter(self.ends_of_text), None)
        self._byte_of = byte_level_alphabet()
        self._anchor = self._ids_of_a_letter()
        self.begin_of_text = self._token_before_texts()

    def encode(self, text: str) -> list[int]:
        try:
            return list(self._inner.encode(text, add_special_tokens=False).ids)
        except Exception as error:  # The library raises bare Exception here too.
            raise DataError(f"{self.path} cannot encode {text[:40]!r} ({error})") from error

    def encode_array(self, text: str) -> np.ndarray:
        return np.array(self.encode(text), dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._inner.decode(list(ids), skip_special_tokens=False))

    def decode_continuation(self, ids: Sequence[int]) -> str:
        """The text of ids that follow others: some decoders drop the space a text begins with."""
        anchor = self.decode(self._anchor)
        return self.decode([*self._anchor, *ids]).removeprefix(anchor)

    def _ids_of_a_letter(self) -> list[int]:
        try:
            return self.encode("a")
        except DataError:  # it knows no "a" and nothing unknown: then nothing is decoded after it
            return []

    def _token_before_texts(self) -> int | None:
        if not self._anchor:
            return None
        encoding = self._inner.encode("a")
        before = list(takewhile(bool, encoding.special_tokens_mask))
        return encoding.ids[0] if 0 < len(before) < len(encoding.ids) else None

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token: exact for byte-level vocabularies, else those of its text."""
        piece = self._inner.id_to_token(token)
        if piece is not None and all(char in self._byte_of for char in piece):
            return bytes(self._byte_of[char] for char in piece)
        return self.decode([token]).encode()

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "file": FILE, "sha256": self._sha256}


def _load(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise DataError(f"reading {path} needs tokenizers: pip install 'altgrad[hf]'") from None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises bare Exception for every kind of bad file.
        raise DataError(f"{path} is not a tokenizer.json ({error})") from error


def _listed(ids: Any) -> list[int]:
    return [] if ids is None else list(ids) if isinstance(ids, list) else [ids]


def _special_ids(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
        ids = [token for entry in found.values() for token in _listed(entry)]
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    if not all(type(token) is int and token >= 0 for token in ids):
        raise DataError(f"{path} must hold token ids")
    return dict(found)


def byte_level_alphabet() -> dict[str, int]:
    """The characters that stand for bytes in a byte-level vocabulary (Radford et al. 2019)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(rest)}
