import torch

from altgrad.model.position import RotaryPosition, apply_rotary_emb
from tests.model.tiny import T, awake, tiny_config, tokens


def rotary(**changes):
    return RotaryPosition(tiny_config(head_dim=6, position="rope", **changes)).double()


def test_rotation_keeps_lengths_and_leaves_position_zero_alone():
    x = torch.randn(2, T, 3, 6, dtype=torch.float64)
    _, (cos, sin) = rotary()(torch.zeros(2, T, 1), 0)
    y = apply_rotary_emb(x, cos, sin)
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1), atol=1e-6, rtol=0)
    assert torch.equal(y[:, 0], x[:, 0])


def test_scores_depend_on_the_distance_only():
    q, k = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    _, (cos, sin) = rotary()(torch.zeros(1, T, 1), 0)
    row = lambda x: apply_rotary_emb(x.expand(1, T, 1, 6), cos, sin)[0, :, 0]  # noqa: E731
    scores = row(q) @ row(k).T
    for distance in range(T):
        diagonal = scores.diagonal(-distance)
        assert (diagonal - diagonal[0]).abs().max() < 1e-6
    assert abs(scores[1, 0] - scores[0, 0]) > 1e-3


def test_tables_continue_where_the_cache_ends():
    part = rotary()
    _, whole = part(torch.zeros(1, 8, 1), 0)
    _, tail = part(torch.zeros(1, 3, 1), 5)
    assert all(torch.equal(a[:, 5:8], b) for a, b in zip(whole, tail, strict=True))


@torch.no_grad()
def test_shifting_a_text_changes_nothing_relative_under_rope_and_all_under_learned_positions():
    idx = tokens(1, 5)
    for position, alike in (("rope", True), ("rope_reversed", True), ("learned", False)):
        model = awake(tiny_config(position=position))
        x = model.transformer.wte(idx)
        block = model.transformer.h[0]
        outputs = []
        for start in (0, 3):
            y, cos_sin = model.transformer.wpe(x, start)
            outputs.append(block(y, cos_sin))
        assert (abs(outputs[0] - outputs[1]).max() < 1e-5) == alike, position


@torch.no_grad()
def test_order_matters_only_where_there_are_positions():
    """Permuting the past moves the last logit, unless nothing tells positions apart."""
    idx = tokens(1, 6)
    permuted = idx[:, [1, 0, 2, 4, 3, 5]]
    assert not torch.equal(idx, permuted)
    for position, moves in (("none", False), ("learned", True), ("rope", True)):
        model = awake(tiny_config(position=position, n_layer=1))
        change = (model(idx)[0][:, -1] - model(permuted)[0][:, -1]).abs().max()
        assert (change > 1e-6) == moves, position
