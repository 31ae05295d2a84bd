"""Chunks, processes, interruptions: none of them may change a single token."""

import json

import numpy as np
import pytest

from altgrad.data import DataConfig, DataError, chunks, encode, load_tokens, partial, prepare
from altgrad.data.tokenizers import ByteTokenizer
from altgrad.data.worker import Worker

DOCUMENTS = [f"Document {i}, with {'words ' * (i % 13)}and an end." for i in range(300)]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS))
    return path


@pytest.fixture
def config(corpus, tmp_path):
    return DataConfig(path=str(corpus), tokenizer="byte", cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def _small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_CHARACTERS", 100)
    monkeypatch.setattr(partial, "SAVE_EVERY_CHUNKS", 5)


def bins(folder) -> list[bytes]:
    return [(folder / f"{split}.bin").read_bytes() for split in ("train", "val")]


@pytest.fixture
def expected():
    """The tokens written down without any of the machinery."""
    total, position, parts = sum(map(len, DOCUMENTS)), 0, {"train": [], "val": []}
    for text in DOCUMENTS:
        parts["train" if position < int(total * 0.9) else "val"].append(text)
        position += len(text)
    joined = ("\0".join(parts[split]).encode() for split in ("train", "val"))
    return [np.frombuffer(text, dtype=np.uint8).astype(np.uint16).tobytes() for text in joined]


def test_the_tokens_are_those_of_the_documents_joined(config, expected):
    assert bins(prepare(config)) == expected


@pytest.mark.usefixtures("_small_chunks")
def test_small_chunks_change_nothing(config, expected):
    assert bins(prepare(config)) == expected


@pytest.mark.usefixtures("_small_chunks")
def test_several_processes_change_nothing(config, expected):
    config.workers = 2
    assert bins(prepare(config)) == expected


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("after", [3, 5, 23, 90])
def test_an_interrupted_preparation_goes_on_where_it_stopped(
    config, expected, monkeypatch, after, tmp_path
):
    calls = 0
    original = encode.encode_chunk

    def interrupted(*how):
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return original(*how)

    monkeypatch.setattr(encode, "encode_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(config)
    assert not list((tmp_path / "cache").rglob("meta.json"))

    done = []
    monkeypatch.setattr(encode, "encode_chunk", lambda *how: done.append(1) or original(*how))
    seen = []
    folder = prepare(config, progress=lambda *how: seen.append(how))
    assert bins(folder) == expected
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    assert len(done) <= calls_of_a_whole_run(config) - (after - after % 5)
    assert sorted(p.name for p in folder.iterdir()) == ["meta.json", "train.bin", "val.bin"]


def calls_of_a_whole_run(config) -> int:
    from altgrad.data.passages import passages, scan
    from altgrad.data.sources import find_source

    source = find_source(config)
    found = scan(config, source, lambda count: None)
    return len(list(chunks.chunks(passages(config, source, found), 100)))


@pytest.mark.usefixtures("_small_chunks")
def test_bytes_written_after_the_last_safe_point_are_cut_off(
    config, expected, monkeypatch, tmp_path
):
    original = encode.encode_chunk
    calls = iter(range(18))
    monkeypatch.setattr(encode, "encode_chunk", lambda *how: (next(calls), original(*how))[1])
    with pytest.raises(RuntimeError):
        prepare(config)
    (half,) = (tmp_path / "cache" / "tokens").glob(".*.partial/train.bin")
    with open(half, "ab") as file:
        file.write(b"garbage of a crash")
    monkeypatch.setattr(encode, "encode_chunk", original)
    assert bins(prepare(config)) == expected


@pytest.mark.usefixtures("_small_chunks")
def test_bad_input_in_the_middle_leaves_nothing(config, corpus, tmp_path):
    with open(corpus, "a") as file:
        file.write('{"text": "cut of')
    with pytest.raises(DataError, match="line 301 is not JSON"):
        prepare(config)
    assert not list((tmp_path / "cache" / "tokens").glob("*.partial"))
    assert not list((tmp_path / "cache" / "tokens").glob(".*.partial"))


@pytest.mark.usefixtures("_small_chunks")
def test_a_disk_that_fills_keeps_what_is_done(config, expected, monkeypatch, tmp_path):
    import errno

    write = partial.Partial.add

    def full(self, encoded):
        if self.chunks_done == 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, encoded)

    monkeypatch.setattr(partial.Partial, "add", full)
    with pytest.raises(DataError, match="No space left on device; free some space"):
        prepare(config)
    assert list((tmp_path / "cache" / "tokens").glob(".*.partial/state.json"))
    monkeypatch.setattr(partial.Partial, "add", write)
    assert bins(prepare(config)) == expected


def test_a_worker_that_is_killed_is_one_line(tmp_path):
    worker = Worker({"name": "byte"}, tmp_path, "uint16")
    chunk = chunks.Chunk("train", [("some text", False)], 1, 9)
    assert worker.encode(chunk) == encode.encode_chunk(chunk, ByteTokenizer(), "uint16")
    worker._process.kill()
    worker._process.wait()
    with pytest.raises(DataError, match="was killed"):
        worker.encode(chunk)
    worker.close()


def test_an_error_in_a_worker_is_the_same_error(tmp_path):
    worker = Worker({"name": "char", "vocabulary": "ab"}, tmp_path, "uint16")
    with pytest.raises(DataError, match="character 'c' is not among the 2"):
        worker.encode(chunks.Chunk("train", [("abc", False)], 1, 3))
    worker.close()


def test_documents_need_a_tokenizer_that_can_separate_them(config, monkeypatch):
    monkeypatch.setattr(ByteTokenizer, "end_of_text", None)
    with pytest.raises(DataError, match="byte has no end-of-text token to put between documents"):
        prepare(config)


@pytest.mark.parametrize(("asked", "size", "found"), [(3, 0, 3), (0, 1 << 20, 1)])
def test_small_texts_are_encoded_by_one_process(asked, size, found):
    assert encode.count_workers(asked, size) == found


def test_two_processes_at_once_make_one_folder(config, tmp_path):
    import subprocess
    import sys
    from pathlib import Path

    program = (
        "from altgrad.data import DataConfig, prepare; "
        f"print(prepare(DataConfig(path={config.path!r}, tokenizer='byte', "
        f"cache_dir={config.cache_dir!r})))"
    )
    root = Path(__file__).parents[2]
    jobs = [
        subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    printed = {job.communicate(timeout=60)[0] for job in jobs}
    assert printed == {f"{prepare(config)}\n".encode()}
    assert len(load_tokens(prepare(config), "val")) > 0
