import pytest
import torch

from altgrad.model import KVCache
from tests.model.tiny import tiny_config


def test_positions_advance_when_the_last_layer_has_stored():
    cache = KVCache(tiny_config())
    k = torch.randn(1, 4, 3, 4)
    cache.insert_kv(0, k, k)
    assert cache.get_pos() == 0
    keys, values = cache.insert_kv(1, k, 2 * k)
    assert cache.get_pos() == 3
    assert torch.equal(keys, k)
    assert torch.equal(values, 2 * k)


def test_it_refuses_more_than_it_holds():
    cache = KVCache(tiny_config(), max_len=4)
    k = torch.randn(1, 4, 5, 4)
    with pytest.raises(ValueError, match="5 positions do not fit into a cache of 4"):
        cache.insert_kv(0, k, k)
