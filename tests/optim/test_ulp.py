import pytest
import torch
from torch import nn

from altgrad.optim import OptimConfig, Storage, TableGrid, build_optimizer
from altgrad.optim.ulp import UlpOptimizer, rms_ratio
from altgrad.quantization import Format
from tests.optim.toy import ToyModel, format_grid, toy_loss, toy_storage, train, weights_of


def moved(name: str, *, match_rms: bool, **settings) -> dict[str, torch.Tensor]:
    model = ToyModel()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    config = OptimConfig(name=name, lr=0.01, match_rms=match_rms, weight_decay=0.0, **settings)
    storage = toy_storage(model) if name.startswith("ulp") else None
    optimizer = build_optimizer(model, config, storage)
    train(model, optimizer, range(1))
    return {n: p.detach() - before[n] for n, p in model.named_parameters()}


BASES = ["adamw", "sgd", "muon"]


@pytest.mark.parametrize("base", BASES)
def test_a_matched_step_is_as_long_as_the_bases(base):
    ours, theirs = moved(f"ulp_{base}", match_rms=True), moved(base, match_rms=True)
    for name in ("up.weight", "down.weight", "lm_head.weight"):
        assert ours[name].norm().item() == pytest.approx(theirs[name].norm().item(), rel=1e-3)
        assert not torch.allclose(ours[name], theirs[name], rtol=1e-3)


@pytest.mark.parametrize("base", BASES)
def test_an_unmatched_step_is_the_bases_times_the_spacing(base):
    ours, theirs = moved(f"ulp_{base}", match_rms=False), moved(base, match_rms=False)
    weights = dict(ToyModel().named_parameters())
    for name in ("up.weight", "down.weight", "lm_head.weight"):
        expected = theirs[name] * format_grid().ulp(weights[name].detach())
        torch.testing.assert_close(ours[name], expected, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("base", BASES)
def test_parameters_without_a_format_move_as_under_the_base(base):
    ours, theirs = moved(f"ulp_{base}", match_rms=True), moved(base, match_rms=True)
    for name in ("up.bias", "norm.weight", "gain", "wte.weight"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)


def test_with_a_spacing_of_one_it_is_torchs_adamw():
    ours, theirs = ToyModel(), ToyModel()
    settings = {"lr": 0.01, "weight_decay": 0.1}
    fields = dict.fromkeys(ours.parameters(), torch.ones_like)
    base = torch.optim.AdamW(ours.parameters(), **settings)
    train(ours, UlpOptimizer(base, fields, match_rms=False), range(5))
    train(theirs, torch.optim.AdamW(theirs.parameters(), **settings), range(5))
    torch.testing.assert_close(weights_of(ours), weights_of(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("base", BASES)
def test_decay_is_decoupled(base):
    model = ToyModel()
    config = OptimConfig(name=f"ulp_{base}", lr=0.1, weight_decay=0.5)
    optimizer = build_optimizer(model, config, toy_storage(model))
    before = model.up.weight.detach().clone()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(model.up.weight.detach(), before * 0.95)


def test_a_zero_weight_leaves_zero_by_the_smallest_spacing():
    fmt = Format.named("e4m3fn")
    p = nn.Parameter(torch.tensor([[0.0, 1.0]]))
    p.grad = torch.ones_like(p)
    grid = TableGrid(torch.tensor(fmt.values()), mantissa_bits=3)
    base = torch.optim.AdamW([p], lr=1.0, weight_decay=0.0)
    UlpOptimizer(base, {p: grid.ulp}, match_rms=False).step()
    expected = torch.tensor([[-(2.0**-9), 1.0 - 2.0**-3]])
    torch.testing.assert_close(p.detach(), expected)


def test_a_tied_embedding_is_one_weight_on_the_grid():
    model = ToyModel(tied=True)
    storage = toy_storage(model, mode="rounded", stochastic=True)
    assert model.wte.weight in storage.grids
    optimizer = build_optimizer(model, OptimConfig(name="ulp_adamw"), storage)
    train(model, optimizer, range(3))
    assert model.wte.weight is model.lm_head.weight
    grid = storage.grids[model.wte.weight]
    torch.testing.assert_close(grid.round(model.wte.weight), model.wte.weight, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["ulp_adamw", "manifold_adamw", "grid"])
def test_without_a_weight_format_it_is_refused(name):
    with pytest.raises(ValueError, match="needs weights with a number format"):
        build_optimizer(ToyModel(), OptimConfig(name=name), Storage())


def test_the_placebos_change_the_step_and_not_its_length():
    own = moved("ulp_adamw", match_rms=True)["up.weight"]
    placebo = moved("ulp_adamw", match_rms=True, placebo="shuffled")["up.weight"]
    assert not torch.allclose(own, placebo, rtol=1e-3)
    assert placebo.norm().item() == pytest.approx(own.norm().item(), rel=1e-3)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("match_rms", [True, False])
def test_the_constant_placebo_is_the_bases_step_as_long_as_the_grids_in_the_mean(base, match_rms):
    own = moved(f"ulp_{base}", match_rms=match_rms)["up.weight"]
    even = moved(f"ulp_{base}", match_rms=match_rms, placebo="constant")["up.weight"]
    plain = moved(base, match_rms=match_rms)["up.weight"]
    assert even.abs().mean().item() == pytest.approx(own.abs().mean().item(), rel=1e-3)
    assert even.norm().item() < 0.95 * own.norm().item()
    torch.testing.assert_close(even / even.norm(), plain / plain.norm(), rtol=2e-3, atol=1e-4)


def test_another_formats_stiffness_steers_and_the_own_grid_stores():
    model = ToyModel()
    toy_loss(model).backward()
    config = OptimConfig(name="ulp_adamw", match_rms=False, stiffness="e0m7", weight_decay=0.0)
    own = toy_storage(model, "e4m3fn")
    storage = Storage(own.grids, geometry=toy_storage(model, "e0m7").grids)
    before = model.up.weight.detach().clone()
    build_optimizer(model, config, storage).step()
    lengths = (model.up.weight.detach() - before).abs()
    torch.testing.assert_close(
        lengths, torch.full_like(lengths, lengths.median()), rtol=0.01, atol=0
    )


def test_a_foreign_stiffness_that_was_not_handed_in_is_refused():
    model = ToyModel()
    config = OptimConfig(name="ulp_adamw", stiffness="e9m9")
    with pytest.raises(ValueError, match="'e9m9' is neither own nor a known format"):
        build_optimizer(model, config, toy_storage(model))


def test_a_format_steers_weights_that_are_not_rounded():
    """The step is the one on stored weights of that format, where those lie on its grid."""
    config = OptimConfig(name="ulp_adamw", lr=0.01)
    steered = OptimConfig(name="ulp_adamw", lr=0.01, stiffness="e4m3")
    stored, plain = ToyModel(), ToyModel()
    grids = toy_storage(stored).grids
    geometry = {p: format_grid() for p in (plain.up.weight, plain.down.weight)}
    geometry[plain.lm_head.weight] = format_grid()
    ours = build_optimizer(stored, config, Storage(grids))
    theirs = build_optimizer(plain, steered, Storage(geometry=geometry))
    train(stored, ours, range(3))
    train(plain, theirs, range(3))
    torch.testing.assert_close(weights_of(plain), weights_of(stored), rtol=0, atol=0)


@pytest.mark.parametrize("settings", [{"stiffness": "e4m3"}, {"placebo": "shuffled"}])
def test_a_geometry_that_nothing_reads_is_refused(settings):
    with pytest.raises(ValueError, match=r"means nothing to optim.name='adamw'"):
        build_optimizer(ToyModel(), OptimConfig(**settings))


def test_an_unknown_placebo_is_refused():
    with pytest.raises(ValueError, match="'sugar' is not one of none, shuffled, constant"):
        build_optimizer(ToyModel(), OptimConfig(name="ulp_adamw", placebo="sugar"))


def test_matching_a_zero_step_stays_zero():
    assert rms_ratio(torch.zeros(3), torch.ones(3)) == 0.0
