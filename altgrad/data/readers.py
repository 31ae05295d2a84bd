"""Documents out of files, piece by piece: text, JSONL, parquet, plain or compressed.

A text file is one document and may be larger than memory; it comes in pieces, cut so that
encoding the pieces gives the same tokens as encoding the whole. A line of JSONL and a row of
parquet are one document each.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from altgrad.data.compressed import DAMAGE, inner_name, refuse_other_kinds, unpacked
from altgrad.data.errors import DataError
from altgrad.data.files import DiskError

PIECE_BYTES = 1 << 20
LONGEST_WORD_CHARACTERS = 1 << 20
"""A text without a single space for this long is cut in the middle of a word after all."""
LONGEST_LINE_BYTES = 64 << 20
PARQUET_ROWS = 256


class Piece(NamedTuple):
    """Some text, whether a document ends with it, and how many bytes of the file it used up."""

    text: str
    ends_document: bool
    file_bytes: int


def read_pieces(path: Path, *, text_field: str = "text") -> Iterator[Piece]:
    """The documents of a file, in order, in constant memory.

    Raises DataError, one line with the file, the place and the cure, for what cannot be read.
    """
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty; give a file with some text in it")
        if inner_name(path.name) == path.name.lower() and kind_of(path) != "parquet":
            refuse_other_kinds(path)
        yield from READERS[kind_of(path)](path, text_field)
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DiskError(f"{path} cannot be read: {error.strerror}") from error
        raise DataError(f"{path} is cut off or corrupt ({error}); bring it again") from error


def kind_of(path: Path) -> str:
    """The reader for a file name; a compressed file is read by what stands before `.gz`, `.zst`."""
    return KINDS.get(Path(inner_name(path.name)).suffix, "text")


def _read_text(path: Path, text_field: str) -> Iterator[Piece]:
    del text_field
    decode = _strict_decoder(path)
    with open(path, "rb") as raw, unpacked(path, raw) as file:
        waiting, used = "", 0
        while block := file.read(PIECE_BYTES):
            waiting += decode(block, False)
            cut = safe_cut(waiting)
            if not cut and len(waiting) > LONGEST_WORD_CHARACTERS:
                cut = len(waiting)
            if cut:
                position = raw.tell()
                yield Piece(waiting[:cut], False, position - used)
                waiting, used = waiting[cut:], position
        waiting += decode(b"", True)
        yield Piece(waiting, True, raw.tell() - used)


def safe_cut(text: str) -> int:
    """The last place in `text` where every byte-pair pattern in use starts a new word; 0 if none.

    That is before a space which follows something else than white space.
    """
    at = text.rfind(" ")
    while at > 0 and text[at - 1].isspace():
        at = text.rfind(" ", 0, at)
    return max(at, 0)


def _strict_decoder(path: Path) -> Callable[[bytes, bool], str]:
    """UTF-8 without translation of any kind, which knows where in the file it is."""
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0

    def decode(block: bytes, final: bool) -> str:
        nonlocal offset
        if b"\0" in block:
            raise DataError(
                f"{path} holds a NUL byte at offset {offset + block.index(0)}, so it is binary or "
                f"UTF-16; give UTF-8 text, for example: iconv -f utf-16 -t utf-8 {path} > utf8.txt"
            )
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final)
        except UnicodeDecodeError as error:
            place = offset - held + error.start
            cut = (
                ", where it ends: was it cut off?"
                if error.reason.startswith("unexpected end")
                else ""
            )
            byte = error.object[error.start]
            raise DataError(
                f"{path} is not UTF-8 (byte 0x{byte:02x} at offset {place}{cut}); convert it, for "
                f"example: iconv -f latin1 -t utf-8 {path} > utf8.txt"
            ) from error
        offset += len(block)
        return text

    return decode


def _read_jsonl(path: Path, text_field: str) -> Iterator[Piece]:
    with open(path, "rb") as raw, unpacked(path, raw) as file:
        used, number = 0, 0
        while line := file.readline(LONGEST_LINE_BYTES + 1):
            number += 1
            if len(line) > LONGEST_LINE_BYTES:
                raise DataError(
                    f"{path} line {number} is longer than {LONGEST_LINE_BYTES >> 20} MiB; JSONL "
                    "has one document a line, so split it or give the file as plain text"
                )
            if not line.strip():
                continue
            where = f"{path} line {number}"
            text = _text_of(_parse(line, path, number), text_field, where)
            if b"\\u" in line:
                _refuse_surrogates(text, where)
            position = raw.tell()
            yield Piece(text, True, position - used)
            used = position


def _parse(line: bytes, path: Path, number: int) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} line {number} is not UTF-8; convert the file") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} line {number} is not JSON ({error}); was it cut off?") from error


def _text_of(document: Any, field: str, where: str) -> str:
    if not isinstance(document, dict):
        raise DataError(f"{where} is not a JSON object; write {{{json.dumps(field)}: …}} a line")
    text = document.get(field)
    if not isinstance(text, str):
        raise DataError(
            f"{where} has no text in the field {field!r} (its fields: "
            f"{', '.join(map(str, document)) or 'none'}); set data.text_field"
        )
    return text


def _refuse_surrogates(text: str, where: str) -> None:
    """JSON can escape half a character, which no UTF-8 text, and so no tokenizer, can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])[1:-1]
        raise DataError(
            f"{where} holds {half}, half of a surrogate pair, which is no character; "
            "mend that line or leave it out"
        ) from None


def _read_parquet(path: Path, text_field: str) -> Iterator[Piece]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(f"reading {path} needs pyarrow: pip install 'altgrad[hf]'") from None
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield from _parquet_rows(path, file, text_field)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is cut off or not parquet ({reason}); bring it again") from error


def _parquet_rows(path: Path, file: Any, text_field: str) -> Iterator[Piece]:
    columns = file.schema_arrow.names
    if text_field not in columns:
        raise DataError(
            f"{path} has no column {text_field!r} (it has: {', '.join(columns)}); "
            "set data.text_field"
        )
    rows, size, done = file.metadata.num_rows, path.stat().st_size, 0
    # One row group at a time: a reader over all of them keeps what it has read.
    groups = range(file.num_row_groups)
    how = {"batch_size": PARQUET_ROWS, "columns": [text_field]}
    batches = (b for i in groups for b in file.iter_batches(row_groups=[i], **how))
    for batch in batches:
        for text in batch.column(0).to_pylist():
            before, done = size * done // rows, done + 1
            if not isinstance(text, str | None):
                raise DataError(f"{path}: column {text_field!r} holds no text; set data.text_field")
            yield Piece(text or "", True, size * done // rows - before)


READERS: dict[str, Callable[[Path, str], Iterator[Piece]]] = {
    "text": _read_text,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}
KINDS = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""File name suffix -> reader. A single file with another suffix is read as text; in a folder only
these are picked up."""
