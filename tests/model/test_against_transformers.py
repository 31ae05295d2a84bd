"""The presets compute what transformers' GPT-2 and Llama compute, given the same weights."""

import pytest
import torch

from altgrad.model import GPT, preset
from tests.model.transplant import gpt2_twin, llama_twin

SIZES = {"n_layer": 3, "n_head": 4, "n_embd": 32, "vocab_size": 37, "block_size": 16}


def logits_of(ours: GPT, theirs: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    idx = torch.randint(37, (2, 11), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return ours.eval()(idx)[0], theirs.eval()(idx).logits


@pytest.mark.parametrize("name", ["gpt2", "gpt2_124m"])
def test_gpt2_logits_equal_transformers(name):
    ours = GPT(preset(name, **SIZES, bias=True))
    mine, theirs = logits_of(ours, gpt2_twin(ours))
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_kv_head", [4, 2, 1])
def test_llama_logits_equal_transformers(n_kv_head):
    ours = GPT(preset("llama", **SIZES, n_kv_head=n_kv_head))
    mine, theirs = logits_of(ours, llama_twin(ours))
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "twin"), [("gpt2", gpt2_twin), ("llama", llama_twin)])
def test_greedy_tokens_equal_transformers(name, twin):
    ours = GPT(preset(name, **SIZES | {"block_size": 64}, bias=name == "gpt2"))
    idx = torch.randint(37, (2, 5), generator=torch.Generator().manual_seed(2))
    theirs = (
        twin(ours)
        .eval()
        .generate(
            idx,
            attention_mask=torch.ones_like(idx),
            max_new_tokens=20,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
    )
    assert ours.generate(idx, 20, temperature=0).tolist() == theirs.tolist()


def test_gpt2_gradients_equal_transformers():
    ours = GPT(preset("gpt2", **SIZES, bias=True)).double().eval()
    theirs = gpt2_twin(ours).double().eval()
    idx = torch.randint(37, (2, 11), generator=torch.Generator().manual_seed(3))
    targets = idx.roll(-1, 1)
    ours(idx, targets)[1].backward()
    logits = theirs(idx).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    pairs = (
        (ours.transformer.wte.weight.grad, theirs.transformer.wte.weight.grad),
        (
            ours.transformer.h[1].attn.c_k.weight.grad,
            theirs.transformer.h[1].attn.c_attn.weight.grad[:, 32:64].T,
        ),
        (ours.transformer.h[0].ln_1.bias.grad, theirs.transformer.h[0].ln_1.bias.grad),
    )
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=1e-9)
