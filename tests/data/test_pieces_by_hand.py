"""Documents that come in several pieces, counted and divided by hand; whose tokens are whose."""

import pytest

from altgrad.data import DataConfig, DataError, load_metadata, prepare, readers
from altgrad.data.chunks import chunks
from altgrad.data.metadata import Metadata, SplitInfo
from altgrad.data.order import permutation
from altgrad.data.passages import passages, scan
from altgrad.data.sources import find_source
from altgrad.data.tokenizers import load_tokenizer


@pytest.fixture
def config(tmp_path, monkeypatch) -> DataConfig:
    """Two documents of 100 and 50 characters, read 16 at a time."""
    monkeypatch.setattr(readers, "PIECE_BYTES", 16)
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("word word " * 10)
    (folder / "b.txt").write_text("else else " * 5)
    return DataConfig(
        path=str(folder), tokenizer="byte", val_fraction=0.5, cache_dir=str(tmp_path / "c")
    )


def found_passages(config):
    source = find_source(config)
    return list(passages(config, source, scan(config, source, lambda done: None)))


def test_a_document_whose_middle_is_the_cut_stays_whole(config):
    """Of 150 characters half are 75, in the middle of the first document."""
    found = found_passages(config)
    assert len(found) > 4
    texts = {s: "".join(p.text for p in found if p.split == s) for s in ("train", "val")}
    assert texts == {"train": "word word " * 10, "val": "else else " * 5}
    assert [p.begins for p in found].count(True) == 2


def test_documents_are_counted_not_their_pieces(config):
    counted = [c.documents for c in chunks(iter(found_passages(config)))]
    assert counted == [1, 1]
    splits = load_metadata(prepare(config)).splits
    assert {s: (i.documents, i.characters) for s, i in splits.items()} == {
        "train": (1, 100),
        "val": (1, 50),
    }


def test_a_tokenizer_file_of_another_hash_is_not_taken_for_the_one_that_made_the_tokens(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    identity = {"name": "file", "file": "tokenizer.json", "sha256": "0" * 64}
    splits = {s: SplitInfo(tokens=10) for s in ("train", "val")}
    Metadata("c", "l", [], "r", identity, 256, "uint16", splits).write(tmp_path)
    with pytest.raises(DataError, match="0000000000000000"):
        load_tokenizer(tmp_path, cache=tmp_path / "cache")


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    orders = [tuple(permutation(seed, epoch, 50)) for seed, epoch in ((3, 0), (3, 1), (4, 0))]
    assert len(set(orders)) == 3
    assert all(sorted(order) == list(range(50)) for order in orders)
