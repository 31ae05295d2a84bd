import pytest
import torch

from altgrad.model.norm import build_norm
from tests.model.tiny import tiny_config

X = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", ["rmsnorm", "rmsnorm_plain"])
def test_rms_norm_is_the_formula(name):
    norm = build_norm(tiny_config(norm=name, norm_eps=1e-3), 16).double()
    wanted = X / (X.square().mean(-1, keepdim=True) + 1e-3).sqrt()
    torch.testing.assert_close(norm(X), wanted)
    assert norm(0 * X).abs().max() == 0


def test_layer_norm_is_the_formula():
    norm = build_norm(tiny_config(norm_eps=1e-3), 16).double()
    variance = X.var(-1, unbiased=False, keepdim=True)
    torch.testing.assert_close(norm(X), (X - X.mean(-1, keepdim=True)) / (variance + 1e-3).sqrt())


def test_a_plain_norm_has_nothing_to_learn():
    assert list(build_norm(tiny_config(norm="rmsnorm_plain"), 16).parameters()) == []
    assert list(build_norm(tiny_config(bias=False), 16).state_dict()) == ["weight"]
