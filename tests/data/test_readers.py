import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altgrad.data import readers
from altgrad.data.errors import DataError
from altgrad.data.readers import read_pieces

DOCUMENTS = ["First act.", "Zweiter Akt — länger.", "", "third"]


def write_jsonl(path, documents=DOCUMENTS, field="text"):
    lines = [json.dumps({field: text, "labels": [1]}, ensure_ascii=False) for text in documents]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def write_parquet(path, documents=DOCUMENTS, field="text"):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({field: documents, "labels": [[1]] * len(documents)})
    pq.write_table(table, path, compression="zstd", row_group_size=2)
    return path


def documents_of(path, **how) -> list[str]:
    found, parts = [], []
    for piece in read_pieces(path, **how):
        parts.append(piece.text)
        if piece.ends_document:
            found.append("".join(parts))
            parts = []
    assert not parts
    return found


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_every_document_comes_in_order(tmp_path, write):
    path = write(tmp_path / f"x.{write.__name__.removeprefix('write_')}")
    assert documents_of(path) == DOCUMENTS


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_the_bytes_used_up_add_to_the_file(tmp_path, write, monkeypatch):
    path = write(tmp_path / f"x.{write.__name__.removeprefix('write_')}", DOCUMENTS * 50)
    assert sum(piece.file_bytes for piece in read_pieces(path)) == path.stat().st_size


def test_a_compressed_file_is_read_by_its_inner_name(tmp_path):
    plain = write_jsonl(tmp_path / "x.jsonl")
    packed = tmp_path / "y.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert documents_of(packed) == DOCUMENTS


def test_a_zstd_file_is_read(tmp_path):
    import zstandard

    path = tmp_path / "x.txt.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(b"Zweiter Akt\n" * 999))
    assert documents_of(path) == ["Zweiter Akt\n" * 999]


@pytest.fixture(params=["gpt2", "cl100k_base", "o200k_base"])
def eager(request, monkeypatch):
    """tiktoken's word patterns over a vocabulary that joins every two or three of a few bytes.

    So a word that is cut in another place gives other tokens.
    """
    import tiktoken
    from tiktoken_ext import openai_public

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *a, **how: {})
    monkeypatch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", lambda **how: {})
    pattern = getattr(openai_public, request.param)()["pat_str"]
    few = [bytes([b]) for b in b" \t\na!1'"]
    longer = [x + y for x in few for y in few] + [x + y + z for x in few for y in few for z in few]
    ranks = {token: i for i, token in enumerate([*(bytes([b]) for b in range(256)), *longer])}
    return tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


@given(st.text(alphabet=" \t\na!1'é\u3000🙂", max_size=100), st.integers(1, 30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_pieces_of_a_text_encode_as_the_whole(tmp_path, eager, text, size):
    path = tmp_path / "x.txt"
    path.write_text("." + text, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "PIECE_BYTES", size)
        pieces = [piece.text for piece in read_pieces(path)]
    assert "".join(pieces) == "." + text
    ids = [i for piece in pieces for i in eager.encode_ordinary(piece)]
    assert ids == eager.encode_ordinary("." + text)


def test_a_text_without_any_space_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "PIECE_BYTES", 10)
    monkeypatch.setattr(readers, "LONGEST_WORD_CHARACTERS", 50)
    path = tmp_path / "x.txt"
    path.write_text("x" * 1000)
    pieces = [piece.text for piece in read_pieces(path)]
    assert "".join(pieces) == "x" * 1000
    assert max(map(len, pieces)) <= 60


def test_the_place_of_a_bad_byte_is_exact_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "PIECE_BYTES", 4)
    path = tmp_path / "x.txt"
    path.write_bytes("aé bé c".encode() + b"\xe9 d")
    with pytest.raises(DataError, match=r"byte 0xe9 at offset 9\)"):
        documents_of(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "cut of', "line 2 is not JSON"),
        ('["text"]', "line 2 is not a JSON object"),
        ('{"body": "x"}', r"line 2 has no text in the field 'text' \(its fields: body\)"),
        ('{"text": 3}', "line 2 has no text in the field"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, words):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "good"}\n' + line + "\n")
    with pytest.raises(DataError, match=words):
        documents_of(path)


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "caf\xe9"}\n')
    with pytest.raises(DataError, match="line 1 is not UTF-8"):
        documents_of(path)


def test_a_huge_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_LINE_BYTES", 1 << 20)
    path = write_jsonl(tmp_path / "x.jsonl", ["x" * (1 << 20)])
    with pytest.raises(DataError, match="line 1 is longer than 1 MiB"):
        documents_of(path)


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_another_field_can_hold_the_text(tmp_path, write):
    path = write(tmp_path / f"x.{write.__name__.removeprefix('write_')}", field="body")
    assert documents_of(path, text_field="body") == DOCUMENTS
    with pytest.raises(DataError, match=r"body.*set data\.text_field"):
        documents_of(path)


@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_a_truncated_parquet_file_is_refused(tmp_path, keep):
    path = write_parquet(tmp_path / "x.parquet", DOCUMENTS * 100)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DataError, match=r"x\.parquet is cut off or not parquet"):
        documents_of(path)


def test_a_corrupt_parquet_page_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    table = pa.table({"text": [f"some text {i}" * 50 for i in range(100)]})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"x\.parquet is cut off or not parquet"):
        documents_of(path)


def test_a_parquet_column_of_numbers_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="holds no text"):
        documents_of(tmp_path / "x.parquet")


@pytest.mark.parametrize("cut", [5, -5])
def test_a_truncated_gzip_file_is_refused(tmp_path, cut):
    path = tmp_path / "x.txt.gz"
    path.write_bytes(gzip.compress(b"some text " * 999)[:cut])
    with pytest.raises(DataError, match=r"x\.txt\.gz is cut off or corrupt"):
        documents_of(path)


def test_reading_parquet_keeps_nothing_of_what_was_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": [f"{i} " * 5000 for i in range(400)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=10, use_dictionary=False)
    size = table.nbytes
    del table
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() for _ in read_pieces(tmp_path / "x.parquet")]
    assert max(held) - before < size / 10


def pack(kind: str, content: bytes) -> bytes:
    import bz2
    import lzma

    import zstandard

    packers = {
        "gz": lambda content: gzip.compress(content, mtime=0),
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "zst": zstandard.ZstdCompressor().compress,
    }
    return packers[kind](content)


LONG = "".join(f"line {i} of {i * i}\n" for i in range(20_000)).encode()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_packed_files_are_read_whole_and_refused_when_cut_off(tmp_path, kind):
    path = tmp_path / f"x.txt.{kind}"
    packed = pack(kind, LONG)
    path.write_bytes(packed + pack(kind, b"second part"))
    assert "".join(documents_of(path)).encode() == LONG + b"second part"
    for keep in (3, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:keep])
        with pytest.raises(DataError, match=rf"x\.txt\.{kind} is cut off or corrupt"):
            documents_of(path)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_text_that_only_claims_to_be_packed_is_refused(tmp_path, kind):
    path = tmp_path / f"x.jsonl.{kind}"
    path.write_bytes(b"hello, this is plain text " * 9)
    with pytest.raises(DataError, match="is cut off or corrupt"):
        documents_of(path)


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl", "x"])
@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (pack("gz", b"a"), "begins as gzip; name it .gz"),
        (pack("zst", b"a"), "begins as zstd"),
        (pack("bz2", b"a"), "begins as bzip2"),
        (pack("xz", b"a"), "begins as xz"),
        (b"PK\x03\x04 half of a zip", "begins as a zip archive; unpack it"),
        (b"PAR1\x15\x04", "begins as parquet"),
        (b"%PDF-1.7", "begins as PDF"),
        ("x".encode("utf-16"), "begins as UTF-16"),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_kind(tmp_path, name, begin, words):
    (tmp_path / name).write_bytes(begin)
    with pytest.raises(DataError, match=words):
        documents_of(tmp_path / name)


@pytest.mark.parametrize("half", [b"\\ud800", b"\\uDFFF tail"])
def test_half_a_surrogate_pair_is_told_with_file_and_line(tmp_path, half):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "\\ud83d\\ude00 whole"}\n{"text": "a ' + half + b'"}\n')
    with pytest.raises(DataError, match=rf"{path} line 2 holds \\ud[8f][0f][0f], half of a surr"):
        documents_of(path)


def test_raw_surrogates_are_not_utf8(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "\xed\xa0\x80"}\n')
    with pytest.raises(DataError, match="line 1 is not UTF-8"):
        documents_of(tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[" * 100_000, "line 2 is not JSON"),
        (b'["a"]', "line 2 is not a JSON object"),
        (b'"a"', "line 2 is not a JSON object"),
        (b"null", "line 2 is not a JSON object"),
        (b'{"body": "a"}', r"line 2 has no text in the field 'text' \(its fields: body\)"),
        (b'{"text": {"a": "b"}}', "line 2 has no text in the field 'text'"),
        (b'{"text": null}', "line 2 has no text"),
        (b"{}", r"\(its fields: none\)"),
        (b'\xef\xbb\xbf{"text": "a"}', "line 2 is not JSON"),
    ],
)
def test_odd_lines_are_told_by_number(tmp_path, line, words):
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "fine"}\n' + line + b"\n")
    with pytest.raises(DataError, match=words):
        documents_of(tmp_path / "x.jsonl")


def test_empty_lines_and_a_byte_order_mark_are_no_documents(tmp_path):
    content = b'\xef\xbb\xbf{"text": "a"}\r\n\n  \r\n{"text": "b"}'
    (tmp_path / "x.jsonl").write_bytes(content)
    assert documents_of(tmp_path / "x.jsonl") == ["a", "b"]
