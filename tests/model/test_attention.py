import torch

from altgrad.model.attention import CausalSelfAttention
from altgrad.model.backends import attend
from tests.model.tiny import tiny_config


def random_qkv(n_kv_head: int = 2, n_query: int = 7, n_key: int = 7):
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, 6, n_query, 8), (2, n_kv_head, n_key, 8), (2, n_kv_head, n_key, 8))
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


def by_hand(q, k, v, *, window: int) -> torch.Tensor:
    """Query by query, key by key, head h on key/value head h // (H / K)."""
    y = torch.zeros_like(q)
    offset = k.size(2) - q.size(2)
    for b in range(q.size(0)):
        for h in range(q.size(1)):
            kv = h // (q.size(1) // k.size(1))
            for t in range(q.size(2)):
                seen = range(max(0, t + offset - window + 1), t + offset + 1)
                scores = torch.stack([q[b, h, t] @ k[b, kv, s] for s in seen]) / 8**0.5
                weights = scores.exp() / scores.exp().sum()
                y[b, h, t] = sum(w * v[b, kv, s] for w, s in zip(weights, seen, strict=True))
    return y


def test_every_backend_equals_the_hand_written_softmax():
    for n_kv_head in (6, 2, 1):
        q, k, v = random_qkv(n_kv_head)
        wanted = by_hand(q, k, v, window=7)
        for backend in ("auto", "flash", "math", "explicit", "chunked"):
            torch.testing.assert_close(attend(q, k, v, backend=backend), wanted)


def test_windows_and_cached_keys_are_masked_the_same_everywhere():
    for n_query, window in ((7, 3), (1, 7), (1, 3), (4, 7), (4, 3)):
        q, k, v = random_qkv(n_query=n_query)
        wanted = by_hand(q, k, v, window=window)
        for backend in ("auto", "flash", "math", "explicit", "chunked"):
            got = attend(q, k, v, backend=backend, window=window)
            torch.testing.assert_close(got, wanted, msg=f"{backend} {n_query} {window}")


def test_chunks_equal_one_piece_beyond_one_chunk():
    generator = torch.Generator().manual_seed(1)
    q, k, v = torch.randn(3, 1, 2, 200, 8, generator=generator, dtype=torch.float64)
    for window in (200, 90, 64, 5):
        whole = attend(q, k, v, backend="explicit", window=window)
        torch.testing.assert_close(attend(q, k, v, backend="chunked", window=window), whole)


def test_the_first_position_can_only_copy_its_own_value():
    attention = CausalSelfAttention(tiny_config(bias=False), 0).double()
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    own = attention.c_proj(attention.c_v(x[:, :1]))
    torch.testing.assert_close(attention(x)[:, :1], own)


def test_grouped_queries_shrink_keys_and_values():
    attention = CausalSelfAttention(tiny_config(n_kv_head=2), 0)
    shapes = {n: tuple(getattr(attention, n).weight.shape) for n in ("c_q", "c_k", "c_v", "c_proj")}
    assert shapes == {"c_q": (16, 16), "c_k": (8, 16), "c_v": (8, 16), "c_proj": (16, 16)}


def test_attention_dropout_has_the_right_mean():
    """Dropped weights are made up for by scaling the others: the average output stays."""
    generator = torch.Generator().manual_seed(1)
    q, k, v = torch.randn(3, 1, 1, 4, 8, generator=generator)
    torch.manual_seed(0)
    wanted = attend(q, k, v, backend="explicit")
    for backend in ("auto", "explicit", "chunked"):
        drops = [attend(q, k, v, backend=backend, dropout_p=0.3) for _ in range(3000)]
        assert (torch.stack(drops).mean(0) - wanted).abs().max() < 0.1
