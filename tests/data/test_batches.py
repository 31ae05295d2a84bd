import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from altgrad.data import BatchSource, DataError, evaluation_batches, get_batch

TOKENS = np.arange(1000, dtype=np.uint16)


def source(**changes) -> BatchSource:
    return BatchSource(TOKENS, 8, **{"batch_size": 4, "seed": 7, **changes})


def test_targets_are_the_inputs_one_token_further():
    x, y = source().next_batch()
    assert x.shape == y.shape == (4, 8)
    assert x.dtype == y.dtype == torch.int64
    assert torch.equal(y, x + 1)
    assert torch.equal(x, x[:, :1] + torch.arange(8))


def test_a_batch_depends_on_seed_and_number_alone():
    later = source()
    for _ in range(5):
        later.next_batch()
    torch.rand(3)
    np.random.rand(3)
    assert torch.equal(later.next_batch()[0], source().batch_at(5)[0])
    assert not torch.equal(source(seed=8).next_batch()[0], source().next_batch()[0])
    assert not torch.equal(source().batch_at(1)[0], source().batch_at(0)[0])


def test_the_batches_of_a_seed_never_change():
    """Golden numbers: a change here changes every run's data."""
    assert source().batch_at(0)[0][:, 0].tolist() == [452, 807, 984, 210]


def test_a_resumed_source_goes_on_bit_for_bit():
    first = source()
    for _ in range(3):
        first.next_batch()
    second = source()
    second.load_state_dict(first.state_dict())
    assert first.state_dict() == {"position": 3}
    assert torch.equal(first.next_batch()[0], second.next_batch()[0])


def test_two_processes_read_together_what_one_reads_alone():
    alone = source()
    pair = [source(rank=rank, world_size=2) for rank in (0, 1)]
    expected = [alone.next_batch()[0] for _ in range(6)]
    found = [process.next_batch()[0] for _ in range(3) for process in pair]
    assert torch.equal(torch.stack(found), torch.stack(expected))
    assert alone.state_dict() == pair[0].state_dict() == pair[1].state_dict()


def test_a_position_that_cannot_be_shared_is_refused():
    with pytest.raises(DataError, match="position 3 cannot be shared by 2 processes"):
        source(world_size=2).load_state_dict({"position": 3})


def test_every_start_is_drawn_and_none_beyond_the_end():
    small = BatchSource(np.arange(12, dtype=np.uint16), 8, batch_size=200, seed=0)
    x, y = small.next_batch()
    assert set(x[:, 0].tolist()) == {0, 1, 2, 3}
    assert y.max() == 11


def test_starts_are_uniform():
    """Chi-square over 992 starts: the 0.1 % and 99.9 % points of that distribution."""
    starts = source(batch_size=99_200).next_batch()[0][:, 0]
    counts = torch.bincount(starts, minlength=992).double()
    assert 856 < ((counts - 100) ** 2 / 100).sum() < 1135


def test_tokens_shorter_than_a_block_are_refused():
    with pytest.raises(DataError, match="has 8 tokens, fewer than the 9"):
        BatchSource(np.arange(8, dtype=np.uint16), 8, batch_size=1, seed=0)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(DataError, match="must lie between"):
        source(seed=seed)


@given(st.integers(2, 200), st.integers(1, 9), st.integers(1, 5))
def test_evaluation_predicts_every_token_but_the_first_once(count, block_size, batch_size):
    tokens = np.arange(count, dtype=np.uint16)
    batches = list(evaluation_batches(tokens, block_size, batch_size=batch_size))
    assert {batch.shape for pair in batches for batch in pair} == {(batch_size, block_size)}
    targets = torch.cat([y.flatten() for _, y in batches])
    inputs = torch.cat([x.flatten() for x, _ in batches])
    assert targets[targets >= 0].tolist() == list(range(1, count))
    assert inputs[targets >= 0].tolist() == list(range(count - 1))
    assert (targets[count - 1 :] == -1).all()


def test_the_weighted_mean_of_the_batches_is_the_mean_over_the_tokens():
    tokens = np.random.default_rng(0).integers(0, 5, 103).astype(np.uint16)
    table = torch.randn(5, 5, dtype=torch.float64)
    total = 0.0
    for x, y in evaluation_batches(tokens, 8, batch_size=4):
        loss = torch.nn.functional.cross_entropy(
            table[x].flatten(0, 1), y.flatten(), ignore_index=-1
        )
        total += loss * (y >= 0).sum()
    ids = torch.from_numpy(tokens.astype(np.int64))
    exact = torch.nn.functional.cross_entropy(table[ids[:-1]], ids[1:])
    torch.testing.assert_close(total / 102, exact)


def test_one_token_cannot_be_evaluated():
    with pytest.raises(DataError, match="at least 2"):
        next(evaluation_batches(np.zeros(1, dtype=np.uint16), 4, batch_size=1))


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "val"):
        TOKENS.tofile(tmp_path / f"{split}.bin")
    return tmp_path


def test_get_batch_draws_what_nanogpt_draws(folder):
    torch.manual_seed(3)
    x, y = get_batch("train", folder, 8, 4, "cpu")
    torch.manual_seed(3)
    starts = torch.randint(len(TOKENS) - 8, (4,))
    data = torch.from_numpy(TOKENS.astype(np.int64))
    assert torch.equal(x, torch.stack([data[i : i + 8] for i in starts]))
    assert torch.equal(y, torch.stack([data[i + 1 : i + 9] for i in starts]))


def test_get_batch_with_a_generator_leaves_the_global_one_alone(folder):
    before = torch.get_rng_state()
    get_batch("val", folder, 8, 4, "cpu", generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_get_batch_goes_to_the_gpu(folder):
    x, _ = get_batch("train", folder, 8, 4, "cuda")
    assert x.is_cuda
