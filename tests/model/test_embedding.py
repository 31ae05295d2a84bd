import torch

from altgrad.model import GPT
from altgrad.model.embedding import BigramEmbedding, TrigramEmbedding
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


@torch.no_grad()
def test_the_triple_is_two_before_and_own_token_and_the_first_two_have_none():
    config = tiny_config(embedding="trigram", trigram_rows=97)
    embedding = awake(config).transformer.wte
    idx = tokens(1, 5)
    with_triples = embedding(idx)[0]
    rows = embedding.trigram.weight.clone()
    embedding.trigram.weight.zero_()
    added = with_triples - embedding(idx)[0]
    assert (added[:2] == 0).all()
    for t in range(2, 5):
        a, b, c = idx[0, t - 2 : t + 1].tolist()
        torch.testing.assert_close(added[t], rows[((a * 40503) ^ (b * 36313) ^ (c * 27191)) % 97])


def test_a_hash_spreads_triples_over_the_rows_there_are():
    config = tiny_config(embedding="trigram", vocab_size=65, trigram_rows=16384)
    ids = torch.arange(65)
    before, previous, token = torch.cartesian_prod(ids, ids, ids).T
    rows = TrigramEmbedding(config).triple_row(before[None], previous[None], token[None])[0]
    counts = rows.bincount(minlength=16384)
    assert counts.shape == (16384,)
    assert counts.max() < 4 * 65**3 / 16384


@torch.no_grad()
def test_a_trigram_table_starts_at_zero():
    model = GPT(tiny_config(embedding="trigram"), torch.Generator().manual_seed(0))
    assert (model.transformer.wte.trigram.weight == 0).all()
