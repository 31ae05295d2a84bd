"""Batches in turns: in order, a core each, nothing left changed."""

import threading

import pytest
import torch

from altgrad.evaluate.workers import in_turns

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_each_from_one_core(two_threads):
    def work(number: int) -> tuple[int, int, bool]:
        return number, torch.get_num_threads(), torch.is_inference_mode_enabled()

    assert list(in_turns(work, range(20), CPU)) == [(n, 1, True) for n in range(20)]
    assert torch.get_num_threads() == 2
    assert not torch.is_inference_mode_enabled()


def test_two_batches_are_computed_at_the_same_time(two_threads):
    together = threading.Barrier(2, timeout=30)
    assert len(list(in_turns(lambda _: together.wait(), range(2), CPU))) == 2


def test_an_error_arrives_and_the_rest_is_not_computed(two_threads):
    done = []

    def work(number: int) -> None:
        if number == 3:
            raise ValueError("three")
        done.append(number)

    with pytest.raises(ValueError, match="three"):
        list(in_turns(work, range(10_000), CPU))
    assert len(done) < 10_000
    assert torch.get_num_threads() == 2
