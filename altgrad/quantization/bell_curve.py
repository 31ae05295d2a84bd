"""What rounding costs a bell curve, exactly: the squared error of N(0, sigma²) on a format's grid.

Between two neighbours a and b of the grid everything below the midpoint goes to a, everything above
to b, so the expected squared error is a sum over cells of the integral of (x - q)² times the
density, which has a closed form (the moments of a truncated normal). Beyond the largest number q is
the largest number: saturation. Loads neither torch nor numpy.
"""

import math
from bisect import bisect_left
from itertools import pairwise

from altgrad.quantization.formats import Format

MOST_BITS = 10


def signal_to_noise_db(f: Format, sigma: float) -> float:
    """10 log10 of sigma² over the mean squared error, for values rounded to nearest.

    Raises:
        ValueError: a format without a sign, or with more bits than `MOST_BITS`.
    """
    if not f.signed or f.bits > MOST_BITS:
        raise ValueError(f"{f.name}: a bell curve needs a sign, and at most {MOST_BITS} bits")
    return 10 * math.log10(sigma**2 / squared_error(f, sigma))


def squared_error(f: Format, sigma: float) -> float:
    """E (x - round(x))² for x ~ N(0, sigma²)."""
    values = f.values()
    edges = [-math.inf, *((a + b) / 2 for a, b in pairwise(values)), math.inf]
    cells = zip(pairwise(edges), values, strict=True)
    in_sigmas = sum(_cell(low / sigma, high / sigma, q / sigma) for (low, high), q in cells)
    return in_sigmas * sigma**2


def _cell(low: float, high: float, q: float) -> float:
    """Integral of (z - q)² phi(z) from low to high.

    Far from zero and in narrow cells the closed form cancels; there the density is nearly a
    constant, and its value in the middle times the integral of (z - q)² is exact enough.
    """
    if high - low < 1e-3 * max(1.0, abs(low)):
        middle = (low + high) / 2
        return _density(middle) * ((high - q) ** 3 - (low - q) ** 3) / 3
    mass = _mass(low, high)
    first = _density(low) - _density(high)
    second = mass + _times_density(low) - _times_density(high)
    return max(0.0, second - 2 * q * first + q * q * mass)


def _mass(low: float, high: float) -> float:
    """P(low < z < high), by the tail that is the smaller one."""
    if low > 0:
        return 0.5 * (math.erfc(low / math.sqrt(2)) - math.erfc(high / math.sqrt(2)))
    return 0.5 * (math.erfc(-high / math.sqrt(2)) - math.erfc(-low / math.sqrt(2)))


def _density(z: float) -> float:
    return math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) if math.isfinite(z) else 0.0


def _times_density(z: float) -> float:
    return z * _density(z) if math.isfinite(z) else 0.0


def loss_over_scale(f: Format, *, points: int = 61) -> list[tuple[float, float]]:
    """(log2 of max / sigma, dB): where the format's largest number lies, in standard deviations."""
    low, high = 0.0, math.log2(f.max / f.smallest_subnormal) + 2
    at = [low + (high - low) * i / (points - 1) for i in range(points)]
    return [(x, signal_to_noise_db(f, f.max / 2**x)) for x in at]


def neighbours(f: Format, x: float, count: int = 4) -> list[float]:
    """The numbers of the format around x, ascending: at most `count` on either side."""
    values = f.values()
    at = bisect_left(values, x)
    return values[max(0, at - count) : at + count]
