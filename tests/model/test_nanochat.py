"""The `nanochat` preset against the contracts of nanochat's gpt.py (2025-11-03)."""

import math

import pytest
import torch

from altgrad.model import GPT, GPTConfig, preset
from tests.model.tiny import awake, tokens

V = 37
SIZES = {"vocab_size": V, "n_layer": 3, "n_head": 6, "n_kv_head": 2, "n_embd": 48, "block_size": 16}


def nanochat(**changes) -> GPTConfig:
    return preset("nanochat", **SIZES | changes)


def fresh(**changes) -> GPT:
    return GPT(nanochat(**changes), torch.Generator().manual_seed(0))


def test_parameter_names_and_shapes_are_nanochats():
    expected = {"transformer.wte.weight": (V, 48), "lm_head.weight": (V, 48)}
    for i in range(3):
        h = f"transformer.h.{i}"
        expected |= {f"{h}.attn.c_q.weight": (48, 48), f"{h}.attn.c_k.weight": (16, 48)}
        expected |= {f"{h}.attn.c_v.weight": (16, 48), f"{h}.attn.c_proj.weight": (48, 48)}
        expected |= {f"{h}.mlp.c_fc.weight": (192, 48), f"{h}.mlp.c_proj.weight": (48, 192)}
    assert {k: tuple(v.shape) for k, v in fresh().state_dict().items()} == expected


def test_parameter_count_follows_the_closed_form():
    C, L, KD = 48, 3, 16
    count = 2 * V * C + L * (2 * C * C + 2 * C * KD + 8 * C * C)
    assert fresh().num_parameters() == count


def test_the_first_loss_is_exactly_the_logarithm_of_the_vocabulary():
    _, loss = fresh()(tokens(vocab_size=V), tokens(seed=6, vocab_size=V))
    assert loss.item() == pytest.approx(math.log(V), abs=1e-6)


def test_parameters_wake_up_in_three_steps():
    model = fresh()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    awake_at = {}
    for step in range(3):
        model(tokens(vocab_size=V), tokens(seed=6, vocab_size=V))[1].backward()
        for name, parameter in model.named_parameters():
            if parameter.grad.abs().max() > 0:
                awake_at.setdefault(name.split(".")[-2], step)
        optimizer.step()
        optimizer.zero_grad()
    late = dict.fromkeys(("c_q", "c_k", "c_v", "c_fc"), 2)
    assert awake_at == {"lm_head": 0, "wte": 1, "c_proj": 1} | late


def test_matrices_start_with_the_fan_in_rule():
    model = fresh(n_embd=480, n_head=6, n_kv_head=1)
    attention, mlp = model.transformer.h[0].attn, model.transformer.h[0].mlp
    assert attention.c_q.weight.std().item() == pytest.approx(480**-0.5, rel=0.02)
    assert attention.c_k.weight.std().item() == pytest.approx(480**-0.5 * 6**-0.5, rel=0.02)
    assert mlp.c_fc.weight.std().item() == pytest.approx(480**-0.5, rel=0.02)
    assert model.transformer.wte.weight.std().item() == pytest.approx(1.0, rel=0.02)
    for zero in (model.lm_head, attention.c_proj, mlp.c_proj):
        assert zero.weight.abs().max() == 0


def test_rotary_tables_reach_ten_blocks_and_are_not_saved():
    position = fresh().transformer.wpe
    assert position.cos.shape == position.sin.shape == (1, 160, 1, 4)
    assert position.cos.dtype == torch.bfloat16
    assert not any("cos" in name or "sin" in name for name in fresh().state_dict())
    assert list(position.parameters()) == []


def test_rotary_tables_hold_math_cos():
    position = GPT(nanochat(rope_dtype="float32")).transformer.wpe
    for t in (0, 1, 7, 159):
        for j in range(4):
            angle = t * 10000 ** (-2 * j / 8)
            assert position.cos[0, t, 0, j].item() == pytest.approx(math.cos(angle), abs=2e-5)
            assert position.sin[0, t, 0, j].item() == pytest.approx(math.sin(angle), abs=2e-5)


def test_logits_stay_under_the_cap():
    model = awake(nanochat())
    with torch.no_grad():
        model.lm_head.weight.mul_(100)
        logits = model(tokens(vocab_size=V))[0]
    assert logits.abs().max() <= 15
    assert logits.abs().max() > 14.9


@torch.no_grad()
def test_the_scale_of_the_embedding_does_not_matter():
    model = awake(nanochat(norm_eps=1e-30))
    before = model(tokens(vocab_size=V))[0]
    model.transformer.wte.weight.mul_(7.0)
    torch.testing.assert_close(model(tokens(vocab_size=V))[0], before, atol=1e-12, rtol=0)


@torch.no_grad()
def test_the_whole_forward_pass_equals_one_written_out_by_hand():
    model = awake(nanochat(rope_dtype="float32"))
    idx = tokens(1, 7, vocab_size=V)
    state = model.state_dict()

    def norm(x):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def rotate(x):  # [T, heads, D], by -angle
        t = torch.arange(7, dtype=torch.float32)[:, None]
        angle = t * 10000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float32) / 8)
        cos, sin = angle.cos()[:, None].double(), angle.sin()[:, None].double()
        x1, x2 = x[..., :4], x[..., 4:]
        return torch.cat((x1 * cos + x2 * sin, -x1 * sin + x2 * cos), -1)

    x = norm(state["transformer.wte.weight"][idx[0]])
    for i in range(3):
        w = {k.split(f"h.{i}.")[1]: v for k, v in state.items() if f".h.{i}." in k}
        y = norm(x)
        q = norm(rotate((y @ w["attn.c_q.weight"].T).view(7, 6, 8)))
        k = norm(rotate((y @ w["attn.c_k.weight"].T).view(7, 2, 8)))
        v = (y @ w["attn.c_v.weight"].T).view(7, 2, 8)
        heads = torch.zeros(7, 6, 8, dtype=torch.float64)
        for h in range(6):
            for t in range(7):
                scores = torch.stack([q[t, h] @ k[s, h // 3] for s in range(t + 1)]) / 8**0.5
                assert scores.abs().max() <= 8**0.5
                heads[t, h] = scores.softmax(0) @ v[: t + 1, h // 3]
        x = x + heads.flatten(1) @ w["attn.c_proj.weight"].T
        x = x + (norm(x) @ w["mlp.c_fc.weight"].T).relu() ** 2 @ w["mlp.c_proj.weight"].T
    logits = 15 * torch.tanh(norm(x) @ state["lm_head.weight"].T / 15)
    torch.testing.assert_close(model(idx)[0][0], logits, atol=1e-12, rtol=0)
