"""What a bell curve loses: against SciPy's integration of the definition's rounding."""

import math
from itertools import pairwise

import pytest
from scipy import integrate, stats

from altgrad.quantization.bell_curve import neighbours, signal_to_noise_db, squared_error
from altgrad.quantization.formats import Format
from altgrad.quantization.reference import round


@pytest.mark.parametrize("name", ["e2m1fn", "e3m2fn", "int4", "e4m3", "e5m2"])
@pytest.mark.parametrize("out", [1.0, 4.0, 300.0])
def test_the_closed_form_is_the_integral(name, out):
    f = Format.named(name)
    sigma = f.max / out
    values = f.values()
    middles = [(a + b) / 2 for a, b in pairwise(values)]
    # Between its jumps the error is smooth: short pieces are integrated well.
    steps = [0.5 * sigma * i for i in range(-24, 25)]
    edges = sorted({*(m for m in middles if abs(m) < 12 * sigma), *steps})

    def error(x: float) -> float:
        return (x - round(x, f)) ** 2 * stats.norm.pdf(x, scale=sigma)

    total = sum(integrate.fixed_quad(_each(error), a, b, n=12)[0] for a, b in pairwise(edges))
    assert math.isclose(squared_error(f, sigma), total, rel_tol=1e-6)


def _each(error):
    return lambda xs: [error(float(x)) for x in xs]


def test_int8_loses_what_uniform_noise_predicts():
    """At 4 standard deviations saturation is negligible and the error is spacing² / 12."""
    f = Format.named("int8")
    sigma = f.max / 4.5
    predicted = 10 * math.log10(sigma**2 / (f.ulp(0.0) ** 2 / 12))
    assert abs(signal_to_noise_db(f, sigma) - predicted) < 0.05


def test_neighbours_stand_on_both_sides():
    assert neighbours(Format.named("e4m3"), 0.3, 1) == [0.28125, 0.3125]


def test_a_format_without_a_sign_is_refused():
    with pytest.raises(ValueError, match="needs a sign"):
        signal_to_noise_db(Format.named("e8m0fnu"), 1.0)
