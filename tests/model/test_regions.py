"""Compiled by region, a network computes what it computes plain; equal layers share one graph."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from altgrad.model import GPT, GPTConfig, compile_network

SIZES = {"n_layer": 4, "n_head": 2, "n_embd": 16, "block_size": 12, "vocab_size": 11}
CPU = torch.device("cpu")
PARTS = {"embedding": "bigram", "position": "rope", "block": "shift", "residual": "skip"}


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=8):
        yield


def network(**settings) -> GPT:
    return GPT(GPTConfig(**SIZES, **settings), torch.Generator().manual_seed(0))


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(11, (3, 13), generator=torch.Generator().manual_seed(1))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def trained(call, model: GPT) -> list[torch.Tensor]:
    model.zero_grad()
    logits, loss = call(*tokens())
    loss.backward()
    return [logits, loss, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("parts", [{}, PARTS, {"value_embeddings": True, "position": "rope"}])
def test_logits_loss_and_gradients_are_the_plain_networks(parts):
    model = network(**parts)
    plain = trained(model, model)
    regional = trained(compile_network(model, device=CPU, backend="aot_eager"), model)
    assert len(plain) == len(regional)
    for a, b in zip(plain, regional, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("parts", [{}, PARTS])
def test_equal_layers_are_compiled_once(parts):
    counter = CompileCounter()
    compiled = compile_network(network(**parts), device=CPU, backend=counter)
    for _ in range(3):
        compiled(*tokens())
    assert counter.frame_count == 3  # embedding, layer, head


def test_twelve_layers_that_all_differ_are_compiled_all_the_same():
    model = GPT(GPTConfig(**{**SIZES, "n_layer": 12}, windows=list(range(1, 13))))
    counter = CompileCounter()
    compile_network(model, device=CPU, backend=counter)(*tokens())
    assert counter.frame_count == 12 + 2


def test_the_model_itself_stays_plain_and_samples_without_a_compiler():
    counter = CompileCounter()
    model = network(**PARTS)
    compile_network(model, device=CPU, backend=counter)(*tokens())
    before = counter.frame_count
    model.generate(tokens()[0][:1, :3], 4, seed=1)
    assert counter.frame_count == before


def test_an_id_outside_the_vocabulary_is_refused_although_compiled():
    compiled = compile_network(network(), device=CPU, backend="aot_eager")
    with pytest.raises(ValueError, match="holds 11, outside 0 … 10"):
        compiled(torch.full((1, 4), 11), torch.zeros(1, 4, dtype=torch.long))


@pytest.mark.parametrize(
    "where", [{"device": CPU, "processes": 2}, {"device": torch.device("cuda")}]
)
def test_several_processes_and_a_gpu_get_one_graph(where):
    counter = CompileCounter()
    compile_network(network(), **where, backend=counter)(*tokens())
    assert counter.frame_count == 1
