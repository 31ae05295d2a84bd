import torch

from altgrad.model.embedding import BigramEmbedding
from tests.model.tiny import V, awake, tiny_config, tokens


def test_each_pair_has_its_own_row_when_they_fit():
    embedding = BigramEmbedding(tiny_config(embedding="bigram"))
    assert embedding.bigram.num_embeddings == V * V
    previous, token = torch.cartesian_prod(torch.arange(V), torch.arange(V)).T
    rows = embedding.row(previous[None], token[None])
    assert sorted(rows[0].tolist()) == list(range(V * V))


def test_a_hash_spreads_pairs_over_the_rows_there_are():
    embedding = BigramEmbedding(tiny_config(embedding="bigram", vocab_size=300, bigram_rows=997))
    previous, token = torch.cartesian_prod(torch.arange(300), torch.arange(300)).T
    counts = embedding.row(previous[None], token[None])[0].bincount(minlength=997)
    assert counts.shape == (997,)
    assert counts.max() < 3 * 300 * 300 / 997


@torch.no_grad()
def test_the_pair_is_previous_and_own_token_and_the_first_has_none():
    embedding = awake(tiny_config(embedding="bigram")).transformer.wte
    idx = tokens(1, 4)
    out = embedding(idx)[0]
    a, b, c, d = idx[0].tolist()
    assert torch.equal(out[0], embedding.weight[a])
    for position, (previous, token) in enumerate(((a, b), (b, c), (c, d)), start=1):
        row = embedding.bigram.weight[previous * V + token]
        torch.testing.assert_close(out[position], embedding.weight[token] + row)
