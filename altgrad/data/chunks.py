"""Passages gathered into chunks, and a chunk's tokens: alike for training and for evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from altgrad.data.bpe import BytePairTokenizer
from altgrad.data.errors import DataError
from altgrad.data.passages import Passage
from altgrad.data.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer

CHUNK_CHARACTERS = 1 << 19
LOSSLESS = (CharTokenizer, ByteTokenizer, BytePairTokenizer)


class Chunk(NamedTuple):
    """Texts of one split, each with whether the end-of-text token goes before it."""

    split: str
    texts: list[tuple[str, bool]]
    documents: int
    file_bytes: int


@dataclass(frozen=True)
class Encoded:
    """A chunk's tokens as they go to the disk, and what they were made from.

    lost: texts that the tokenizer does not give back as they were.
    """

    split: str
    content: bytes
    tokens: int
    bytes: int
    characters: int
    documents: int
    lost: int
    file_bytes: int


def chunks(
    passages: Iterator[Passage], size: int | None = None, *, end: str = "between"
) -> Iterator[Chunk]:
    """Gather passages until they make some work; documents without any text leave no trace.

    end: `after` puts the end-of-text token behind a split's last document, too. The passages of a
    split come one after the other.
    """
    size = size or CHUNK_CHARACTERS
    texts: list[tuple[str, bool]] = []
    split, length, documents, file_bytes = "", 0, 0, 0
    begun, pending = set[str](), False
    for passage in passages:
        if texts and passage.split != split and end == "after":
            texts.append(("", True))
        if texts and (passage.split != split or length >= size):
            yield Chunk(split, texts, documents, file_bytes)
            texts, length, documents, file_bytes = [], 0, 0, 0
        split = passage.split
        file_bytes += passage.file_bytes
        pending = passage.begins or pending
        if passage.text:
            texts.append((passage.text, pending and split in begun))
            length += len(passage.text)
            documents += pending
            begun.add(split)
            pending = False
    if split:
        if split in begun and end == "after":
            texts.append(("", True))
        yield Chunk(split, texts, documents, file_bytes)


def encode_chunk(chunk: Chunk, tokenizer: Tokenizer, dtype: str) -> Encoded:
    """The tokens of a chunk, for training and for evaluation alike.

    Raises DataError for tokens outside the vocabulary, and for documents that nothing can separate.
    """
    parts = [np.empty(0, dtype=dtype)]
    lost = 0
    for text, separated in chunk.texts:
        if separated:
            parts.append(np.array([_end_of_text(tokenizer)], dtype=dtype))
        if not text:  # the end of the split
            continue
        ids = encode_checked(tokenizer, text)
        lost += not gives_back(tokenizer, ids, text)
        parts.append(ids.astype(dtype))
    tokens = np.concatenate(parts)
    texts = [text for text, _ in chunk.texts]
    return Encoded(
        split=chunk.split,
        content=tokens.tobytes(),
        tokens=len(tokens),
        bytes=sum(len(text.encode()) for text in texts),
        characters=sum(map(len, texts)),
        documents=chunk.documents,
        lost=lost,
        file_bytes=chunk.file_bytes,
    )


def encode_checked(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Token ids of `text`, all of them whole numbers from 0 up to the vocabulary's size."""
    place = f"in the text that begins {text[:40]!r}"
    try:
        ids = np.asarray(tokenizer.encode_array(text))
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"the tokenizer {tokenizer.name} failed ({why}) {place}") from error
    if not ids.size:
        return ids.astype(np.int64)
    if ids.dtype.kind not in "iu" or ids.ndim != 1:
        raise DataError(
            f"the tokenizer {tokenizer.name} gave {ids.ndim}-dimensional {ids.dtype} {place}; "
            "encode_array must give one flat array of whole numbers"
        )
    for bad in (int(ids.min()), int(ids.max())):
        if not 0 <= bad < tokenizer.vocab_size:
            raise DataError(
                f"the tokenizer {tokenizer.name} gave the token {bad} {place}; its vocab_size="
                f"{tokenizer.vocab_size} allows 0 to {tokenizer.vocab_size - 1}"
            )
    return ids


def gives_back(tokenizer: Tokenizer, ids: np.ndarray, text: str) -> bool:
    """Whether `ids` decode to `text` again; the built-in tokenizers do by construction."""
    return type(tokenizer) in LOSSLESS or tokenizer.decode(ids.tolist()) == text


def _end_of_text(tokenizer: Tokenizer) -> int:
    end = tokenizer.end_of_text
    if end is None:
        raise DataError(
            f"the tokenizer {tokenizer.name} has no end-of-text token to put between "
            "documents; use data.tokenizer=gpt2, byte or char"
        )
    if not 0 <= end < tokenizer.vocab_size:
        raise DataError(
            f"the tokenizer {tokenizer.name} has end_of_text={end}; its vocab_size="
            f"{tokenizer.vocab_size} allows 0 to {tokenizer.vocab_size - 1}"
        )
    return end
