"""Passages to tokens, in chunks, by one process or several, always in order."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from altgrad.data.errors import DataError
from altgrad.data.passages import Passage
from altgrad.data.tokenizers import Tokenizer, build_tokenizer

CHUNK_CHARACTERS = 1 << 19
AUTOMATIC_ABOVE_BYTES = 64 << 20


class Chunk(NamedTuple):
    """Texts of one split, each with whether the end-of-text token goes before it."""

    split: str
    texts: list[tuple[str, bool]]
    documents: int
    file_bytes: int


@dataclass(frozen=True)
class Encoded:
    """A chunk's tokens as they go to the disk, and what they were made from."""

    split: str
    content: bytes
    tokens: int
    bytes: int
    characters: int
    documents: int
    file_bytes: int


def chunks(passages: Iterator[Passage], size: int | None = None) -> Iterator[Chunk]:
    """Gather passages until they make some work; documents without any text leave no trace."""
    size = size or CHUNK_CHARACTERS
    texts: list[tuple[str, bool]] = []
    split, length, documents, file_bytes = "", 0, 0, 0
    begun, pending = set[str](), False
    for passage in passages:
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
        yield Chunk(split, texts, documents, file_bytes)


def encode_chunk(chunk: Chunk, tokenizer: Tokenizer, dtype: str) -> Encoded:
    end = tokenizer.end_of_text
    parts = [np.empty(0, dtype=dtype)]
    for text, separated in chunk.texts:
        if separated:
            if end is None:
                raise DataError(
                    f"the tokenizer {tokenizer.name} has no end-of-text token to put between "
                    "documents; use data.tokenizer=gpt2, byte or char"
                )
            parts.append(np.array([end], dtype=dtype))
        parts.append(tokenizer.encode_array(text).astype(dtype))
    tokens = np.concatenate(parts)
    texts = [text for text, _ in chunk.texts]
    return Encoded(
        split=chunk.split,
        content=tokens.tobytes(),
        tokens=len(tokens),
        bytes=sum(len(text.encode()) for text in texts),
        characters=sum(map(len, texts)),
        documents=chunk.documents,
        file_bytes=chunk.file_bytes,
    )


def encode_in_order(
    stream: Iterator[Chunk], tokenizer: Tokenizer, dtype: str, cache: Path, workers: int
) -> Iterator[Encoded]:
    """Encode chunk after chunk; with several `workers` a few are always on their way."""
    if workers == 1:
        yield from (encode_chunk(chunk, tokenizer, dtype) for chunk in stream)
        return
    # A fresh interpreter each: a fork would inherit torch's threads, and their locks.
    context = multiprocessing.get_context("spawn")
    how = (tokenizer.describe(), cache, dtype)
    with ProcessPoolExecutor(workers, context, _start_worker, how) as pool:
        waiting: deque[Future[Encoded]] = deque()
        try:
            for chunk in stream:
                waiting.append(pool.submit(_encode_in_worker, chunk))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                "an encoding process was killed (out of memory?); use fewer: data.workers=1"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


_worker: dict[str, Any] = {}


def _start_worker(identity: dict[str, Any], cache: Path, dtype: str) -> None:
    # Ctrl-C is for the parent, which stops the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tokenizer = build_tokenizer(identity, identity.get("vocabulary", ""), cache)
    _worker.update(tokenizer=tokenizer, dtype=dtype)


def _encode_in_worker(chunk: Chunk) -> Encoded:
    return encode_chunk(chunk, _worker["tokenizer"], _worker["dtype"])


def count_workers(asked: int, size_bytes: int) -> int:
    """`asked` processes, or for 0 as many as there are cores if the text is worth it."""
    if asked:
        return asked
    return len(os.sched_getaffinity(0)) if size_bytes > AUTOMATIC_ABOVE_BYTES else 1
