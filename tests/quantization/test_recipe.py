"""Words to a recipe: strict, and different by module where asked."""

import pytest

from altgrad.quantization import CastConfig, PrecisionConfig, Recipe
from altgrad.quantization.recipe import ROLES


def recipe(**settings) -> Recipe:
    return Recipe.of(PrecisionConfig(simulate=True, **settings))


def test_the_common_format_serves_every_role_without_one():
    layer = recipe(format="e4m3", grad_output=CastConfig(format="e5m2")).default
    assert [layer.weight.format.name, layer.input.format.name] == ["e4m3", "e4m3"]
    assert layer.grad_output.format.name == "e5m2"


def test_none_leaves_a_role_alone():
    layer = recipe(format="e4m3", grad_output=CastConfig(format="none")).default
    assert layer.grad_output.format is None
    assert layer.rounds
    assert not recipe(format="none").default.rounds


def test_names_may_be_written_in_capitals():
    assert recipe(format="E5M2").default.weight.format.name == "e5m2"


def test_patterns_differ_by_module_and_the_last_wins():
    found = recipe(
        format="none",
        skip=["lm_head"],
        modules={"*.mlp.*": {"format": "e4m3"}, "*.1.mlp.*": {"format": "e3m4"}},
    )
    assert found.for_module("h.0.mlp.c_fc").weight.format.name == "e4m3"
    assert found.for_module("h.1.mlp.c_fc").weight.format.name == "e3m4"
    assert not found.for_module("h.0.attn.c_q").rounds
    assert found.for_module("lm_head") is None


def test_a_pattern_changes_single_settings_of_a_role():
    changes = {"weight": {"scaling": "row", "rounding": "stochastic"}}
    cast = recipe(format="e4m3", modules={"a": changes}).for_module("a").weight
    assert (cast.format.name, cast.scaling, cast.rounding) == ("e4m3", "row", "stochastic")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"format": "e9m9"}, ["precision.weight.format=e9m9"]),
        ({"grad_output": CastConfig(format="e9m9")}, ["precision.grad_output.format=e9m9"]),
        ({"fallback": ["e4m4x"]}, ["precision.fallback=e4m4x", "'e4m3'"]),
        ({"fallback_after": 0}, ["fallback_after=0"]),
        ({"grad_clip_range": -1.0}, ["grad_clip_range=-1.0"]),
        ({"storage": "roundd"}, ["storage='roundd'", "did you mean 'rounded'"]),
        ({"weight": CastConfig(overflow="info")}, ["weight.overflow='info'", "did you mean 'inf'"]),
        ({"format": "e8m0fnu"}, ["e8m0fnu", "sign"]),
        ({"weight": CastConfig(rounding="near")}, ["weight.rounding='near'", "nearest_even"]),
        ({"input": CastConfig(scaling="blocks")}, ["input.scaling='blocks'", "block"]),
        ({"input": CastConfig(scale_rule="pow2")}, ["scale_rule='pow2'", "power_of_two"]),
        ({"input": CastConfig(block_size=0)}, ["block_size"]),
        ({"weight": CastConfig(format="e4m3", overflow="inf")}, ["overflow=inf", "saturate"]),
        ({"modules": {"x": 3}}, ["modules['x']=3"]),
        ({"modules": {"x": {"wight": {}}}}, ["'wight'", "weight"]),
        ({"modules": {"x": {"weight": {"fromat": 1}}}}, ["fromat", "format"]),
        ({"storage": "half"}, ["storage='half'", "kahan"]),
        ({"storage_rounding": "up"}, ["storage_rounding='up'"]),
        ({"native": True, "weight": CastConfig(scaling="row")}, ["native", "row"]),
        ({"native": True, "grad_weight": False}, ["native", "grad_weight"]),
    ],
)
def test_nonsense_is_refused_in_one_line(settings, words):
    with pytest.raises(ValueError) as caught:
        recipe(**settings)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_storing_without_a_format_is_refused():
    with pytest.raises(ValueError, match=r"precision\.simulate=true"):
        PrecisionConfig(storage="rounded")
    with pytest.raises(ValueError, match=r"precision\.weight\.\* rounds nothing"):
        PrecisionConfig(weight=CastConfig(format="e4m3"))


def test_a_pattern_keeps_what_it_does_not_name():
    blocks = {r: CastConfig(scaling="block", scale_rule="mx") for r in ROLES}
    made = recipe(format="e4m3fn", modules={"*.mlp": {"format": "e2m1fn"}}, **blocks)
    layer = made.for_module("0.mlp")
    assert {getattr(layer, r).scaling for r in ROLES} == {"block"}
    assert {getattr(layer, r).format.name for r in ROLES} == {"e2m1fn"}
    assert made.for_module("head").weight.format.name == "e4m3fn"
