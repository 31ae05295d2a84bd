"""The attention map shows the weights that the learner's own attention uses, however it does."""

from pathlib import Path

import pytest
import torch

from altgrad.learn.cockpit.attention_map import _overheard, attention_map
from altgrad.learn.cockpit.attention_view import SHADES, map_lines
from altgrad.learn.harness import harness_of
from altgrad.learn.probes.common import awake
from altgrad.learn.track import Track
from altgrad.learn.transplant import load_file, load_reference

SIZES = {"length": 16, "vocab_size": 37, "n_layer": 2, "n_head": 6, "n_kv_head": 2, "n_embd": 48}
IDS = [3, 1, 4, 1, 5, 9, 2, 6]
ATTEND = "F.scaled_dot_product_attention(q, k, v, attn_mask=mask)"


def model_of(track: str, namespace=None):
    harness = harness_of(track)
    model = harness.make(namespace or load_reference(Track(track).path), SIZES)
    return awake(harness.make_exact(model, SIZES))


def weights(model, layer=1):
    found = attention_map(model, IDS, list("abcdefgh"), layer=layer, n_head=6)
    return torch.tensor(found.weights, dtype=torch.float64), found.remarks


@pytest.mark.parametrize("track", ["nanochat", "gpt2"])
def test_the_weights_are_those_that_softmax_gives(track):
    """Asked by values of one position at a time, and overheard at torch's function: the same."""
    model = model_of(track)
    found, remarks = weights(model)
    attention, given = model.transformer["h"][1].attn, []
    handle = attention.register_forward_pre_hook(lambda _, args: given.append(args))
    model(torch.tensor([IDS]))
    handle.remove()
    overheard, _ = _overheard(attention, given[0], {})
    assert found.shape == (6, 8, 8)
    torch.testing.assert_close(found, overheard, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.sum(-1), torch.ones(6, 8, dtype=torch.float64))
    assert found.triu(1).abs().max() == 0
    assert remarks == []


def changed(tmp_path, *pairs):
    text = Track("nanochat").source
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    return load_file(text, tmp_path / "my_gpt.py")


def test_a_softmax_written_by_hand_gives_the_same_map(tmp_path):
    by_hand = """(
            ((q @ k.transpose(-2, -1) / self.head_dim**0.5).exp() * mask)
            / ((q @ k.transpose(-2, -1) / self.head_dim**0.5).exp() * mask).sum(-1, keepdim=True)
        ) @ v"""
    mine, _ = weights(model_of("nanochat", changed(tmp_path, ATTEND, by_hand)))
    torch.testing.assert_close(mine, weights(model_of("nanochat"))[0])


def test_a_fused_projection_is_overheard(tmp_path):
    fused = "F.linear(x, self.c_v.weight).view(B, T, self.n_kv_head, self.head_dim)"
    call = "self.c_v(x).view(B, T, self.n_kv_head, self.head_dim)"
    mine, _ = weights(model_of("nanochat", changed(tmp_path, call, fused)))
    torch.testing.assert_close(mine, weights(model_of("nanochat"))[0])


def test_a_mask_that_leaks_is_seen_and_told(learn, written):
    written("nanochat", "mask = key <= query ", "mask = key <= query + 1 ")
    code, out = learn("attention abcd --head 0 --layer 0")
    assert code == 0
    first = next(line for line in out.splitlines() if line.startswith(" a │"))
    assert first[4:6].strip()
    assert first[6:8].strip(), "position 0 looks at position 1"
    assert "looks ahead" in out


def test_heads_joined_in_another_order_are_told(tmp_path):
    joined = "y.transpose(1, 2).reshape(B, T, C)"
    scrambled = "y.transpose(1, 2).transpose(2, 3).reshape(B, T, C)"
    _, remarks = weights(model_of("nanochat", changed(tmp_path, joined, scrambled)))
    assert "are the heads joined in their order?" in remarks[0]


def test_the_command_draws_the_chosen_heads_and_a_picture(learn, written, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    written("gpt2")
    code, out = learn("attention hello --layer 1 --head 0 2")
    assert code == 0
    assert "layer 1, head 0" in out
    assert "layer 1, head 2" in out
    assert "head 1" not in out
    assert Path("my-gpt/attention.png").read_bytes().startswith(b"\x89PNG")
    assert max(map(len, out.splitlines())) <= 110
    learn("attention hello --png other.png --head 1")
    assert Path("other.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("attention abc --layer 9", "layer 9 is not one of 0 … 1"),
        ("attention abc --head 4", "head 4 is not one of 0 … 3"),
        (f"attention {'x' * 65}", "the text has 65 tokens; a map has 1 to 64"),
        ("attention abc --run", "no run yet"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(learn, written, words, said):
    written()
    code, out = learn(words)
    assert (code, said in out, out.count("\n")) == (2, True, 1)


def test_it_is_refused_before_the_attention_is_written_and_without_a_model(learn):
    learn("start")
    code, out = learn("attention abc")
    assert (code, "CausalSelfAttention.forward is still to be written" in out) == (2, True)
    learn("start --track optimisers")
    assert learn("attention abc --dir my-optimisers")[0] == 2


def test_shades_fall_with_the_weight():
    from altgrad.learn.cockpit.attention_map import AttentionMap

    row = [0.9, 0.3, 0.2, 0.05, 0.001, 0.0]
    found = AttentionMap(0, list("abcdef"), [[row] * 6])
    shown = map_lines(found, [0], 80)[2].partition("│")[2]
    assert shown == "".join(shade * 2 for shade in SHADES)
