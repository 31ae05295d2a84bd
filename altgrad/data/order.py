"""In which order a run meets its tokens: at random places, by epochs, or by whole documents.

Every order is a pure function of (seed, row): an epoch's permutation comes from a Philox generator
whose counter is the epoch, so a position is still one integer.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from altgrad.data.batches import BatchSource, as_batch, gather
from altgrad.data.config import DataConfig
from altgrad.data.errors import DataError
from altgrad.data.metadata import load_metadata
from altgrad.data.tokenizers import load_tokenizer
from altgrad.data.tokens import load_tokens

SEARCH_TOKENS = 1 << 24


class RowSource(BatchSource):
    """Rows in an order of their own, each read once an epoch.

    The position is kept in rows, so that a run goes on with the next unread one in batches of any
    size. `index` counts micro-batches of this size from `first_row` on.
    """

    order = ""

    def __init__(self, tokens: np.ndarray, block_size: int, **how: int):
        super().__init__(tokens, block_size, **how)
        self.first_index, self.first_row = 0, 0

    def rows_at(self, index: int) -> range:
        start = self.first_row + (index - self.first_index) * self.batch_size
        return range(start, start + self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        """The rows read so far by all processes together, and what they are rows of."""
        return {**super().state_dict(), "rows": self.rows_at(self.position).start, **self._book()}

    def _book(self) -> dict[str, Any]:
        tokens, block_size = len(self.tokens), self.block_size
        return {"order": self.order, "tokens": tokens, "block_size": block_size, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        before = {name: state.get(name, value) for name, value in self._book().items()}
        self.first_index = self.position
        self.first_row = self._row_to_go_on_with(before, state)

    def _row_to_go_on_with(self, before: dict[str, Any], state: dict[str, Any]) -> int:
        """Another text, or another order of it, begins at its first row."""
        now = self._book()
        if any(before[name] != now[name] for name in ("order", "tokens")):
            return 0
        for name, setting in (("block_size", "model.block_size"), ("seed", "seed")):
            if before[name] != now[name]:
                raise DataError(
                    f"data.order={self.order} is within an epoch of blocks that "
                    f"{setting}={before[name]} made; {setting}={now[name]} would read some of it "
                    f"twice and some never: keep {setting}, or use another data.order"
                )
        return int(state.get("rows", self.position * self.batch_size))


class EpochSource(RowSource):
    """Every block of the text once an epoch, shuffled; blocks do not overlap.

    Each epoch is cut at another offset, so that a token meets other neighbours at a block's edges.
    """

    order = "epochs"

    def batch_at(self, index: int) -> tuple[Tensor, Tensor]:
        T, n = self.block_size, len(self.tokens)
        blocks = max(1, (n - T) // T)
        spare = min(T, n - blocks * T)  # offsets that leave room for every block
        places = [
            permutation(self.seed, i // blocks, blocks)[i % blocks] * T
            + offset(self.seed, i // blocks, spare)
            for i in self.rows_at(index)
        ]
        return gather(self.tokens, np.array(places), T)


class DocumentSource(RowSource):
    """Every document once an epoch, shuffled, packed end to end and cut into blocks.

    A document keeps the end-of-text token that follows it; the last of the file, which nothing
    follows, borrows the first one's. Attention is kept inside a document by the network alone
    (`document_token`).
    """

    order = "documents"

    def __init__(self, tokens: np.ndarray, block_size: int, *, starts: np.ndarray, **how: int):
        super().__init__(tokens, block_size, **how)
        self.starts = starts
        self.first_end = starts[1] - 1
        borrowed = int(tokens[-1] != tokens[self.first_end])
        self.lengths = np.diff(starts, append=len(tokens) + borrowed)
        self._layouts: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def batch_at(self, index: int) -> tuple[Tensor, Tensor]:
        rows = (int(self.lengths.sum()) - 1) // self.block_size
        places = [self._row(n // rows, n % rows) for n in self.rows_at(index)]
        return as_batch(self.tokens[np.stack(places)])

    def _row(self, epoch: int, row: int) -> np.ndarray:
        """Where the tokens of a row lie in the file: (T+1,)."""
        order, ends = self._layout(epoch)
        wanted = row * self.block_size + np.arange(self.block_size + 1)
        document = np.searchsorted(ends, wanted, side="right")
        before = ends[document] - self.lengths[order[document]]
        places = self.starts[order[document]] + wanted - before
        return np.where(places == len(self.tokens), self.first_end, places)

    def _layout(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The documents of an epoch in order, and where each ends when they are joined."""
        if epoch not in self._layouts:
            order = permutation(self.seed, epoch, len(self.starts))
            recent = [n for n in self._layouts if n == epoch - 1]
            self._layouts = {n: self._layouts[n] for n in recent}
            self._layouts[epoch] = order, np.cumsum(self.lengths[order])
        return self._layouts[epoch]


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """A shuffle of `range(count)` that depends on nothing else, nor on numpy's version."""
    philox = np.random.Philox(key=seed, counter=[0, 0, epoch + 1, 0])
    return np.argsort(philox.random_raw(count), kind="stable")


@lru_cache(maxsize=2)
def offset(seed: int, epoch: int, below: int) -> int:
    """A number from 0 up to `below` that depends on nothing else."""
    return int(np.random.Philox(key=seed, counter=[0, 0, epoch + 1, 1]).random_raw()) % below


def document_starts(tokens: np.ndarray, end_of_text: int) -> np.ndarray:
    """Where each document begins: at 0 and after every end-of-text token."""
    pieces = range(0, len(tokens), SEARCH_TOKENS)
    found = [np.flatnonzero(tokens[at : at + SEARCH_TOKENS] == end_of_text) + at for at in pieces]
    starts = np.concatenate([[0], *[place + 1 for place in found]])
    return starts[starts < len(tokens)]


def make_batches(
    config: DataConfig,
    folder: str | Path,
    block_size: int,
    *,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
) -> BatchSource:
    """The training batches of a prepared folder, in the order `config` asks for.

    Raises DataError for a folder that has no documents to order.
    """
    tokens = load_tokens(folder, "train")
    how = {"batch_size": config.batch_size, "seed": seed, "rank": rank, "world_size": world_size}
    if config.order == "random":
        return BatchSource(tokens, block_size, **how)
    if config.order == "epochs":
        return EpochSource(tokens, block_size, **how)
    return DocumentSource(tokens, block_size, starts=_starts_of(folder, tokens), **how)


def document_token(folder: str | Path) -> int:
    """The end-of-text token between the documents of a prepared folder, for `mask_documents`.

    Raises DataError where nothing tells documents apart, or where there is only one.
    """
    meta = load_metadata(folder)
    end_of_text = load_tokenizer(folder).end_of_text if meta.tokenizer else None
    if end_of_text is None:
        raise DataError(
            f"data.mask_documents=true: {meta.corpus} has no end-of-text token that would tell "
            "its documents apart; leave it out, or say which it is: model.document_token=0"
        )
    if meta.splits["train"].documents == 1:
        raise DataError(
            f"data.mask_documents=true: {meta.corpus} is one single document; leave it out"
        )
    return end_of_text


def _starts_of(folder: str | Path, tokens: np.ndarray) -> np.ndarray:
    meta = load_metadata(folder)
    end_of_text = load_tokenizer(folder).end_of_text
    starts = np.zeros(1) if end_of_text is None else document_starts(tokens, end_of_text)
    if len(starts) < 2:
        raise DataError(
            f"data.order=documents: {meta.corpus} is one single document; use random or epochs"
        )
    return starts
