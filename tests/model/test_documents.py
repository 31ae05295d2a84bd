"""Packed documents compute what each computes alone."""

import pytest
import torch
from torch import Tensor

from altgrad.model import GPT, KVCache, preset, preset_names
from altgrad.model.documents import find_documents
from tests.model.tiny import V, awake, tiny_config

END = 3
DOCUMENTS = [[5, 6, 7], [END, 1, 2, 8], [END], [END, 9, 4, 4, 10]]
"""The first begins before the row does; END opens each of the others."""
PACKED = torch.tensor([[token for ids in DOCUMENTS for token in ids]])
EVERYTHING = {
    "embedding": "bigram",
    "block": "shift",
    "residual": "skip",
    "position": "rope",
    "qk_norm": True,
    "norm": "rmsnorm",
    "value_embeddings": True,
    "windows": [3, -1],
}
SIZES = {"n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 16, "block_size": 13}
CONFIGS = {
    name: preset(name, **SIZES, vocab_size=V, dropout=0.0, document_token=END, mtp_heads=0)
    for name in preset_names()
} | {
    "everything": tiny_config(**EVERYTHING, block_size=13, document_token=END),
    "further_back": tiny_config(
        **EVERYTHING | {"embedding": "trigram", "block": "conv"}, block_size=13, document_token=END
    ),
}
each_config = pytest.mark.parametrize("name", CONFIGS)


def alone(model: GPT) -> Tensor:
    """Logits of the documents run one by one, end to end: [1, T, V]."""
    return torch.cat([model(torch.tensor([ids]))[0] for ids in DOCUMENTS], dim=1)


def gradients(model: GPT, logits: Tensor) -> list[Tensor]:
    """Of a loss that weighs every logit differently."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)).double()
    return list(torch.autograd.grad((logits * weights).sum(), list(model.parameters())))


@each_config
def test_packed_documents_have_the_logits_and_gradients_of_each_alone(name):
    model = awake(CONFIGS[name])
    packed, wanted = model(PACKED)[0], alone(model)
    torch.testing.assert_close(packed, wanted, atol=1e-12, rtol=0)
    for a, b in zip(gradients(model, packed), gradients(model, wanted), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@each_config
def test_the_loss_of_a_packed_batch_is_that_of_the_documents_weighed_by_length(name):
    model = awake(CONFIGS[name])
    targets = torch.randint(V, PACKED.shape, generator=torch.Generator().manual_seed(1))
    _, packed = model(PACKED, targets)
    pieces = zip(DOCUMENTS, targets.split([len(ids) for ids in DOCUMENTS], dim=1), strict=True)
    sums = [model(torch.tensor([ids]), y, loss_reduction="sum")[1] for ids, y in pieces]
    torch.testing.assert_close(packed, sum(sums) / PACKED.numel())


@each_config
def test_without_the_mask_they_see_each_other(name):
    masked = awake(CONFIGS[name])
    config = CONFIGS[name]
    plain = GPT(type(config)(**vars(config) | {"document_token": None})).double().eval()
    plain.load_state_dict(masked.state_dict())
    difference = (plain(PACKED)[0] - masked(PACKED)[0]).abs().amax(-1)[0]
    assert difference[:3].max() < 1e-12, "the first document has nothing before it"
    assert difference[3:].min() > 1e-3


@pytest.mark.slow
@each_config
def test_compiled_into_one_graph_it_has_the_same_gradients(name):
    model = awake(CONFIGS[name])
    wanted = gradients(model, alone(model))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for a, b in zip(gradients(model, compiled(PACKED)[0]), wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)
    torch._dynamo.reset()


@pytest.mark.slow
@each_config
def test_compiled_by_inductor_it_has_the_same_logits(name):
    model = awake(CONFIGS[name])
    torch.testing.assert_close(torch.compile(model)(PACKED)[0], alone(model))
    torch._dynamo.reset()


@torch.no_grad()
@each_config
def test_a_cache_knows_the_documents_it_has_read(name):
    model = awake(CONFIGS[name])
    cache = KVCache(model.config)
    pieces = [model(piece, kv_cache=cache)[0] for piece in PACKED.split([2, 3, 1, 7], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(PACKED)[0], atol=1e-12, rtol=0)


@torch.no_grad()
def test_a_repeated_cache_keeps_each_rows_documents():
    model = awake(CONFIGS["everything"])
    rows = torch.tensor([[5, 6, END, 7], [END, 1, 2, 8]])
    cache = KVCache(model.config)
    model(rows, kv_cache=cache)
    counts = torch.tensor([2, 1])
    nexts = torch.tensor([[1, 2], [END, 4], [9, 9]])
    found, _ = model(nexts, kv_cache=cache.repeated(counts, 6))
    whole = torch.cat((rows.repeat_interleave(counts, dim=0), nexts), dim=1)
    torch.testing.assert_close(found, model(whole)[0][:, 4:], atol=1e-12, rtol=0)


def test_documents_are_numbered_and_each_begins_at_place_zero():
    numbers, places = find_documents(torch.tensor([[1, END, 2, END, END, 4], [END] + [1] * 5]), END)
    assert numbers.tolist() == [[0, 1, 1, 2, 3, 3], [1] * 6]
    assert places.tolist() == [[0, 0, 1, 0, 0, 1], [0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize(
    ("kind", "part"),
    [("attention", "NoCacheAttention"), ("embedding", "PlainEmbedding"), ("block", "PlainBlock")],
)
def test_an_outside_part_that_takes_no_documents_is_refused_by_name(kind, part):
    name = f"tests.model.outside:{part}"
    wanted = rf"model\.document_token=3 needs an? {kind} whose forward takes documents; "
    with pytest.raises(ValueError, match=wanted + rf"model\.{kind}={name} does not"):
        GPT(tiny_config(**{kind: name}, document_token=END))


@pytest.mark.parametrize("token", [-1, V])
def test_a_token_outside_the_vocabulary_is_refused(token):
    with pytest.raises(ValueError, match=rf"model\.document_token={token} is no token: .* 0 … 10"):
        tiny_config(document_token=token)
