import pytest
import torch

from altgrad.optim import clip_gradients
from tests.optim.toy import ToyModel, toy_loss


def with_gradients(scale: float = 1.0) -> ToyModel:
    model = ToyModel()
    (scale * toy_loss(model)).backward()
    return model


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_equals_torchs_clipping(scale):
    ours, theirs = with_gradients(scale), with_gradients(scale)
    norm = clip_gradients(ours.parameters(), 1.0)
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    torch.testing.assert_close(norm, expected, rtol=0, atol=0)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=0)


def test_zero_measures_without_clipping():
    model, untouched = with_gradients(100.0), with_gradients(100.0)
    assert clip_gradients(model.parameters(), 0.0) > 1.0
    for p, q in zip(model.parameters(), untouched.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=0)


def test_a_norm_that_is_not_finite_is_returned_as_it_is():
    model = with_gradients()
    model.gain.grad.fill_(float("inf"))
    assert clip_gradients(model.parameters(), 1.0).item() == float("inf")


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="grad_clip=-1"):
        clip_gradients(ToyModel().parameters(), -1.0)
