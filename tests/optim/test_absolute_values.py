"""Optimisers and schedules by hand, on examples where nothing is constant, square or even."""

import pytest
import torch
from torch.optim import lr_scheduler

from altgrad.model import GPT, GPTConfig
from altgrad.optim import OptimConfig, ScheduleConfig, build_optimizer, build_schedule
from altgrad.optim.muon import Muon, momentum_at
from altgrad.optim.stored import feed_into_momentum


@pytest.mark.parametrize(("max_steps", "warmup"), [(47, 5), (46, 11), (13, 1)])
@pytest.mark.parametrize("floor", [0.0, 0.25])
def test_a_warmed_up_cosine_is_torchs_step_by_step(max_steps, warmup, floor):
    config = ScheduleConfig("cosine", warmup_steps=warmup, min_lr_fraction=floor)
    schedule = build_schedule(config, max_steps)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    main = lr_scheduler.CosineAnnealingLR(optimizer, max_steps - warmup, eta_min=floor)
    found = []
    for step in range(max_steps):
        found.append((step + 1) / warmup if step < warmup else main.get_last_lr()[0])
        if step >= warmup:
            optimizer.step()
            main.step()
    assert [schedule(k) for k in range(max_steps)] == pytest.approx(found)


@pytest.mark.parametrize(
    ("fraction", "max_steps", "falls_from"), [(0.4, 47, 28), (0.4, 44, 26), (0.3, 9, 6)]
)
def test_a_trapezoid_falls_over_the_nearest_whole_number_of_steps(fraction, max_steps, falls_from):
    """0.4 of 47 is 18.8: nineteen steps, from the 28th on; 0.4 of 44 is 17.6, 0.3 of 9 is 2.7."""
    config = ScheduleConfig(
        "trapezoid", warmup_steps=0, min_lr_fraction=0.1, decay_fraction=fraction
    )
    schedule = build_schedule(config, max_steps)
    n = max_steps - falls_from
    expected = [1.0] * falls_from + [1.0 - 0.9 * k / n for k in range(n)]
    assert [schedule(k) for k in range(max_steps)] == pytest.approx(expected)


@pytest.mark.parametrize(("max_steps", "warmup"), [(9, 0), (57, 5), (1000, 20)])
def test_a_warm_up_left_open_is_a_tenth_of_the_run_and_twenty_steps_at_most(max_steps, warmup):
    assert ScheduleConfig("cosine", warmup_steps=None).warmup(max_steps) == warmup
    assert ScheduleConfig("cosine", warmup_steps=3).warmup(max_steps) == 3


def test_momentum_warms_up_from_the_first_step_on():
    assert [momentum_at(k, 0.95, 4) for k in (0, 2, 4, 9)] == pytest.approx([0.85, 0.9, 0.95, 0.95])
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    muon = Muon([weight], lr=0.1, momentum=0.95, momentum_warmup_steps=4)
    gradients = [torch.full((2, 3), 1.0), torch.full((2, 3), -2.0)]
    expected = torch.zeros(2, 3)
    for gradient, momentum in zip(gradients, (0.85, 0.875), strict=True):
        weight.grad = gradient
        muon.step()
        expected = momentum * expected + (1 - momentum) * gradient
        assert torch.allclose(muon.state[weight]["momentum_buffer"], expected)


@pytest.fixture
def rates():
    """`rates(name="muon", …)`: role -> learning rate."""

    def make(**settings) -> dict[str, float]:
        config = GPTConfig(
            vocab_size=11, block_size=4, n_layer=1, n_head=1, n_embd=8, tie_head=False
        )
        optimizer = build_optimizer(GPT(config), OptimConfig(**settings))
        return {g["name"]: g["lr"] for g in optimizer.param_groups}

    return make


def test_muons_heads_and_gains_get_a_fifth_unless_its_steps_are_matched(rates):
    lr = 0.02
    assert rates(name="muon", lr=lr) == pytest.approx(
        {"matrix": lr, "embedding": lr, "head": lr / 5, "scalar": lr / 5}
    )
    assert set(rates(name="muon", lr=lr, muon_scale="match_rms_adamw").values()) == {lr}


def test_a_role_that_has_its_own_rate_takes_no_factor(rates):
    assert rates(name="muon", lr=0.02, head_lr=0.3)["head"] == 0.3


def test_schedules_count_from_the_rate_each_group_began_with():
    config = GPTConfig(vocab_size=11, block_size=4, n_layer=1, n_head=1, n_embd=8)
    optimizer = build_optimizer(GPT(config), OptimConfig(name="muon", lr=0.02, scalar_lr=0.3))
    assert {g["initial_lr"] for g in optimizer.param_groups} == {0.02, 0.3}


def test_error_feedback_gives_adam_back_exactly_what_rounding_took():
    """The steps to come of a moment raised by x add up to -lr x / (1 - b1) / root at most; fed
    with e at step 3 the correction of the bias at that step is in it: by hand, to the digit."""
    beta1, beta2, lr, eps, steps = 0.9, 0.95, 0.01, 1e-8, 3
    error, second = torch.tensor([0.5, -0.25]), torch.tensor([4.0, 9.0])
    state = {"exp_avg": torch.zeros(2), "exp_avg_sq": second, "step": torch.tensor(float(steps))}
    feed_into_momentum(error, state, {"lr": lr, "betas": (beta1, beta2), "eps": eps})
    root = (second / (1 - beta2**steps)).sqrt() + eps
    by_hand = (1 - 1 / beta1) / lr * (1 - beta1**steps) * root * error
    assert torch.allclose(state["exp_avg"], by_hand, rtol=1e-6)
    assert abs(state["exp_avg"][0]) < 0.4 * abs((1 - 1 / beta1) / lr * root[0] * error[0])


def one_step(config: OptimConfig, weight: torch.Tensor, gradients: list[torch.Tensor]):
    """A model of one matrix after steps with these gradients."""
    model = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
    with torch.no_grad():
        model.weight.copy_(weight)
    optimizer = build_optimizer(model, config)
    for gradient in gradients:
        model.weight.grad = gradient.clone()
        optimizer.step()
    return model.weight.detach()


WEIGHT = torch.tensor([[0.75, -3.0, 0.1]], dtype=torch.float64)
GRADIENTS = [
    torch.tensor([[0.3, -0.02, 1.0]], dtype=torch.float64),
    torch.tensor([[-0.1, 0.5, 2.0]], dtype=torch.float64),
]


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torchs_with_and_without_nesterov(nesterov):
    how = {"lr": 0.1, "momentum": 0.8, "nesterov": nesterov}
    found = one_step(OptimConfig(name="sgd", weight_decay=0.0, **how), WEIGHT, GRADIENTS)
    parameter = torch.nn.Parameter(WEIGHT.clone())
    torchs = torch.optim.SGD([parameter], **how)
    for gradient in GRADIENTS:
        parameter.grad = gradient
        torchs.step()
    assert torch.allclose(found, parameter, rtol=1e-12)


def test_adamw_takes_its_own_eps_betas_and_decay():
    how = {"lr": 0.1, "betas": [0.7, 0.8], "eps": 0.5, "weight_decay": 0.2}
    found = one_step(OptimConfig(name="adamw", **how), WEIGHT, GRADIENTS)
    parameter = torch.nn.Parameter(WEIGHT.clone())
    torchs = torch.optim.AdamW([parameter], **{**how, "betas": (0.7, 0.8)})
    for gradient in GRADIENTS:
        parameter.grad = gradient
        torchs.step()
    assert torch.allclose(found, parameter, rtol=1e-12)


def test_m_adam_moves_mantissa_and_exponent_by_their_own_gradients():
    """eps as large as the gradients, so that Adam does not divide their scale away."""
    lr, eps, ratio = 0.1, 0.5, 0.3
    config = OptimConfig(name="m_adam", lr=lr, eps=eps, exponent_lr_ratio=ratio, weight_decay=0.0)
    found = one_step(config, WEIGHT, GRADIENTS[:1])
    gradient = GRADIENTS[0]
    mantissa, exponent = torch.frexp(WEIGHT)
    of_m, of_e = gradient * 2.0**exponent, gradient * WEIGHT * torch.log(torch.tensor(2.0)).double()
    by_m, by_e = (lr * g / (g.abs() + eps) for g in (of_m, of_e))
    expected = (mantissa - by_m) * 2.0 ** (exponent - ratio * by_e)
    assert torch.allclose(found, expected, rtol=1e-6)


def test_the_rate_of_what_an_optimiser_leaves_to_adamw_gives_way_to_a_roles_own(rates):
    assert rates(name="m_adam", lr=0.02, free_lr=0.7)["scalar"] == 0.7
    assert rates(name="m_adam", lr=0.02, free_lr=0.7, scalar_lr=0.4)["scalar"] == 0.4
