"""Number formats of one's own: every way to write one means the same, and what gfloat means."""

from pathlib import Path

import gfloat
import numpy as np
import pytest
import torch
import yaml

from altgrad.compose import compose_config
from altgrad.quantization import Format, PrecisionConfig, fake_quantize
from altgrad.quantization.own_formats import format_name
from altgrad.quantization.reference import decode
from altgrad.settings import ConfigError
from altgrad.training import TrainConfig
from tests.conformance.oracles import sixteen_bit_inputs

ASKED = {"exponent": 2, "mantissa": 5, "bias": 4, "inf": False}
TEXT = "{exponent: 2, mantissa: 5, bias: 4, inf: false}"

FINITE, EXTENDED = gfloat.Domain.Finite, gfloat.Domain.Extended
# (mapping, exponent bits, precision, bias, domain, minus zero, NaNs at the top of each sign)
BY_HAND = [
    (ASKED, 2, 6, 4, FINITE, False, 0),
    ({"exponent": 2, "mantissa": 5, "nan": False}, 2, 6, 1, FINITE, True, 0),
    ({"exponent": 3, "mantissa": 4, "bias": 5, "inf": True}, 3, 5, 5, EXTENDED, True, 15),
    ({"exponent": 4, "mantissa": 3, "bias": 11}, 4, 4, 11, FINITE, True, 1),
    ({"exponent": 1, "mantissa": 3, "bias": -2, "nan": True}, 1, 4, -2, FINITE, False, 0),
    ({"exponent": 3, "mantissa": 2, "specials": "extended"}, 3, 3, 4, EXTENDED, False, 0),
]


@pytest.mark.parametrize("asked", BY_HAND, ids=lambda row: format_name(row[0]))
def test_every_code_and_every_rounding_is_gfloats(bit_equal, asked):
    given, exponent, precision, bias, domain, minus_zero, nans = asked
    f = Format.named(format_name(given))
    info = gfloat.FormatInfo(
        *("own", exponent + precision, precision),
        bias=bias,
        is_signed=True,
        domain=domain,
        has_nz=minus_zero,
        num_high_nans=nans,
        has_subnormals=True,
        is_twos_complement=False,
    )
    codes = range(1 << f.bits)
    mine = np.array([decode(code, f) for code in codes])
    theirs = np.array([gfloat.decode_float(info, code).fval for code in codes])
    bit_equal("gfloat", "what every code means", mine, theirs)
    x = sixteen_bit_inputs()
    x = x[x.isfinite()]
    rounded = fake_quantize(x, f, scaling=None).numpy()
    sat = gfloat.round_ndarray(info, x.double().numpy(), sat=True).astype(np.float32)
    bit_equal("gfloat", "rounding to nearest even", rounded + 0.0, sat + 0.0)


def test_word_text_mapping_preset_and_python_mean_the_same(tmp_path):
    preset = tmp_path / "precision" / "mine.yaml"
    preset.parent.mkdir()
    preset.write_text(yaml.safe_dump({"simulate": True, "format": ASKED}))
    one_word = compose_config(["precision=e2m5b4"])
    assert one_word.precision.format == "e2m5b4"
    for words in ([f"precision={TEXT}"], ["precision=e5m2", f"precision.format={TEXT}"]):
        assert compose_config(words).to_dict() == one_word.to_dict()
    assert compose_config(["precision=mine"], str(tmp_path)).precision.format == "e2m5b4"
    assert PrecisionConfig(simulate=True, format=ASKED).format == "e2m5b4"
    assert TrainConfig(fp8_format=ASKED).precision.format == "e2m5b4"
    assert TrainConfig.from_dict({"precision": {"format": ASKED}}).precision.format == "e2m5b4"
    by_role = TrainConfig.from_dict({"precision": {"simulate": True, "weight": {"format": TEXT}}})
    assert by_role.precision.weight.format == "e2m5b4"
    by_name = PrecisionConfig(simulate=True, modules={"*.attn.*": {"format": ASKED}})
    assert by_name.simulate


def test_a_format_typed_alone_asks_for_rounding():
    assert compose_config(["precision.format=e2m5b4"]).precision.simulate
    with pytest.raises(ValueError, match="nothing reads it"):
        compose_config(["precision=bf16", "precision.format=e2m5b4"])


def test_a_word_keeps_what_hardware_has_and_changes_what_it_says():
    assert Format.named("e4m3b11").special_values == "fn"
    assert Format.named("e4m3b7") == Format.named("e4m3")
    assert Format.named("e5m2_fnuz") == Format.named("e5m2fnuz")
    assert not Format.named("e4m3_flush").subnormals
    assert Format.named("e8m0b-3").bias == -3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"exponent": 2, "mantisa": 5}, "Did you mean 'mantissa'"),
        ({"exponent": 2}, "mantissa must be said"),
        ({"exponent": 2, "mantissa": "5"}, "must be a whole number"),
        ({"exponent": 2, "mantissa": 5, "inf": True, "nan": False}, "has NaN"),
        ({"exponent": 2, "mantissa": 5, "inf": True, "specials": "fn"}, "says it already"),
        ({"exponent": 2, "mantissa": 5, "specials": "odd"}, "choose ieee"),
        ({"exponent": 10, "mantissa": 9}, "names reach 16 bits"),
        ({"exponent": 4, "mantissa": 3, "bias": 5000}, "bias nearer"),
        ("{exponent: [", "write {exponent"),
    ],
)
def test_what_is_no_format_is_refused_by_name(given, said):
    with pytest.raises(ValueError, match=said) as refused:
        PrecisionConfig(simulate=True, format=given)
    assert str(refused.value).startswith("precision.format")


def test_a_run_and_its_folder_say_the_name(make_config, make_model, data_dir):
    from altgrad.training import Trainer

    config = make_config(precision=PrecisionConfig(simulate=True, format=ASKED), max_steps=2)
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    run = Path(trainer.train()["run_dir"])
    assert yaml.safe_load((run / "config.yaml").read_text())["precision"]["format"] == "e2m5b4"
    assert torch.isfinite(torch.tensor(trainer.best_val_loss))


def test_a_format_too_wide_for_a_name_is_told_how_wide_a_name_may_be():
    with pytest.raises(ConfigError, match=r"'e9m9' is not a preset.* at most 16 bits .* e2m5b4"):
        compose_config(["precision=e9m9"])
