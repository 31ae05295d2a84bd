"""Where scales come from, against torchao and by their definitions."""

import math

import pytest
import torch

from altgrad import quantization as q
from altgrad.quantization.scaling import scale_from_amax

X = torch.randn(48, 128, generator=torch.Generator().manual_seed(0))
X = X * torch.logspace(-3, 3, 48)[:, None]


@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e0m7", "e2m1fn"])
@pytest.mark.parametrize(
    "scaling", [q.PerTensor, q.PerRow, q.PerColumn, lambda rule: q.PerBlock(16, rule)]
)
def test_exact_scales_reach_the_top_and_powers_of_two_never_pass_it(name, scaling):
    f = q.Format.named(name)
    exact, power = scaling("exact"), scaling("power_of_two")
    y = q.fake_quantize(X, f, scaling=exact)
    top = (y.abs() / exact.expand(exact.scales(X, f), X)).max()
    assert top == pytest.approx(f.max)
    scale = power.scales(X, f)
    assert torch.equal(torch.exp2(scale.log2().round()), scale)
    assert ((X / power.expand(scale, X)).abs() <= f.max).all()


def test_zero_tiny_and_nan_tensors_get_usable_scales():
    for x in (torch.zeros(4, 32), torch.full((4, 32), 1e-44), torch.full((4, 32), math.nan)):
        for scaling in (q.PerTensor(), q.PerRow(), q.PerBlock(32), q.MX(), q.NVFP4(), q.Delayed()):
            scale = scaling.scales(x, q.Format.named("e4m3"))
            assert (scale > 0).all()
            assert torch.isfinite(scale).all()


def test_amax_is_over_finite_numbers():
    x = torch.tensor([[1.0, math.nan, -3.0, math.inf]])
    assert q.PerTensor().scales(x, q.Format.named("e0m7")) == 3 / (127 / 128)
    y = q.fake_quantize(x, "e0m7", scaling=q.PerTensor())
    assert y[0, 1].isnan()
    assert y[0, 3] == 3.0


def test_ragged_blocks_only_on_request_and_as_if_padded():
    x = X[:, :77]
    with pytest.raises(ValueError, match=r"ragged=True"):
        q.fake_quantize(x, "e4m3", scaling=q.PerBlock(32))
    padded = torch.nn.functional.pad(x, (0, 96 - 77))
    expected = q.fake_quantize(padded, "e4m3", scaling=q.MX())[:, :77]
    assert torch.equal(q.fake_quantize(x, "e4m3", scaling=q.MX(ragged=True)), expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: q.PerBlock(0), "at least one number"),
        (lambda: q.PerBlock(2.5), "at least one number"),
        (lambda: q.PerTensor("floor"), "choose from exact"),
        (lambda: q.Delayed(0), "at least one amax"),
        (lambda: q.Delayed(algorithm="mean"), "choose from max, most_recent"),
    ],
)
def test_nonsense_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_delayed_uses_what_was_seen_before():
    delayed, f = q.Delayed(3), q.Format.named("e4m3")
    seen = [
        delayed.scales(torch.tensor([amax]), f).item()
        for amax in (448.0, 896.0, 1.0, 1.0, 1.0, 1.0)
    ]
    assert seen == pytest.approx([1, 1, 2, 2, 2, 1 / 448])
    recent = q.Delayed(3, algorithm="most_recent", margin=1)
    seen = [recent.scales(torch.tensor([amax]), f).item() for amax in (448.0, 896.0, 448.0)]
    assert seen == pytest.approx([2, 2, 4])


def test_delayed_history_is_state_and_survives_nan():
    delayed, f = q.Delayed(4), q.Format.named("e4m3")
    delayed.scales(X, f)
    before = delayed.history.clone()
    delayed.scales(torch.full((3,), math.nan), f)
    delayed.update(torch.tensor(math.nan))
    assert torch.equal(delayed.history, before)
    twin = q.Delayed(4)
    twin.load_state_dict(delayed.state_dict())
    assert torch.equal(twin.history, before)
    delayed.eval()
    delayed.scales(100 * X, f)
    assert torch.equal(delayed.history, before)


def test_delayed_can_overflow_and_says_so():
    delayed = q.Delayed()
    q.fake_quantize(torch.ones(8), "e4m3", scaling=delayed)
    _, stats = q.fake_quantize(torch.full((8,), 10.0), "e4m3", scaling=delayed, return_stats=True)
    assert stats.overflow == 8


def test_mx_scales_span_e8m0():
    amax = torch.tensor([2.0**127, 1.0, 2.0**-126, 2.0**-149])
    f = q.Format.named("e5m2")
    expected = [2.0**112, 2.0**-15, 2.0**-127, 2.0**-127]
    assert scale_from_amax(amax, f, "mx").tolist() == expected
