import json

import numpy as np
import pytest
import torch

from altgrad.data import (
    DataConfig,
    DataError,
    document_token,
    load_tokens,
    make_batches,
    prepare,
)
from altgrad.data.batches import BatchSource
from altgrad.data.order import EpochSource, document_starts

DOCUMENTS = [chr(65 + i) * (3 + 7 * i % 11) for i in range(20)]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS))
    settings = {"path": str(path), "tokenizer": "byte", "batch_size": 3}
    return DataConfig(cache_dir=str(tmp_path / "cache"), **settings)


def batches(config, **how):
    return make_batches(config, prepare(config), 8, **{"seed": 1, **how})


def rows(source, count) -> list[list[int]]:
    """The next `count` blocks with the token after them."""
    found = []
    while len(found) < count:
        x, y = source.next_batch()
        assert torch.equal(x[:, 1:], y[:, :-1])
        found += torch.cat([x, y[:, -1:]], dim=1).tolist()
    return found[:count]


def test_random_is_the_default_order(config):
    assert type(batches(config)) is BatchSource


def test_an_epoch_has_every_block_once_and_each_epoch_is_cut_elsewhere(config):
    config.order = "epochs"
    tokens = load_tokens(prepare(config), "train").tolist()
    count = (len(tokens) - 8) // 8
    epochs = rows(batches(config), 4 * count)
    cuts = [[tokens[at + i * 8 :][:9] for i in range(count)] for at in range(8)]
    found = [epochs[i * count : (i + 1) * count] for i in range(4)]
    offsets = [[sorted(cut) for cut in cuts].index(sorted(epoch)) for epoch in found]
    assert len(set(offsets)) > 1
    assert all(epoch != cuts[at] for epoch, at in zip(found, offsets, strict=True))


@pytest.mark.parametrize("extra", range(1, 20))
def test_epochs_of_a_short_text_stay_inside_it(extra):
    tokens = np.arange(8 + extra, dtype=np.uint16)
    source = EpochSource(tokens, 8, batch_size=5, seed=2)
    for _ in range(20):
        x, y = source.next_batch()
        assert torch.equal(y, x + 1)


def test_an_epoch_of_documents_has_every_document_once_and_whole(config):
    config.order = "documents"
    tokens = load_tokens(prepare(config), "train")
    kept = bytes(tokens.tolist()).decode().split("\0")
    count = len(tokens) // 8
    found = rows(batches(config), count)
    stream = bytes([i for row in found for i in row[:-1]] + [found[-1][-1]]).decode()
    *whole, cut = stream.split("\0")
    assert len(stream) == count * 8 + 1
    assert sorted(whole) == sorted(set(whole) & set(kept))
    assert len(whole) >= len(kept) - 2
    assert whole != kept[: len(whole)]
    assert any(text.startswith(cut) for text in kept)


@pytest.mark.parametrize("order", ["random", "epochs", "documents"])
def test_every_order_is_a_pure_function_of_seed_and_number(config, order):
    config.order = order
    ahead = batches(config)
    for _ in range(7):
        ahead.next_batch()
    resumed = batches(config)
    resumed.load_state_dict(ahead.state_dict())
    assert torch.equal(ahead.next_batch()[0], resumed.next_batch()[0])
    assert not torch.equal(batches(config, seed=2).batch_at(7)[0], batches(config).batch_at(7)[0])


@pytest.mark.parametrize("order", ["random", "epochs", "documents"])
def test_processes_share_every_order(config, order):
    config.order = order
    alone = batches(config)
    pair = [batches(config, rank=rank, world_size=2) for rank in (0, 1)]
    expected = [alone.next_batch()[0] for _ in range(8)]
    found = [process.next_batch()[0] for _ in range(4) for process in pair]
    assert torch.equal(torch.stack(found), torch.stack(expected))


def test_documents_start_after_every_end_of_text():
    tokens = np.array([5, 6, 0, 7, 0, 0, 8, 0], dtype=np.uint16)
    assert document_starts(tokens, 0).tolist() == [0, 3, 5, 6]


def test_one_single_document_cannot_be_ordered(config, tmp_path):
    (tmp_path / "one.txt").write_text("one single document " * 20)
    config.path, config.order = str(tmp_path / "one.txt"), "documents"
    with pytest.raises(DataError, match=r"data\.order=documents: one is one single document"):
        batches(config)


def test_the_document_token_is_the_tokenizers_end_of_text(config):
    assert document_token(prepare(config)) == 0


def test_documents_that_nothing_tells_apart_cannot_be_masked(config, tmp_path):
    (tmp_path / "one.txt").write_text("one single document " * 20)
    config.path = str(tmp_path / "one.txt")
    with pytest.raises(DataError, match="mask_documents=true: one is one single document"):
        document_token(prepare(config))
    config.tokenizer = "char"
    with pytest.raises(DataError, match="mask_documents=true: one has no end-of-text token"):
        document_token(prepare(config))


def test_an_unknown_order_is_refused():
    with pytest.raises(DataError, match=r"'epoch' \(did you mean 'epochs'\?\)"):
        DataConfig(order="epoch")


@pytest.mark.parametrize("order", ["epochs", "documents"])
@pytest.mark.parametrize(("before", "after"), [(3, 2), (2, 5), (4, 1)])
def test_another_batch_size_goes_on_with_the_next_unread_row(config, order, before, after):
    config.order, config.batch_size = order, before
    whole = rows(batches(config), 60)
    source = batches(config)
    read = rows(source, 2 * before)
    config.batch_size = after
    resumed = batches(config)
    resumed.load_state_dict(source.state_dict())
    read += rows(resumed, 3 * after)
    config.batch_size = before
    third = batches(config)
    third.load_state_dict(resumed.state_dict())
    read += rows(third, before)
    assert read == whole[: len(read)]


@pytest.mark.parametrize("order", ["epochs", "documents"])
def test_within_an_epoch_the_seed_and_the_block_cannot_change(config, order):
    config.order = order
    source = batches(config)
    source.next_batch()
    with pytest.raises(DataError, match=r"seed=1 made; seed=2 would read some of it twice"):
        batches(config, seed=2).load_state_dict(source.state_dict())
    other = make_batches(config, prepare(config), 4, seed=1)
    with pytest.raises(DataError, match=r"keep model\.block_size"):
        other.load_state_dict(source.state_dict())


def test_another_order_begins_at_its_first_row(config):
    state = {"position": 7, "rows": 21, "order": "random", "block_size": 8, "seed": 1}
    config.order = "epochs"
    source = batches(config)
    source.load_state_dict(state)
    assert rows(source, 3) == rows(batches(config), 3)
