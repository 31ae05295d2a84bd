"""Tracks whose finished file is no model: references beside outside programs, endings."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from altgrad.cli import main
from altgrad.learn.iteration import beside
from altgrad.learn.probes.common import draw
from altgrad.learn.probes.rounding import FORMATS, every_fp16, ties
from altgrad.learn.reference import lora, optimisers, rounding, training
from altgrad.learn.source import replace_bodies
from altgrad.learn.track import PART_TRACKS, Track
from altgrad.optim import ScheduleConfig, build_schedule
from altgrad.optim.muon import Muon


@pytest.fixture
def learn(capsys):
    def call(words: str) -> tuple[int, str]:
        threads = torch.get_num_threads()
        code = main(["learn", *words.split()])
        torch.set_num_threads(threads)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


@pytest.mark.slow  # two small trainings in each of `run` and `race`
@pytest.mark.parametrize("name", PART_TRACKS)
def test_a_part_track_is_walked_from_the_skeleton_to_the_comparison(learn, name):
    track = Track(name)
    assert f"{len(track.units)} units to write" in learn(f"start --track {name}")[1]
    code, out = learn("run")
    assert (code, "is not there yet" in out) == (1, True), out
    shutil.copy(track.path, Path(track.folder_name) / track.file_name)
    code, out = learn("run")
    assert code == 0, out
    code, out = learn("race")
    assert code == 0, out
    assert "✗" not in out


@pytest.mark.parametrize("name", PART_TRACKS)
def test_every_check_of_a_part_track_can_fail(name):
    """A label that no mistake of its unit ever moves would be a check that cannot fail."""
    from altgrad.learn.observe import differences, observe
    from altgrad.learn.transplant import load_reference, transplant

    track, idle = Track(name), {}
    for unit, probe in track.probes.items():
        expected = observe(probe, load_reference(track.path))
        moved = set()
        for mistake in (m for m in track.mistakes if m.unit == unit):
            changed = transplant(track.path, mistake.apply(track.source), track.path, unit)
            moved |= {d.label for d in differences(expected, observe(probe, changed))}
        idle[unit] = sorted(set(expected) - moved)
    assert {u: labels for u, labels in idle.items() if labels} == {}


def test_a_workshop_of_another_track_is_found_where_it_is_the_only_one(learn):
    learn("start --track optimisers")
    assert "my_optimisers.py" in learn("status")[1]
    learn("start")
    assert "my_gpt.py" in learn("status")[1]
    assert "my_optimisers.py" in learn("status --dir my-optimisers")[1]


def stepped(make, **how) -> list[torch.Tensor]:
    p = nn.Parameter(draw("p", 12, 20))
    optimizer, seen = make([p], **how), []
    for step in range(30):
        p.grad = draw(f"g {step}", 12, 20)
        optimizer.step()
        seen.append(p.detach().clone())
    return seen


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_reference_is_torch_adamw(decay):
    how = {"lr": 0.01, "betas": (0.7, 0.9), "eps": 1e-4, "weight_decay": decay}
    pairs = zip(stepped(optimisers.AdamW, **how), stepped(torch.optim.AdamW, **how), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("nesterov", [True, False])
def test_the_reference_is_altgrad_muon(nesterov):
    how = {"lr": 0.03, "momentum": 0.8, "nesterov": nesterov, "weight_decay": 0.2}
    for mine, theirs in zip(stepped(optimisers.Muon, **how), stepped(Muon, **how), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"])
def test_the_reference_rounds_every_fp16_number_as_ml_dtypes_does(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    settings = {"float8_e4m3fn": "E4M3", "float8_e5m2": "E5M2", "float4_e2m1fn": "E2M1"}[name]
    fmt = rounding.Format(*FORMATS[settings])
    x = torch.cat([every_fp16(), ties(settings)])
    mine = rounding.round_nearest(x, fmt)
    inside = x.clamp(-fmt.largest, fmt.largest).numpy()
    known = torch.from_numpy(inside.astype(getattr(ml_dtypes, name)).astype("float32"))
    assert len(x) > 63_000
    assert torch.equal(mine, known)
    assert torch.equal(mine.signbit(), known.signbit())


def test_the_reference_decodes_every_code_as_torch_does():
    codes = torch.arange(128)
    known = codes.to(torch.uint8).view(torch.float8_e4m3fn).float()
    assert torch.equal(
        rounding.decode(codes, rounding.Format()).nan_to_num(-1), known.nan_to_num(-1)
    )


@pytest.mark.parametrize("shape", [(320,), (6, 64)])
def test_the_reference_scales_blocks_as_torchao_does(shape):
    torchao = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 3
    scale, codes = torchao.to_mx(x, torch.float8_e4m3fn, 32)
    blocks = codes.float().unflatten(-1, (-1, 32)) * scale.float().reshape(*codes.shape[:-1], -1, 1)
    assert torch.equal(rounding.mx_quantize(x, rounding.Format()), blocks.flatten(-2))


def compared(name: str, bodies: dict[str, str], tmp_path: Path) -> tuple[bool, list[str]]:
    track = Track(name)
    path = tmp_path / track.file_name
    path.write_text(replace_bodies(track.source, bodies))
    *lines, holds = beside(track, path)
    return holds, lines


def test_an_optimiser_with_another_eps_is_not_torch_adamw(tmp_path):
    body = Track("optimisers").body_of("adamw_update").replace("+ eps", "+ 2 * eps")
    holds, lines = compared("optimisers", {"adamw_update": body}, tmp_path)
    assert holds is False
    assert lines[0].startswith("✗ 50 steps in float64 beside torch.optim.AdamW")
    assert lines[1].startswith("✓")


def test_rounding_halves_up_is_not_torch_cast(tmp_path):
    body = Track("rounding").body_of("round_nearest")
    body = body.replace("torch.round(finite / step)", "torch.floor(finite / step + 0.5)")
    holds, lines = compared("rounding", {"round_nearest": body}, tmp_path)
    assert holds is False
    assert lines[0].startswith("✗ E4M3 beside torch.float8_e4m3fn")
    assert "numbers differ; the first is" in lines[0]


def test_an_accumulation_of_means_is_not_one_large_batch(tmp_path):
    body = Track("training").body_of("accumulate")
    body = body.replace("total, _ =", "total, count =")
    holds, lines = compared("training", {"accumulate": body}, tmp_path)
    assert holds is False
    assert lines[2].startswith("✗ gradients of equal micro-batches")
    assert lines[3].startswith("✗ gradients of uneven ones")
    assert lines[0].startswith("✓")


def test_a_resume_without_the_random_state_is_another_run(tmp_path):
    body = Track("training").body_of("resume")
    body = body.replace('    torch.set_rng_state(state["random"])\n', "")
    holds, lines = compared("training", {"resume": body}, tmp_path)
    assert holds is False
    assert lines[4].startswith("✗ a run in two pieces")


def test_a_lora_layer_without_the_rank_in_its_scale_is_not_the_equation(tmp_path):
    body = Track("lora").body_of("LoRALinear.__init__").replace("alpha / rank", "alpha")
    holds, lines = compared("lora", {"LoRALinear.__init__": body}, tmp_path)
    assert holds is False
    assert lines[0].startswith("✗ a layer beside")


@pytest.mark.parametrize(("warmup", "floor"), [(0, 0.0), (7, 0.1), (40, 0.5)])
def test_the_reference_schedule_is_altgrad_cosine(warmup, floor):
    known = build_schedule(ScheduleConfig("cosine", warmup, floor), 50)
    mine = [training.rate_factor(step, warmup, 50, floor) for step in range(60)]
    assert mine == pytest.approx([known(step) for step in range(60)], abs=1e-15)


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e6])
def test_the_reference_clips_as_torch_does(max_norm):
    sides = []
    for clip in (training.clip_gradients, torch.nn.utils.clip_grad_norm_):
        params = [nn.Parameter(draw(n, 5, 9)) for n in "abc"]
        for name, p in zip("ab", params, strict=False):
            p.grad = draw(f"grad {name}", 5, 9)
        norm = float(clip(iter(params), max_norm))
        sides.append([torch.tensor(norm, dtype=torch.float64), *(p.grad for p in params[:2])])
    for mine, theirs in zip(*sides, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=0)


@pytest.mark.parametrize("bias", [True, False])
def test_the_reference_layer_is_peft_lora(bias):
    peft = pytest.importorskip("peft")
    base = nn.Linear(9, 13, bias=bias).double()
    wanted = peft.LoraConfig(r=5, lora_alpha=15, target_modules=["0"])
    theirs = peft.inject_adapter_in_model(wanted, nn.Sequential(nn.Linear(9, 13, bias=bias)))
    theirs = theirs.double()
    layer, other = lora.LoRALinear(base, 5, 15.0), theirs[0]
    with torch.no_grad():
        other.base_layer.load_state_dict(base.state_dict())
        layer.A.copy_(draw("A", 5, 9))
        layer.B.copy_(draw("B", 13, 5))
        other.lora_A["default"].weight.copy_(layer.A)
        other.lora_B["default"].weight.copy_(layer.B)
    x = draw("x", 11, 9)
    torch.testing.assert_close(layer(x), theirs(x), rtol=1e-12, atol=1e-13)
    layer.merge()
    other.merge()
    torch.testing.assert_close(layer.base.weight, other.base_layer.weight, rtol=1e-12, atol=1e-13)


def test_a_new_layer_starts_as_peft_does():
    """A uniform of the same width, B zero."""
    peft = pytest.importorskip("peft")
    wanted = peft.LoraConfig(r=64, target_modules=["0"])
    theirs = peft.inject_adapter_in_model(wanted, nn.Sequential(nn.Linear(512, 32)))[0]
    layer = lora.LoRALinear(nn.Linear(512, 32), 64, 8.0)
    known = theirs.lora_A["default"].weight
    assert not layer.B.any()
    assert not theirs.lora_B["default"].weight.any()
    assert layer.A.std().item() == pytest.approx(known.std().item(), rel=0.02)
    assert layer.A.abs().max().item() == pytest.approx(known.abs().max().item(), rel=0.01)
