"""The learner's reference and the `nanochat` preset are the same model."""

import math

import pytest
import torch

from altgrad.learn.reference import nanochat as reference
from altgrad.model import GPT, KVCache, preset

SIZES = {"vocab_size": 37, "n_layer": 3, "n_head": 6, "n_kv_head": 2, "n_embd": 48}


def pair() -> tuple[reference.GPT, GPT]:
    """Both with the same random weights, in float64, with exact and equal tables."""
    ours = GPT(preset("nanochat", block_size=16, **SIZES)).double()
    single = reference.GPT(reference.GPTConfig(sequence_len=16, **SIZES)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in ours.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.5 * noise)
    single.load_state_dict(ours.state_dict())
    return single, ours


def ids(seed: int = 0) -> torch.Tensor:
    return torch.randint(37, (2, 11), generator=torch.Generator().manual_seed(seed))


def test_parameters_have_the_same_names_and_shapes():
    single, ours = pair()
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (single, ours)]
    assert shapes[0] == shapes[1]


@torch.no_grad()
def test_logits_are_equal_in_float64():
    single, ours = pair()
    torch.testing.assert_close(single(ids()), ours(ids())[0], atol=1e-12, rtol=0)


def test_losses_and_all_gradients_are_equal_in_float64():
    single, ours = pair()
    targets = ids(1)
    targets[0, :4] = -1
    losses = single(ids(), targets), ours(ids(), targets)[1]
    torch.testing.assert_close(*losses, atol=1e-12, rtol=0)
    for loss in losses:
        loss.backward()
    mine = dict(ours.named_parameters())
    for name, parameter in single.named_parameters():
        torch.testing.assert_close(parameter.grad, mine[name].grad, atol=1e-12, rtol=1e-9)


@torch.no_grad()
def test_the_cache_works_the_same():
    single, ours = pair()
    cache = KVCache(ours.config)
    pieces = [single(piece, kv_cache=cache) for piece in ids().split([6, 1, 4], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), ours(ids())[0], atol=1e-12, rtol=0)


def test_greedy_tokens_and_flops_are_the_same():
    single, ours = pair()
    prompt = [3, 1, 4]
    tokens = ours.generate(torch.tensor([prompt]), 8, temperature=0)[0, 3:].tolist()
    assert list(single.generate(prompt, 8, temperature=0)) == tokens
    assert single.estimate_flops() == ours.estimate_flops()


def test_flops_of_nanochats_own_sizes():
    for n_kv_head, flops in ((2, 125_829_120), (1, 124_256_256)):
        with torch.device("meta"):
            config = reference.GPTConfig(512, 65536, 4, 2, n_kv_head, 256)
            assert reference.GPT(config).estimate_flops() == flops


def test_the_first_loss_is_the_logarithm_of_the_vocabulary():
    model = reference.GPT(reference.GPTConfig(16, 37, 2, 6, 2, 48))
    model.init_weights()
    assert model(ids(), ids(1)).item() == pytest.approx(math.log(37), abs=1e-6)


def test_its_attention_is_an_ordinary_outside_part():
    """`altgrad train model.attention=my_gpt:CausalSelfAttention` with a learner's finished file."""
    outside = "altgrad.learn.reference.nanochat"
    parts = {"attention": f"{outside}:CausalSelfAttention", "mlp": f"{outside}:MLP"}
    config = {"block_size": 16, **SIZES}
    for extra in (parts, {"block": f"{outside}:Block"}):
        seed = torch.Generator().manual_seed(1)
        theirs = GPT(preset("nanochat", **config, **extra), seed)
        ours = GPT(preset("nanochat", **config), torch.Generator().manual_seed(1))
        with torch.no_grad():
            for model in (theirs, ours):
                model.lm_head.weight.normal_(generator=torch.Generator().manual_seed(2))
        torch.testing.assert_close(theirs(ids())[0], ours(ids())[0], atol=1e-6, rtol=0)
        assert theirs.generate(ids()[:1], 5, seed=3).tolist() == (
            ours.generate(ids()[:1], 5, seed=3).tolist()
        )


def gpt2_pair(**changes):
    from altgrad.learn.reference import gpt2

    sizes = {"vocab_size": 37, "n_layer": 3, "n_head": 6, "n_embd": 48, "block_size": 16}
    ours = GPT(preset("gpt2", **sizes, dropout=0.0, bias=True)).double()
    single = gpt2.GPT(gpt2.GPTConfig(**sizes)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in ours.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.3 * noise)
    single.load_state_dict(ours.state_dict())
    return single.eval(), ours.eval()


def test_the_gpt2_reference_is_the_gpt2_preset():
    single, ours = gpt2_pair()
    results = single(ids(), ids(1)), ours(ids(), ids(1))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)
    for _, loss in results:
        loss.backward()
    named = dict(ours.named_parameters())
    for name, parameter in single.named_parameters():
        torch.testing.assert_close(parameter.grad, named[name].grad, atol=1e-12, rtol=1e-9)
    assert single.estimate_flops() == ours.estimate_flops()
    tokens = single.generate(ids()[:1, :3], 20, temperature=0)
    assert tokens.tolist() == ours.generate(ids()[:1, :3], 20, temperature=0).tolist()


def test_the_gpt2_references_attention_is_an_outside_part():
    parts = "altgrad.learn.reference.gpt2"
    config = {"vocab_size": 37, "n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16}
    seed = torch.Generator().manual_seed(1)
    theirs = GPT(preset("gpt2", **config, attention=f"{parts}:CausalSelfAttention"), seed)
    ours = GPT(preset("gpt2", **config), torch.Generator().manual_seed(1))
    torch.testing.assert_close(theirs.eval()(ids())[0], ours.eval()(ids())[0], atol=1e-6, rtol=0)
