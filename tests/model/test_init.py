import pytest
import torch

from altgrad.model import GPT
from tests.model.tiny import tiny_config


def start(seed: int = 0, **changes) -> dict[str, torch.Tensor]:
    return GPT(tiny_config(**changes), torch.Generator().manual_seed(seed)).state_dict()


def test_the_generator_decides_and_the_global_one_is_left_alone():
    before = torch.get_rng_state()
    first, again, other = start(1), start(1), start(2)
    assert torch.equal(before, torch.get_rng_state())
    name = "transformer.h.0.attn.c_q.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_without_a_generator_the_global_seed_decides():
    torch.manual_seed(7)
    first = GPT(tiny_config()).lm_head.weight
    second = GPT(tiny_config()).lm_head.weight
    torch.manual_seed(7)
    assert torch.equal(first, GPT(tiny_config()).lm_head.weight)
    assert not torch.equal(first, second)


def test_changing_one_part_leaves_the_start_of_all_others():
    plain = start()
    for changes in ({"mlp": "swiglu"}, {"n_layer": 3}, {"position": "rope"}, {"n_kv_head": 2}):
        other = start(**changes)
        same = "transformer.h.0.attn.c_q.weight"
        assert torch.equal(plain[same], other[same]), changes


def test_no_two_tensors_start_alike():
    weights = [w for n, w in start().items() if n.endswith(("c_q.weight", "c_k.weight"))]
    for i, one in enumerate(weights):
        for other in weights[i + 1 :]:
            assert not torch.equal(one, other)


def test_gpt2_draws_0_02_and_scales_the_residual_projections():
    state = start(n_embd=256, n_layer=8)
    for name, tensor in state.items():
        if name.endswith("bias"):
            assert tensor.abs().max() == 0, name
        elif ".ln_" in name:
            assert (tensor == 1).all(), name
        else:
            residual = name.endswith("c_proj.weight")
            std = 0.02 / 16**0.5 if residual else 0.02
            assert tensor.std().item() == pytest.approx(std, rel=0.05), name


def test_llama_draws_0_02_everywhere():
    state = start(n_embd=256, init="llama", tie_head=False, bias=False, norm="rmsnorm")
    for name, tensor in state.items():
        if ".ln_" not in name:
            assert tensor.std().item() == pytest.approx(0.02, rel=0.05), name


def test_novelties_start_as_the_model_without_them():
    """Bigrams, residual mixing and the embedding's skip change nothing before training."""
    idx = torch.randint(11, (2, 8))
    plain = GPT(tiny_config(), torch.Generator().manual_seed(0))(idx)[0]
    for changes in ({"embedding": "bigram"}, {"residual": "mix"}, {"residual": "skip"}):
        other = GPT(tiny_config(**changes), torch.Generator().manual_seed(0))(idx)[0]
        assert torch.equal(plain, other), changes


def test_dtype_does_not_change_the_draw():
    torch.set_default_dtype(torch.float64)
    try:
        double = start()["lm_head.weight"]
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(double.float(), start()["lm_head.weight"])
