import math

import pytest
import torch

from altgrad.model import GPT, KVCache, preset
from tests.model.tiny import V, awake, tiny_config, tokens


def test_the_baby_gpt_has_nanogpts_10_65_million_parameters():
    model = GPT(preset("gpt2", vocab_size=65))
    assert model.num_parameters(exclude_positions=True) == 10_646_784
    assert model.num_parameters() == 10_646_784 + 256 * 384


def test_gpt2_124m_has_the_released_models_count():
    with torch.device("meta"):
        model = GPT(preset("gpt2_124m"))
    assert model.num_parameters() == 124_439_808


def test_parameters_are_counted_by_group_and_a_tied_head_once():
    counts = GPT(tiny_config(bias=False)).num_parameters_by_group()
    attention, mlp = 2 * 4 * 16**2, 2 * 8 * 16**2
    assert counts == {
        "embedding": V * 16,
        "position": 8 * 16,
        "attention": attention,
        "mlp": mlp,
        "norm": 5 * 16,
    }


@pytest.mark.parametrize(("n_kv_head", "flops"), [(2, 125_829_120), (1, 124_256_256)])
def test_flops_of_the_reference_table(n_kv_head, flops):
    sizes = {"n_layer": 4, "n_embd": 256, "n_head": 2, "vocab_size": 65536, "block_size": 512}
    with torch.device("meta"):
        model = GPT(preset("nanochat", **sizes, n_kv_head=n_kv_head))
    assert model.estimate_flops() == flops


def test_windows_cost_fewer_flops():
    full = GPT(tiny_config()).estimate_flops()
    windowed = GPT(tiny_config(windows=[3, -1])).estimate_flops()
    assert full - windowed == 12 * 16 * (8 - 3)


@pytest.mark.parametrize(
    ("idx", "words"),
    [
        (tokens(1, 9), "9 tokens are more than model.block_size=8"),
        (tokens(1, 4) + V, "model.vocab_size=11"),
        (tokens(1, 4) - V, r"holds -\d+, outside 0 … 10"),
        (tokens(1, 4).float(), r"idx must be int64 \[B, T\], got float32"),
        (tokens(1, 4)[0], r"idx must be int64 \[B, T\], got int64 \[4\]"),
    ],
    ids=["long", "above", "below", "float", "1-D"],
)
def test_input_that_cannot_be_is_refused(idx, words):
    with pytest.raises(ValueError, match=words):
        awake(tiny_config())(idx)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (tokens(2, 3), r"targets must be integers of idx's shape \[2, 4\]"),
        (tokens(2, 4).float(), "targets must be integers"),
        (tokens(2, 4) + V, "targets holds"),
        (tokens(2, 4) * 0 - 2, "targets holds -2, outside -1"),
    ],
    ids=["shape", "float", "above", "below"],
)
def test_targets_that_cannot_be_are_refused(targets, words):
    with pytest.raises(ValueError, match=words):
        awake(tiny_config())(tokens(2, 4), targets)


def test_a_cache_counts_against_block_size():
    model = awake(tiny_config())
    cache = KVCache(model.config)
    model(tokens(1, 6), kv_cache=cache)
    with pytest.raises(ValueError, match=r"9 tokens are more than model\.block_size=8"):
        model(tokens(1, 3), kv_cache=cache)


def test_int32_ids_are_accepted():
    model = awake(tiny_config())
    idx, targets = tokens(), tokens(seed=6)
    torch.testing.assert_close(model(idx.int(), targets.int())[1], model(idx, targets)[1])


@torch.no_grad()
def test_the_three_reductions_agree_and_minus_one_is_left_out():
    model = awake(tiny_config())
    idx, targets = tokens(2, 6), tokens(2, 6, seed=6)
    targets[0, :4] = -1
    each = model(idx, targets, loss_reduction="none")[1]
    assert each.shape == (12,)
    assert each[:4].abs().max() == 0
    torch.testing.assert_close(model(idx, targets, loss_reduction="sum")[1], each.sum())
    torch.testing.assert_close(model(idx, targets)[1], each.sum() / 8)
    with pytest.raises(ValueError, match="did you mean 'mean'"):
        model(idx, targets, loss_reduction="men")


def test_the_loss_starts_near_the_logarithm_of_the_vocabulary():
    idx = torch.randint(65, (4, 16))
    targets = torch.randint(65, (4, 16))
    sizes = {"vocab_size": 65, "n_layer": 2, "n_embd": 48}
    for name in ("gpt2", "llama", "nanochat"):
        loss = GPT(preset(name, **sizes))(idx, targets)[1]
        assert abs(loss.item() - math.log(65)) < 0.1, name


def test_configure_optimizers_makes_adamw_with_two_groups():
    model = GPT(tiny_config())
    optimizer = model.configure_optimizers(0.1, 3e-4, (0.9, 0.95), "cpu")
    decayed, plain = optimizer.param_groups
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["fused"] is True
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert (decayed["lr"], decayed["betas"]) == (3e-4, (0.9, 0.95))
    assert all(p.dim() >= 2 for p in decayed["params"])
    assert all(p.dim() < 2 for p in plain["params"])
    ids = [id(p) for g in optimizer.param_groups for p in g["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())


def test_configure_optimizers_keeps_two_groups_without_any_vector():
    model = GPT(preset("nanochat", vocab_size=V, n_layer=1, n_embd=48))
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    assert [len(g["params"]) for g in optimizer.param_groups] == [8, 0]
    model(tokens(), tokens(seed=6))[1].backward()
    optimizer.step()


def test_frozen_parameters_are_not_optimised():
    model = GPT(tiny_config())
    model.transformer.wte.weight.requires_grad_(False)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    assert all(p is not model.lm_head.weight for g in optimizer.param_groups for p in g["params"])


@pytest.mark.slow
def test_a_training_step_compiles_with_inductor():
    model = awake(preset("nanochat", vocab_size=V, n_layer=2, n_head=2, n_kv_head=1, n_embd=32))
    model = model.float()
    idx, targets = tokens(), tokens(seed=6)
    model(idx, targets)[1].backward()
    eager = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    torch.compile(model, fullgraph=True)(idx, targets)[1].backward()
    for wanted, parameter in zip(eager, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, wanted, atol=1e-4, rtol=1e-3)
