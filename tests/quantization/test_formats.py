"""The catalogue's facts, and what is refused."""

import subprocess
import sys
from itertools import pairwise

import pytest

from altgrad.quantization import CATALOGUE, SPLITS, Format, catalogue_table
from altgrad.quantization.reference import decode, encode
from altgrad.quantization.reference import round as round_scalar

# name: bias, max, smallest normal, smallest, from the standards' own tables.
PUBLISHED = {
    "e4m3fn": (7, 448, 2**-6, 2**-9),
    "e5m2": (15, 57344, 2**-14, 2**-16),
    "e4m3fnuz": (8, 240, 2**-7, 2**-10),
    "e5m2fnuz": (16, 57344, 2**-15, 2**-17),
    "e4m3b11fnuz": (11, 30, 2**-10, 2**-13),
    "e4m3_ieee": (7, 240, 2**-6, 2**-9),
    "e3m4_ieee": (3, 15.5, 2**-2, 2**-6),
    "e2m3fn": (1, 7.5, 1, 2**-3),
    "e3m2fn": (3, 28, 2**-2, 2**-4),
    "e2m1fn": (1, 6, 1, 0.5),
    "fp16": (15, 65504, 2**-14, 2**-24),
    "e8m0fnu": (127, 2.0**127, 2**-127, 2**-127),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_derived_numbers_are_the_published_ones(name):
    f = Format.named(name)
    assert (f.bias, f.max, f.smallest_normal, f.smallest_subnormal) == PUBLISHED[name]


@pytest.mark.parametrize("name", [n for n in CATALOGUE if CATALOGUE[n].bits <= 16])
def test_finite_codes_are_counted_right(name):
    f = CATALOGUE[name]
    decoded = [decode(code, f) for code in range(1 << f.bits)]
    finite = [value for value in decoded if abs(value) < float("inf")]
    assert f.finite_codes == len(finite)
    assert (min(finite), max(finite)) == (f.min, f.max)
    assert min(value for value in finite if value > 0) == f.smallest_subnormal


@pytest.mark.parametrize("name", SPLITS)
def test_ulp_is_the_gap_to_the_next_number(name):
    f = CATALOGUE[name]
    positive = [value for value in f.values() if value >= 0]
    gaps = [above - below for below, above in pairwise(positive)]
    assert [f.ulp(value) for value in positive[:-1]] == gaps
    assert f.ulp(-positive[5]) == f.ulp(positive[5])


def test_e0m7_and_e1m6_are_one_grid_up_to_a_power_of_two():
    e0m7, e1m6 = (CATALOGUE[name].values() for name in ("e0m7", "e1m6"))
    assert [2 * value for value in e0m7] == e1m6
    assert [128 * value for value in e0m7] == list(range(-127, 128))


def test_the_four_kinds_of_e3m4_differ():
    kinds = [
        Format(exponent_bits=3, mantissa_bits=4, special_values=s).values()
        for s in ("fn", "finite")
    ]
    kinds += [CATALOGUE["e3m4"].values(), CATALOGUE["e3m4_ieee"].values()]
    assert [values[-1] for values in kinds] == [30.0, 31.0, 15.5, 15.5]
    assert len({tuple(values) for values in kinds}) == 4


@pytest.mark.parametrize(
    ("name", "bias", "top"), [("e5m10", 15, 65504.0), ("e8m7", 127, None), ("e6m9", 32, None)]
)
def test_any_split_up_to_sixteen_bits_has_a_name(name, bias, top):
    f = Format.named(name)
    assert f.bias == bias
    assert top in (None, f.max)


def test_keywords_replace_fields_of_a_named_format():
    f = Format.named("e4m3fn", bias=11)
    assert (f.max, f.name) == (28.0, "e4m3fn(bias=11)")
    assert Format.named("e3m4", special_values="ieee") == CATALOGUE["e3m4_ieee"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("e9m9", "e9m9 has 19 bits"),
        ("e4m3nf", "did you mean 'e4m3fn'"),
        ("float8", "unknown number format"),
        ("binary8p9", "precision of 1 to 7"),
    ],
)
def test_nonsense_names_are_refused(name, words):
    with pytest.raises(ValueError, match=words) as refusal:
        Format.named(name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"exponent_bits": 4, "mantissa_bits": 3, "bias": 3000}, "no finite value in reach"),
        ({"exponent_bits": 1, "mantissa_bits": 0, "special_values": "extended"}, "no finite value"),
        ({"exponent_bits": 0, "mantissa_bits": 0}, "no bits besides its sign"),
        ({"exponent_bits": 4, "mantissa_bits": 3, "special_values": "iee"}, "choose from ieee"),
        ({"exponent_bits": 7, "mantissa_bits": 0, "special_values": "ieee"}, "needs exponent and"),
        ({"exponent_bits": 2, "mantissa_bits": 5, "twos_complement": True}, "two's complement"),
        ({"exponent_bits": 4, "mantissa_bits": 40}, "altgrad takes"),
        ({"exponent_bits": 4, "mantissa_bits": 3, "bias": 7.5}, "bias=7.5: give an integer"),
        ({"exponent_bits": 4.0, "mantissa_bits": 3}, "exponent_bits=4.0: give an integer"),
    ],
)
def test_nonsense_fields_are_refused(fields, words):
    with pytest.raises(ValueError, match=words) as refusal:
        Format(**fields)
    assert "\n" not in str(refusal.value)


def test_codes_outside_the_format_are_refused():
    with pytest.raises(ValueError, match="outside e2m1fn's 0 … 15"):
        decode(16, CATALOGUE["e2m1fn"])
    with pytest.raises(ValueError, match="round it first"):
        encode(0.3, CATALOGUE["e4m3"])
    with pytest.raises(ValueError, match="no code for inf"):
        encode(float("inf"), CATALOGUE["e4m3"])


def test_flushing_subnormals_leaves_zero_and_normal_numbers():
    f = Format(exponent_bits=4, mantissa_bits=3, special_values="fn", subnormals=False)
    assert f.smallest_subnormal == f.smallest_normal == 2**-6
    assert [round_scalar(x, f) for x in (2**-7, 2**-7 * 1.01, 2**-9)] == [0.0, 2**-6, 0.0]


def test_the_table_has_a_row_for_every_format():
    rows = catalogue_table()
    assert [row["name"] for row in rows] == list(CATALOGUE)
    assert catalogue_table(["e4m3"])[0]["max"] == 448.0


def test_formats_need_no_torch():
    code = (
        "import sys; from altgrad.quantization import Format, catalogue_table; catalogue_table();"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
