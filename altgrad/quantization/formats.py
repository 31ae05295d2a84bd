"""What a small number format is: a few integers, from which everything else follows.

A format with E exponent bits and M mantissa bits stores a sign s, an exponent field e and a
trailing significand T, and means

    (-1)^s · T/2^M · 2^(1-bias)          if e = 0   (subnormal)
    (-1)^s · (1 + T/2^M) · 2^(e-bias)    otherwise  (normal)

minus the few codes that are given to infinity and NaN. Nothing here is looked up: the largest
number, the smallest, the spacing and the count are derived from those integers. The module needs
neither torch nor numpy; `decode` says what a code means, `reference.py` beside it is the
definition of encoding and rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from altgrad.quantization.catalogue import CONSTANTS, constants_of

# How a format spends codes on infinity, NaN and minus zero. Codes at the top are counted per sign.
SPECIAL_VALUES = {
    "ieee": "the whole top exponent: infinity where T = 0, NaN elsewhere (IEEE 754)",
    "fn": "finite plus NaN, at the code whose exponent and mantissa bits are all set (OCP E4M3)",
    "fnuz": "finite, NaN in the place of minus zero (P3109 signed finite, AMD/Graphcore FP8)",
    "extended": "NaN in the place of minus zero, the top code of each sign is infinity (P3109)",
    "finite": "no infinity, no NaN: every code is a number (OCP FP6 and FP4)",
}


@dataclass(frozen=True, kw_only=True)
class Format:
    """A binary number format as data. `Format.named("e4m3fn")` gives the ones with a name.

    `bias=None` takes the usual one: 2^(E-1)-1, or 2^(E-1) where NaN sits at minus zero (`fnuz`,
    `extended`), or 1 without an exponent, so that E0 is the fixed-point fraction T/2^M.
    `subnormals=False` makes every code with e = 0 a zero (flush to zero), except for M = 0, where
    such a format has no zero at all (E8M0). Raises `ValueError` where nothing finite remains.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int = None  # type: ignore[assignment]  # never None after __post_init__
    special_values: str = "fnuz"
    signed: bool = True
    subnormals: bool = True
    twos_complement: bool = False
    name: str = field(default="", compare=False)
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _refuse_other_than_integers(self)
        if self.bias is None:
            object.__setattr__(self, "bias", self._usual_bias())
        if not self.name:
            object.__setattr__(self, "name", f"e{self.exponent_bits}m{self.mantissa_bits}")
        _refuse_nonsense(self)

    def _usual_bias(self) -> int:
        if self.exponent_bits <= 0:
            return 1
        minus_one = self.special_values not in ("fnuz", "extended")
        return 2 ** (self.exponent_bits - 1) - minus_one

    @classmethod
    def named(cls, name: str, **overrides: object) -> Format:
        """The format of that name; keywords replace its fields (`named("e4m3fn", bias=11)`).

        Names: the catalogue's, any `e{X}m{Y}` and any `binary{K}p{P}` with optional `s|u` and
        `e|f`, up to 16 bits. Raises `ValueError` for an unknown name, with the nearest known one.
        """
        constants = constants_of(name)
        found = CATALOGUE.get(constants["name"]) or cls(**constants)
        if not overrides:
            return found
        said = ", ".join(f"{key}={value}" for key, value in overrides.items())
        changed = {"name": f"{name}({said})", **_with_its_own_bias(overrides)}
        return replace(found, **changed)

    # --- codes -------------------------------------------------------------------------------

    @property
    def bits(self) -> int:
        return self.signed + self.exponent_bits + self.mantissa_bits

    @property
    def sign_code(self) -> int:
        """The code that has only the sign bit set: minus zero, or NaN where there is none."""
        return 1 << (self.bits - 1)

    @property
    def top_magnitude_code(self) -> int:
        """The largest code of a positive sign, whatever it means."""
        return (1 << (self.exponent_bits + self.mantissa_bits)) - 1

    @property
    def max_code(self) -> int:
        """The code of the largest finite number."""
        return self.top_magnitude_code - self._special_codes_at_top

    @property
    def _special_codes_at_top(self) -> int:
        if self.twos_complement or self.special_values == "finite":
            return 0
        if self.special_values == "ieee":
            return 1 << self.mantissa_bits
        unsigned_nan = not self.signed and self.special_values in ("fnuz", "extended")
        return (self.special_values in ("fn", "extended")) + unsigned_nan

    @property
    def inf_code(self) -> int | None:
        """The code of plus infinity, None where the format has none."""
        if self.special_values in ("ieee", "extended") and not self.twos_complement:
            return self.max_code + 1
        return None

    @property
    def nan_code(self) -> int | None:
        """The code that NaN is stored as (the quiet one, where there are several), or None."""
        if self.twos_complement or self.special_values == "finite":
            return None
        if self.special_values == "ieee":
            return self.max_code + 1 + (1 << (self.mantissa_bits - 1))
        if self.special_values == "fn" or not self.signed:
            return self.top_magnitude_code
        return self.sign_code

    @property
    def has_inf(self) -> bool:
        return self.inf_code is not None

    @property
    def has_nan(self) -> bool:
        return self.nan_code is not None

    @property
    def has_zero(self) -> bool:
        return self.subnormals or self.mantissa_bits > 0

    @property
    def has_negative_zero(self) -> bool:
        keeps = self.special_values not in ("fnuz", "extended") and not self.twos_complement
        return self.signed and keeps and self.has_zero

    # --- range and precision -----------------------------------------------------------------

    @property
    def min_exponent(self) -> int:
        """The exponent below which the spacing no longer shrinks: 1 - bias (E8M0: -bias)."""
        return 1 - self.bias if self.has_zero else -self.bias

    @property
    def max_exponent(self) -> int:
        """floor(log2(max)): the MX specification's emax of an element format."""
        return math.frexp(self.max)[1] - 1

    @property
    def bottom_spacing(self) -> float:
        """The spacing of the numbers next to zero."""
        steps = self.mantissa_bits if self.subnormals else 0
        return math.ldexp(1.0, self.min_exponent - steps)

    @property
    def max(self) -> float:
        """The largest finite number."""
        return decode(self.max_code, self)

    @property
    def min(self) -> float:
        """The lowest finite number (as in `torch.finfo`): -max, 0 or smallest without a sign."""
        if self.twos_complement:
            return -math.ldexp(1.0, self.min_exponent)
        if self.signed:
            return -self.max
        return 0.0 if self.has_zero else self.smallest_normal

    @property
    def smallest_normal(self) -> float:
        """The smallest number of full precision (a fixed-point grid: its spacing)."""
        if self.exponent_bits == 0:
            return self.bottom_spacing
        return math.ldexp(1.0, self.min_exponent)

    @property
    def smallest_subnormal(self) -> float:
        """The smallest number above zero."""
        return self.bottom_spacing

    @property
    def eps(self) -> float:
        """The spacing at 1.0."""
        return self.ulp(1.0)

    def ulp(self, x: float) -> float:
        """The spacing of the grid at |x|: towards larger magnitude at a power of two; beyond
        `max` that of the top binade."""
        magnitude = min(abs(x), self.max)
        if magnitude < math.ldexp(1.0, self.min_exponent):
            return self.bottom_spacing
        return math.ldexp(1.0, math.frexp(magnitude)[1] - 1 - self.mantissa_bits)

    def values(self) -> list[float]:
        """All finite numbers in ascending order, minus zero counted as zero."""
        every = (decode(code, self) for code in range(1 << self.bits))
        return sorted({value + 0.0 for value in every if math.isfinite(value)})

    @property
    def finite_codes(self) -> int:
        """How many codes are finite numbers, both zeros counted."""
        special_per_sign = self._special_codes_at_top
        nan_at_minus_zero = self.signed and self.special_values in ("fnuz", "extended")
        at_minus_zero = nan_at_minus_zero and not self.twos_complement
        return (1 << self.bits) - special_per_sign * (1 + self.signed) - at_minus_zero


def decode(code: int, f: Format) -> float:
    """The number that a code stands for. Raises `ValueError` outside 0 … 2^bits - 1."""
    if not 0 <= code < (1 << f.bits):
        raise ValueError(f"code {code} is outside {f.name}'s 0 … {(1 << f.bits) - 1}")
    if f.twos_complement:
        number = code - (1 << f.bits) * (code >= f.sign_code)
        return number * f.bottom_spacing
    negative = f.signed and code >= f.sign_code
    if negative and code == f.sign_code and not f.has_negative_zero:
        return math.nan
    magnitude = _decode_magnitude(code - f.sign_code * negative, f)
    return -magnitude if negative else magnitude


def _decode_magnitude(code: int, f: Format) -> float:
    if code > f.max_code:
        return math.inf if code == f.inf_code else math.nan
    exponent, trailing = divmod(code, 1 << f.mantissa_bits)
    if exponent == 0 and f.has_zero:
        return trailing * f.bottom_spacing if f.subnormals else 0.0
    significand = (1 << f.mantissa_bits) + trailing
    return math.ldexp(significand, exponent - f.bias - f.mantissa_bits)


def _with_its_own_bias(overrides: dict) -> dict:
    """A change of the bits or special values asks for a new usual bias unless one is given."""
    changes = {"exponent_bits", "mantissa_bits", "special_values"} & set(overrides)
    return {"bias": None, **overrides} if changes else overrides


def _refuse_other_than_integers(f: Format) -> None:
    for name in ("exponent_bits", "mantissa_bits", "bias"):
        value = getattr(f, name)
        if not (type(value) is int or (name == "bias" and value is None)):
            raise ValueError(f"{name}={value!r}: give an integer")


def _refuse_nonsense(f: Format) -> None:
    """Raise `ValueError`, in one line, for integers that do not make a format."""
    if f.special_values not in SPECIAL_VALUES:
        allowed = ", ".join(SPECIAL_VALUES)
        raise ValueError(f"special_values={f.special_values!r} is unknown; choose from {allowed}")
    if not (0 <= f.exponent_bits <= 11 and 0 <= f.mantissa_bits <= 22):
        raise ValueError(
            f"{f.name}: {f.exponent_bits} exponent and {f.mantissa_bits} mantissa bits; "
            "altgrad takes 0 to 11 and 0 to 22"
        )
    if f.exponent_bits + f.mantissa_bits == 0:
        raise ValueError(f"{f.name} has no bits besides its sign; give it an exponent or mantissa")
    if f.special_values == "ieee" and (f.exponent_bits == 0 or f.mantissa_bits == 0):
        raise ValueError(
            f"{f.name}: special_values='ieee' needs exponent and mantissa bits to tell infinity "
            "from NaN; use 'fnuz', 'extended' or 'finite'"
        )
    if f.twos_complement and (f.exponent_bits or not f.signed):
        raise ValueError(f"{f.name}: two's complement is for signed fixed point (exponent_bits=0)")
    _refuse_unreachable_range(f)


def _refuse_unreachable_range(f: Format) -> None:
    """Numbers must exist, and be Python floats, in which the definition is written."""
    if f.max_code < (1 if f.has_zero else 0):
        raise ValueError(f"{f.name}: the special values leave no finite value; give it more bits")
    top = max(f.max_code >> f.mantissa_bits, 1) - f.bias
    bottom = f.min_exponent - f.mantissa_bits
    if top > 1023 or bottom < -1074:
        raise ValueError(
            f"{f.name} with bias {f.bias} leaves no finite value in reach: it spans 2^{bottom} to "
            f"2^{top}, Python floats 2^-1074 to 2^1023; choose a bias nearer "
            f"{f._usual_bias()}"
        )


CATALOGUE: dict[str, Format] = {name: Format(**given) for name, given in CONSTANTS.items()}
"""Every format with a name; any other `e{X}m{Y}` and `binary{K}p{P}` comes from `Format.named`."""
