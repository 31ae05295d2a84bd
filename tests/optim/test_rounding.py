import pytest
import torch
from torch import nn

from altgrad.optim import OptimConfig, Storage, TableGrid, build_optimizer
from altgrad.optim.stored import StoredOptimizer
from altgrad.optim.ulp import UlpOptimizer
from tests.optim.toy import ToyModel, format_grid, toy_storage, train

WHOLE = TableGrid(torch.arange(-1000.0, 1001.0), mantissa_bits=0, uniform=True)


def stored(count: int, mode: str, *, stochastic: bool = False, lr: float = 0.1, **settings):
    """Weights on the whole numbers, SGD with unit gradients: lr is the step."""
    p = nn.Parameter(torch.zeros(1, count))
    base = torch.optim.SGD([p], lr=lr, **settings)
    return p, StoredOptimizer(base, Storage({p: WHOLE}, mode=mode, stochastic=stochastic))


def push(p, optimizer, steps: int, grad: float = -1.0) -> torch.Tensor:
    for _ in range(steps):
        p.grad = torch.full_like(p, grad)
        optimizer.step()
    return p.detach()


def test_nearest_freezes_steps_below_half_a_spacing():
    p, optimizer = stored(4, "rounded", lr=0.4)
    assert push(p, optimizer, 50).abs().max() == 0.0


def test_stochastic_moves_them_on_average():
    p, optimizer = stored(20_000, "rounded", stochastic=True)
    assert push(p, optimizer, 30).mean().item() == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("stochastic", [False, True])
def test_kahan_loses_nothing(stochastic):
    p, optimizer = stored(4, "kahan", stochastic=stochastic)
    moved = push(p, optimizer, 300)
    total = moved + optimizer.state[p]["compensation"]
    torch.testing.assert_close(total, torch.full_like(total, 30.0), rtol=0, atol=0.35)
    torch.testing.assert_close(moved, moved.round(), rtol=0, atol=0)


@pytest.mark.parametrize("steps", [400, 1200])
@pytest.mark.parametrize("settings", [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
def test_error_feedback_into_sgds_momentum_follows_the_float_weights(settings, steps):
    """Within a lag that does not grow: what the momentum still owes."""
    p, optimizer = stored(4, "error_feedback", lr=0.01, **settings)
    moved = push(p, optimizer, steps)
    q = nn.Parameter(torch.zeros(1, 4))
    plain = push(q, torch.optim.SGD([q], lr=0.01, **settings), steps)
    assert plain.mean().item() == pytest.approx(0.1 * steps, abs=1.1)
    torch.testing.assert_close(moved, plain, rtol=0, atol=4.5)


def test_without_feedback_the_same_steps_are_lost():
    p, optimizer = stored(4, "rounded", lr=0.01, momentum=0.9)
    assert push(p, optimizer, 400).abs().max() == 0.0


@pytest.mark.parametrize("steps", [400, 1200])
def test_error_feedback_into_adams_momentum_follows_the_float_weights(steps):
    p, q = nn.Parameter(torch.zeros(1, 4)), nn.Parameter(torch.zeros(1, 4))
    settings = {"lr": 0.1, "betas": (0.9, 0.95), "weight_decay": 0.0}
    storage = Storage({p: WHOLE}, mode="error_feedback")
    ours = push(p, StoredOptimizer(torch.optim.AdamW([p], **settings), storage), steps)
    plain = push(q, torch.optim.AdamW([q], **settings), steps)
    assert plain.mean().item() == pytest.approx(0.1 * steps, rel=0.01)
    torch.testing.assert_close(ours, plain, rtol=0, atol=4.5)


def test_adams_first_error_is_measured_in_its_corrected_moments():
    """One step of Adam is lr, whatever the gradient. All of it is lost here: the momentum gets
    -(1/b1 - 1) of it in units of lr, times 1 - b1, its own size after one step."""
    p = nn.Parameter(torch.zeros(1, 1))
    base = torch.optim.AdamW([p], lr=0.5, betas=(0.9, 0.95), eps=1e-12, weight_decay=0.0)
    grid = TableGrid(torch.tensor([-1e-9, 0.0, 1e9]), mantissa_bits=0)  # rounds all to 0
    push(p, StoredOptimizer(base, Storage({p: grid}, mode="error_feedback")), 1, grad=-3.0)
    plain, injected = -0.3, -3.0 * (1 / 0.9 - 1) * 0.1
    assert base.state[p]["exp_avg"].item() == pytest.approx(plain + injected, rel=1e-5)


def test_the_sum_of_the_compensating_steps_is_the_error():
    """One error, then no gradient: the momentum hands it back in full."""
    p, optimizer = stored(1, "error_feedback", lr=1.0, momentum=0.9)
    grid = TableGrid(torch.tensor([-1e-9, 0.0, 1e9]), mantissa_bits=0)  # rounds all to 0
    optimizer.storage = Storage({p: grid}, mode="error_feedback")
    push(p, optimizer, 1, grad=-0.25)
    buffer = optimizer.state[p]["momentum_buffer"].item()
    assert buffer == pytest.approx(-0.25 + (1 - 1 / 0.9) * 0.25)
    injected = buffer + 0.25
    assert -injected * sum(0.9**k for k in range(1, 500)) == pytest.approx(0.25)


@pytest.mark.parametrize("spacing", [1.0, 4.0, 0.125])
def test_error_feedback_under_ulp_steps_hands_back_the_error_in_full(spacing):
    """One error, then no gradient: what the momentum owes arrives stretched by the spacing."""
    p = nn.Parameter(torch.zeros(1, 1))
    base = torch.optim.SGD([p], lr=1.0, momentum=0.9)
    fields = {p: lambda weight: torch.full_like(weight, spacing)}
    inner = UlpOptimizer(base, fields, match_rms=False)
    grid = TableGrid(torch.tensor([-1e-9, 0.0, 1e9]), mantissa_bits=0)  # rounds all to 0
    push(p, StoredOptimizer(inner, Storage({p: grid}, mode="error_feedback")), 1, grad=-0.25)
    wanted, injected = 0.25 * spacing, base.state[p]["momentum_buffer"].item() + 0.25
    owed = [-injected * 0.9**k * spacing for k in range(1, 500)]
    assert sum(owed) == pytest.approx(wanted)


@pytest.mark.parametrize("placebo", ["none", "constant"])
def test_error_feedback_under_ulp_adamw_follows_the_float_weights(placebo):
    p, q = nn.Parameter(torch.zeros(1, 4)), nn.Parameter(torch.zeros(1, 4))
    settings = {"lr": 0.1, "betas": (0.9, 0.95), "weight_decay": 0.0}
    threes = {p: lambda weight: torch.full_like(weight, 3.0)}
    base = torch.optim.AdamW([p], **settings)
    inner = UlpOptimizer(base, threes, match_rms=True, even=placebo == "constant")
    ours = push(p, StoredOptimizer(inner, Storage({p: WHOLE}, mode="error_feedback")), 1200)
    plain = push(q, torch.optim.AdamW([q], **settings), 1200)
    torch.testing.assert_close(ours, plain, rtol=0, atol=4.5)


@pytest.mark.parametrize("mode", ["rounded", "kahan", "error_feedback"])
@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("name", ["e4m3fn", "e5m2", "e0m7", "e7m0"])
def test_stored_weights_are_always_on_their_grid(mode, stochastic, name):
    model = ToyModel()
    storage = toy_storage(model, name, mode=mode, stochastic=stochastic)
    optimizer = build_optimizer(model, OptimConfig(name="adamw", lr=0.01), storage)
    for step in range(3):
        train(model, optimizer, range(step, step + 1))
        for p, grid in storage.grids.items():
            torch.testing.assert_close(grid.round(p), p, rtol=0, atol=0)


def test_weights_are_on_the_grid_before_the_first_step():
    model = ToyModel()
    storage = toy_storage(model, mode="rounded")
    build_optimizer(model, OptimConfig(), storage)
    for p, grid in storage.grids.items():
        torch.testing.assert_close(grid.round(p), p, rtol=0, atol=0)


def test_master_weights_are_left_alone():
    ours, theirs = ToyModel(), ToyModel()
    train(ours, build_optimizer(ours, OptimConfig(), toy_storage(ours)), range(3))
    train(theirs, build_optimizer(theirs, OptimConfig()), range(3))
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)


def round_to_bf16(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().float()


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_the_state_is_rounded_after_every_step(name):
    model = ToyModel()
    config = OptimConfig(name=name, state_format="bf16")
    optimizer = build_optimizer(model, config, Storage(round_state=round_to_bf16))
    train(model, optimizer, range(2))
    checked = 0
    for p in model.parameters():
        for key in ("exp_avg", "exp_avg_sq", "momentum_buffer"):
            if key in optimizer.state[p]:
                value = optimizer.state[p][key]
                torch.testing.assert_close(value, round_to_bf16(value), rtol=0, atol=0)
                checked += 1
    assert checked >= len(list(model.parameters()))


def test_a_state_format_without_a_rounding_is_refused():
    with pytest.raises(ValueError, match="state_format='bf16' has no rounding"):
        build_optimizer(ToyModel(), OptimConfig(state_format="bf16"))


@pytest.mark.parametrize("name", ["muon", "ulp_muon", "madam", "grid_adamw"])
def test_error_feedback_without_a_linear_momentum_is_refused(name):
    model = ToyModel()
    with pytest.raises(ValueError, match="error_feedback cannot put its error into the momentum"):
        build_optimizer(model, OptimConfig(name=name), toy_storage(model, mode="error_feedback"))


def test_error_feedback_needs_some_momentum():
    model, config = ToyModel(), OptimConfig(name="sgd", momentum=0.0, nesterov=False)
    with pytest.raises(ValueError, match="error_feedback cannot"):
        build_optimizer(model, config, toy_storage(model, mode="error_feedback"))


def test_grid_steps_with_compensation_are_refused():
    model = ToyModel()
    with pytest.raises(ValueError, match=r"set precision.storage=rounded"):
        build_optimizer(model, OptimConfig(name="grid"), toy_storage(model, mode="kahan"))


def test_an_unknown_mode_is_refused():
    model = ToyModel()
    with pytest.raises(ValueError, match=r"precision.storage='rouned' is not one of master"):
        build_optimizer(model, OptimConfig(), toy_storage(model, mode="rouned"))


def test_a_learning_rate_of_zero_keeps_momentum_finite():
    p, optimizer = stored(2, "error_feedback", lr=0.0, momentum=0.9)
    push(p, optimizer, 2)
    assert torch.isfinite(optimizer.state[p]["momentum_buffer"]).all()


def test_the_grid_rounds_what_a_format_rounds():
    """The toy grid of these tests is the format it names, scaled."""
    weight = torch.tensor([0.3, -1.7, 0.011])
    scale = 2.0**-8  # 1.7 / 448 < 2^-8
    expected = (weight / scale).to(torch.float8_e4m3fn).float() * scale
    torch.testing.assert_close(format_grid().round(weight), expected, rtol=0, atol=0)
