"""Chunks to tokens, by one process or several, always in order."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from altgrad.data.chunks import Chunk, Encoded, encode_chunk
from altgrad.data.tokenizers import Tokenizer
from altgrad.data.worker import Worker

AUTOMATIC_ABOVE_BYTES = 64 << 20


def encode_in_order(
    stream: Iterator[Chunk], tokenizer: Tokenizer, dtype: str, cache: Path, workers: int
) -> Iterator[Encoded]:
    """Encode chunk after chunk; with several `workers` a few are always on their way."""
    if workers == 1:
        yield from (encode_chunk(chunk, tokenizer, dtype) for chunk in stream)
        return
    processes = [Worker(tokenizer.describe(), cache, dtype) for _ in range(workers)]
    idle: SimpleQueue[Worker] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def encode(chunk: Chunk) -> Encoded:
        process = idle.get()
        try:
            return process.encode(chunk)
        finally:
            idle.put(process)

    try:
        with ThreadPoolExecutor(workers) as pool:
            yield from _in_order(pool, encode, stream, ahead=2 * workers)
    finally:
        for process in processes:
            process.close()


def _in_order(
    pool: ThreadPoolExecutor,
    encode: Callable[[Chunk], Encoded],
    stream: Iterator[Chunk],
    *,
    ahead: int,
) -> Iterator[Encoded]:
    """The answers in the order of the chunks, of which `ahead` are taken early."""
    waiting: deque[Future[Encoded]] = deque()
    try:
        for chunk in stream:
            waiting.append(pool.submit(encode, chunk))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def count_workers(asked: int, size_bytes: int) -> int:
    """`asked` processes, or for 0 as many as there are cores if the text is worth it."""
    if asked:
        return asked
    return len(os.sched_getaffinity(0)) if size_bytes > AUTOMATIC_ABOVE_BYTES else 1
