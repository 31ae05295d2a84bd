"""One process that encodes, spoken to through its standard input and output.

`python -m altgrad.data.worker` reads pickles: first how to build the tokenizer, then chunks, and
answers each with its tokens or with the error. It ends when its input does, so also when the parent
is killed. Unlike a `multiprocessing` child it never runs the caller's main module again: a script
without an `if __name__ == "__main__"` may prepare data, and nothing but the tokenizer is imported.
"""

import os
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from altgrad.data.chunks import Chunk, Encoded, encode_chunk
from altgrad.data.errors import DataError


class Worker:
    """The parent's end. `encode` waits for the answer; one thread uses it at a time."""

    def __init__(self, identity: dict[str, Any], cache: Path, dtype: str):
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            start_new_session=True,  # Ctrl-C is for the parent, which then closes the pipes.
        )
        self._send((identity, cache, dtype))

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        pickle.dump(message, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()

    def encode(self, chunk: Chunk) -> Encoded:
        """The chunk's tokens. Raises the worker's error, or DataError when it was killed."""
        assert self._process.stdout is not None
        try:
            self._send(chunk)
            answer = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise DataError(
                "an encoding process was killed (out of memory?); use fewer: data.workers=1"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.stdout.close()
        with suppress(BrokenPipeError):  # What was still to be sent is not wanted any more.
            self._process.stdin.close()
        self._process.wait()


def main() -> None:
    from altgrad.data.tokenizers import build_tokenizer

    read, write = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Whatever a tokenizer prints must not get among the answers.
    os.dup2(2, 1)
    identity, cache, dtype = pickle.load(read)
    tokenizer = build_tokenizer(identity, identity.get("vocabulary", ""), cache)
    while True:
        try:
            chunk = pickle.load(read)
        except EOFError:
            return
        pickle.dump(_answer(chunk, tokenizer, dtype), write, protocol=pickle.HIGHEST_PROTOCOL)
        write.flush()


def _answer(chunk: Chunk, tokenizer: Any, dtype: str) -> Encoded | Exception:
    try:
        return encode_chunk(chunk, tokenizer, dtype)
    except Exception as error:
        return error


if __name__ == "__main__":
    main()
