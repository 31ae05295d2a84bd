"""Oracle: torch.optim.swa_utils.AveragedModel."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from altgrad.optim import OptimConfig, WeightAverage, build_optimizer
from tests.optim.toy import ToyModel, train, weights_of


def rising(averaged, current, count):
    decay = min(0.9, (1 + int(count) - 1) / (10 + int(count) - 1))
    return averaged * decay + current * (1 - decay)


def averaged(steps: int) -> tuple[ToyModel, WeightAverage]:
    model = ToyModel()
    average = WeightAverage(model, 0.9)
    optimizer = build_optimizer(model, OptimConfig(lr=0.01))
    for step in range(steps):
        train(model, optimizer, range(step, step + 1))
        average.update()
    return model, average


def test_equals_torchs_averaged_model():
    model = ToyModel()
    oracle = AveragedModel(model, avg_fn=rising)
    oracle.update_parameters(model)  # torch copies at its first update
    optimizer = build_optimizer(model, OptimConfig(lr=0.01))
    for step in range(6):
        train(model, optimizer, range(step, step + 1))
        oracle.update_parameters(model)
    _, average = averaged(6)
    for a, b in zip(average.weights().values(), oracle.module.parameters(), strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-6, atol=1e-7)


def test_swapping_in_and_out_restores_the_weights_bit_for_bit():
    model, average = averaged(3)
    own = weights_of(model)
    mean = [tensor.clone() for tensor in average.weights().values()]
    with average.swapped():
        for p, tensor in zip(model.parameters(), mean, strict=True):
            torch.testing.assert_close(p.detach(), tensor, rtol=0, atol=0)
    for p, tensor in zip(model.parameters(), own, strict=True):
        torch.testing.assert_close(p.detach(), tensor, rtol=0, atol=0)


def test_weights_come_back_after_an_error_inside():
    model, average = averaged(2)
    own = weights_of(model)
    with pytest.raises(RuntimeError), average.swapped():
        raise RuntimeError
    torch.testing.assert_close(weights_of(model), own, rtol=0, atol=0)


def test_state_round_trip():
    average = averaged(4)[1]
    other = WeightAverage(ToyModel(), 0.9)
    other.load_state_dict(average.state_dict())
    assert other.updates == 4
    for a, b in zip(average.weights().values(), other.weights().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_state_of_another_model_is_refused():
    _, average = averaged(1)
    with pytest.raises(ValueError, match="does not fit this model"):
        WeightAverage(ToyModel(bias=False), 0.9).load_state_dict(average.state_dict())


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_impossible_decays_are_refused(decay):
    with pytest.raises(ValueError, match="ema_decay"):
        WeightAverage(ToyModel(), decay)
