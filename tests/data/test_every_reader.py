"""What a reader owes, whatever the kind of the file and however it is packed."""

import bz2
import gzip
import json
import lzma

import pytest

from altgrad.data.compressed import OPENERS
from altgrad.data.errors import DataError
from altgrad.data.readers import KINDS, READERS, read_pieces

DOCUMENTS = ["First act, with é.\r\n", "Zweiter Akt — länger. " * 40, "third 🎭"]


def text(path):
    path.write_bytes("".join(DOCUMENTS).encode())
    return ["".join(DOCUMENTS)]


def jsonl(path):
    lines = [json.dumps({"text": document, "n": 1}) + "\n" for document in DOCUMENTS]
    path.write_text("".join(lines), encoding="utf-8")
    return DOCUMENTS


def parquet(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": DOCUMENTS}), path, row_group_size=2)
    return DOCUMENTS


def zstd(content):
    import zstandard

    return zstandard.ZstdCompressor().compress(content)


WRITERS = {"text": text, "jsonl": jsonl, "parquet": parquet}
PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}
PLAIN = [(suffix, "") for suffix in KINDS]
PACKED = [(suffix, end) for suffix in KINDS for end in OPENERS if KINDS[suffix] != "parquet"]


@pytest.fixture
def written(tmp_path, request):
    """A file of a kind, packed, and the documents in it."""
    suffix, end = request.param
    path = tmp_path / f"x{suffix}"
    wanted = WRITERS[KINDS[suffix]](path)
    if end:
        packed = path.with_name(path.name + end)
        packed.write_bytes(PACKERS[end](path.read_bytes()))
        path = packed
    return path, wanted


def test_every_reader_and_every_packing_is_tried():
    assert set(WRITERS) == set(READERS) == set(KINDS.values())
    assert set(PACKERS) == set(OPENERS)


@pytest.mark.parametrize("written", PLAIN + PACKED, indirect=True, ids="".join)
def test_documents_come_whole_and_in_order_and_the_bytes_add_up(written):
    path, wanted = written
    pieces = list(read_pieces(path))
    joined = "".join(p.text + ("\f" if p.ends_document else "") for p in pieces)
    assert joined.split("\f")[:-1] == wanted
    assert sum(p.file_bytes for p in pieces) == path.stat().st_size


@pytest.mark.parametrize("written", [*PACKED, (".parquet", "")], indirect=True, ids="".join)
def test_a_file_that_was_cut_off_is_refused_by_its_name(written):
    path, _ = written
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=f"{path} is cut off or "):
        list(read_pieces(path))


@pytest.mark.parametrize("suffix", KINDS)
def test_an_empty_file_is_refused_by_its_name(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.touch()
    with pytest.raises(DataError, match=f"{path} is empty"):
        list(read_pieces(path))
