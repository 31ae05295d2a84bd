"""A preparation killed with SIGKILL at any moment, and files damaged afterwards: the next one is
whole, and equal to one that nothing disturbed."""

import json
import os
import random
import signal
import sys
import warnings
from pathlib import Path

import pytest

from altgrad.data import DataConfig, DataError, chunks, partial, prepare, split_hashes

WATCHED = ("partial.py", "files.py", "prepare.py", "encode.py", "chunks.py")


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_CHARACTERS", 100)
    monkeypatch.setattr(partial, "SAVE_EVERY_CHUNKS", 5)
    path = tmp_path / "x.jsonl"
    lines = (json.dumps({"text": f"Document {i}: {'words ' * (i % 13)}."}) for i in range(100))
    path.write_text("\n".join(lines))
    return DataConfig(path=str(path), cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def expected(config, tmp_path):
    return contents(prepare(DataConfig(path=config.path, cache_dir=str(tmp_path / "other"))))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_child(work) -> int:
    if (pid := os.fork()) == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def lines_of(config, *, kill_at: int = -1, flush: bool = False) -> int:
    """Prepare, counting the lines run in the watched files; die before number `kill_at`."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        count += 1
        if count == kill_at:
            if flush and "self" in frame.f_locals:
                for file in getattr(frame.f_locals["self"], "_files", {}).values():
                    file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        prepare(config)
    finally:
        sys.settrace(None)
    return count


def test_a_preparation_killed_at_any_moment_ends_whole_and_the_same(config, expected, tmp_path):
    total = lines_of(DataConfig(path=config.path, cache_dir=str(tmp_path / "third")))
    rng = random.Random(0)
    killed = 0
    for attempt in range(16):
        fresh = DataConfig(path=config.path, cache_dir=str(tmp_path / f"cache{attempt}"))
        for _ in range(1 + attempt % 3):  # killed again while it goes on
            how = {"kill_at": rng.randrange(total), "flush": attempt % 2 == 0}
            status = in_child(lambda fresh=fresh, how=how: lines_of(fresh, **how))
            killed += os.WIFSIGNALED(status)
        assert contents(prepare(fresh)) == expected
    assert killed >= 12


def test_a_split_that_the_state_does_not_know_is_begun_again(config, expected):
    def work():
        add = partial.Partial.add

        def add_and_die(self, encoded):
            add(self, encoded)
            if encoded.split == "val":
                for file in self._files.values():
                    file.flush()
                os.kill(os.getpid(), signal.SIGKILL)

        partial.Partial.add = add_and_die
        prepare(config)

    assert os.WIFSIGNALED(in_child(work))
    assert contents(prepare(config)) == expected


def half_done(config) -> Path:
    def work():
        def die(self, encoded, add=partial.Partial.add):
            add(self, encoded)
            if self.chunks_done == 22:
                os.kill(os.getpid(), signal.SIGKILL)

        partial.Partial.add = die
        prepare(config)

    assert os.WIFSIGNALED(in_child(work))
    (folder,) = (Path(config.cache_dir) / "tokens").glob(".*.partial")
    return folder


def state(**changes):
    def change(folder):
        path = folder / "state.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


DAMAGE = {
    "empty state": lambda f: (f / "state.json").write_bytes(b""),
    "half a state": lambda f: (f / "state.json").write_bytes(b'{"chunks_done": 2'),
    "no object": lambda f: (f / "state.json").write_bytes(b"[1]"),
    "binary": lambda f: (f / "state.json").write_bytes(b"\xff\x00"),
    "no counts": state(counts=None),
    "text for a number": state(chunks_done="9"),
    "negative": state(chunks_done=-1),
    "other chunks": state(chunk_characters=7),
    "shorter tokens": lambda f: os.truncate(f / "train.bin", 10),
    "no tokens": lambda f: (f / "train.bin").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_state_that_cannot_be_trusted_is_named_and_all_is_begun_again(config, expected, damage):
    folder = half_done(config)
    damage(folder)
    with pytest.warns(UserWarning, match=rf"{folder}/state\.json cannot be gone on with .*begun"):
        assert contents(prepare(config)) == expected


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"a": 1}'])
def test_a_damaged_scan_is_made_again(config, expected, content):
    (half_done(config) / "scan.json").write_bytes(content)
    assert contents(prepare(config)) == expected


def test_whole_work_is_gone_on_with_without_a_word(config, expected):
    half_done(config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert contents(prepare(config)) == expected


def test_tokens_replaced_by_others_of_the_same_size_are_refused(config):
    folder = prepare(config)
    assert split_hashes(folder)  # remembered
    tokens = (folder / "train.bin").read_bytes()
    (folder / "train.bin").write_bytes(tokens[::-1])
    with pytest.raises(
        DataError, match=r"train\.bin is not what it was .* delete .* prepare again"
    ):
        split_hashes(folder)


def test_a_file_that_another_process_writes_into_is_not_taken(config, monkeypatch):
    add = partial.Partial.add

    def spoiled(self, encoded):
        add(self, encoded)
        with open(self.folder / "train.bin", "ab") as file:
            file.write(b"x")

    monkeypatch.setattr(partial.Partial, "add", spoiled)
    with pytest.raises(DataError, match="something else changed it"):
        prepare(config)
