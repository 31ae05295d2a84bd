"""The texts of a source in order, each with the split it goes to.

A document is never divided between two splits, but for a source that is one single document: that
is cut at the exact character, as nanoGPT cuts Tiny Shakespeare.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from altgrad.data.config import DataConfig
from altgrad.data.errors import DataError
from altgrad.data.readers import Piece, read_pieces
from altgrad.data.sources import WHOLE, Source


class Passage(NamedTuple):
    """Some text of one document and one split; `begins` if it is the document's first."""

    split: str
    text: str
    begins: bool
    file_bytes: int


@dataclass(frozen=True)
class Scan:
    """What a first look at the whole text found."""

    characters: int
    documents: int
    vocabulary: str


def scan(config: DataConfig, source: Source, count: Callable[[int], None]) -> Scan:
    """Read everything once: how long it is, and which characters occur in it."""
    characters, documents, seen = 0, 0, set[str]()
    for _, piece in _pieces(config, source):
        characters += len(piece.text)
        documents += piece.ends_document
        seen |= set(piece.text)
        count(piece.file_bytes)
    if not characters:
        raise DataError(f"{source.corpus} holds no text at all; give a file with some text in it")
    if documents > 1 or config.end_of_text == "after":
        if "\0" in seen:
            raise DataError(
                f"{source.corpus} has a NUL character in a text, which is the end-of-text of the "
                "tokenizers char and byte; use data.tokenizer=gpt2"
            )
        seen.add("\0")
    return Scan(characters, documents, "".join(sorted(seen)))


def first_text(config: DataConfig, source: Source, characters: int) -> str:
    """The first characters of a source, its documents divided by a line break."""
    parts, length = [], 0
    for _, piece in _pieces(config, source):
        parts.append(piece.text + "\n" * piece.ends_document)
        length += len(parts[-1])
        if length >= characters:
            break
    return "".join(parts)[:characters].rstrip("\n")


def passages(config: DataConfig, source: Source, found: Scan | None) -> Iterator[Passage]:
    """Every passage that is to be encoded. `found` is needed to cut a source without own splits."""
    if WHOLE in source.splits:
        assert found is not None
        if found.documents == 1 and config.share < 1:
            raise DataError(
                f"data.share={config.share} takes whole documents, and {source.corpus} is only one"
            )
        cut = int(found.characters * (1 - config.val_fraction))
        placed = _cut_inside(config, source, cut) if found.documents == 1 else None
        stream = placed or _cut_between(config, source, cut)
    else:
        stream = _own_splits(config, source)
    return _thinned(stream, config.share)


def _pieces(config: DataConfig, source: Source) -> Iterator[tuple[str, Piece]]:
    for split, files in source.splits.items():
        for file in files:
            for piece in read_pieces(file.path, text_field=config.text_field):
                yield split, piece


def _own_splits(config: DataConfig, source: Source) -> Iterator[Passage]:
    begins = True
    for split, piece in _pieces(config, source):
        yield Passage(split, piece.text, begins, piece.file_bytes)
        begins = piece.ends_document


def _cut_between(config: DataConfig, source: Source, cut: int) -> Iterator[Passage]:
    """A document that starts before character `cut` is training text, whole."""
    begins, position, split = True, 0, "train"
    for _, piece in _pieces(config, source):
        if begins:
            split = "train" if position < cut else "val"
        yield Passage(split, piece.text, begins, piece.file_bytes)
        position += len(piece.text)
        begins = piece.ends_document


def _cut_inside(config: DataConfig, source: Source, cut: int) -> Iterator[Passage]:
    position = 0
    for _, piece in _pieces(config, source):
        before = piece.text[: max(0, cut - position)]
        after = piece.text[len(before) :]
        if before:
            yield Passage("train", before, position == 0, 0 if after else piece.file_bytes)
        if after:
            yield Passage("val", after, position + len(before) == cut, piece.file_bytes)
        position += len(piece.text)


def _thinned(stream: Iterator[Passage], share: float) -> Iterator[Passage]:
    """Keep an evenly spaced `share` of the training documents, and all other text."""
    number, kept = -1, True
    for passage in stream:
        if passage.split == "train" and passage.begins:
            number += 1
            kept = int((number + 1) * share) > int(number * share)
        if passage.split != "train" or kept:
            yield passage
        else:
            yield passage._replace(text="")
