"""What is rounded where: `precision.*` settings (plain words) -> `Recipe` (formats and scalings).

A linear layer multiplies three times; a recipe says what becomes of the operands:

    forward            y  = x · Wᵀ        input and weight are rounded
    gradient of x      dx = g · W         grad_output and the same rounded weight
    gradient of W      dW = gᵀ · x        the same rounded grad_output and input

Each operand is rounded once per step, along its last dimension, and used in both of its products.
`grad_weight: false` keeps the third product's operands as they came.
"""

import copy
import fnmatch
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, Optional

from altgrad.quantization.formats import Format
from altgrad.quantization.own_formats import format_name
from altgrad.quantization.reference import OVERFLOWS, ROUNDINGS
from altgrad.settings import READ, check_name

ROLES = ("weight", "input", "grad_output")
STORAGES = ("master", "rounded", "kahan", "error_feedback")
STORAGE_ROUNDINGS = ("nearest_even", "stochastic")
UNROUNDED = UNSCALED = "none"


@dataclass
class CastConfig:
    """Settings `precision.ROLE.*`: how one operand is rounded."""

    format: Optional[str] = field(default=None, metadata={READ: format_name})  # noqa: UP045
    """Number format: a name from `altgrad formats`, one of your own (e2m5b4, or
    `{exponent: 2, mantissa: 5, bias: 4, inf: false}`); none = not rounded; null =
    `precision.format`."""
    rounding: str = "nearest_even"
    """How a number between two of the grid is rounded: nearest_even, nearest_away, toward_zero, up,
    down or stochastic."""
    scaling: str = "tensor"
    """What shares a scale: tensor (current amax), delayed (largest amax of earlier steps), row,
    column, block, nvfp4 or none."""
    scale_rule: str = "exact"
    """How the scale follows from amax: exact, power_of_two, or mx (OCP MX v1.0, section 6.3)."""
    block_size: int = 32
    """Numbers that share a scale, with scaling=block."""
    history: int = 16
    """Steps whose amax is remembered, with scaling=delayed."""
    margin: int = 0
    """Powers of two of head-room, with scaling=delayed."""
    overflow: str = "saturate"
    """What becomes of numbers beyond the range: saturate, inf or nan."""

    def __post_init__(self) -> None:
        self.format = format_name(self.format)


@dataclass
class PrecisionConfig:
    """Settings `precision.*`: what is rounded where."""

    compute: str = "32-true"
    """Arithmetic of the whole run, as Lightning Fabric names it: 32-true, bf16-mixed, bf16-true,
    16-mixed; auto is bf16-mixed where the machine has bf16 instructions, else 32-true. An arm
    and its control compute alike: only the rounding differs."""
    simulate: bool = False
    """Whether linear layers are rounded at all."""
    format: str = field(default="e5m2", metadata={READ: format_name})
    """Number format of every operand that names none itself: a name, or one of your own by
    exponent, mantissa and bias (e2m5b4, or `{exponent: 2, mantissa: 5, bias: 4, inf: false}`)."""
    weight: CastConfig = field(default_factory=CastConfig)
    """How weights are rounded."""
    input: CastConfig = field(default_factory=CastConfig)
    """How a layer's input is rounded."""
    grad_output: CastConfig = field(default_factory=CastConfig)
    """How the gradient of a layer's output is rounded."""
    grad_weight: bool = True
    """Whether the weight-gradient product uses the rounded operands."""
    skip: list[str] = field(default_factory=list)
    """Name patterns of modules left alone, such as `[lm_head]`."""
    modules: dict[str, Any] = field(default_factory=dict)
    """Name pattern -> settings that differ there, such as `{"*.attn.*": {format: none}}`; the last
    pattern that fits wins."""
    storage: str = "master"
    """Where weights are kept: master (FP32 weights, rounded copies used), rounded (no master: the
    weights themselves are on the grid after every step), kahan, or error_feedback."""
    storage_rounding: str = "nearest_even"
    """How weights are put on the grid: nearest_even or stochastic."""
    native: bool = False
    """Real FP8 products on hardware that has them, instead of simulated ones."""
    fallback: list[str] = field(default_factory=list)
    """Formats to change to, one after the other, when a run is in trouble; empty = never."""
    fallback_after: int = 5
    """Bad steps in a row that count as trouble: not finite, or more updates lost than
    `guards.bit_stall_threshold`."""
    grad_clip_range: float = 0.0
    """Largest weight-gradient entry, as a multiple of the largest number of the gradient's format;
    0 = no such clipping."""

    def __post_init__(self) -> None:
        self.format = format_name(self.format, "precision.format")
        for name in self.fallback:
            if name.lower() != UNROUNDED:
                named_format(name, "precision.fallback")
        if self.fallback_after < 1:
            raise ValueError(f"precision.fallback_after={self.fallback_after} must be at least 1")
        if not 0 <= self.grad_clip_range < math.inf:
            raise ValueError(
                f"precision.grad_clip_range={self.grad_clip_range} must be 0 (off) or more"
            )
        check_name("precision.storage", self.storage, STORAGES)
        check_name("precision.storage_rounding", self.storage_rounding, STORAGE_ROUNDINGS)
        if self.simulate:
            Recipe.of(self)
        elif self.storage != "master":
            raise ValueError(
                f"precision.storage={self.storage} needs a number format; set "
                "precision.simulate=true and precision.format, or choose a preset such as e5m2"
            )
        elif any(getattr(self, role) != CastConfig() for role in ROLES):
            role = next(role for role in ROLES if getattr(self, role) != CastConfig())
            raise ValueError(
                f"precision.{role}.* rounds nothing without precision.simulate=true; set it, or "
                "choose a preset such as e5m2"
            )
        elif self.native:
            raise ValueError("precision.native=true needs precision.simulate=true; use fp8_native")

    @property
    def loses_updates(self) -> bool:
        """Whether an update too small for the grid is gone: not where FP32 weights or a remainder
        keep it, nor where chance makes up for it."""
        return self.storage == "rounded" and self.storage_rounding == "nearest_even"


@dataclass(frozen=True)
class Cast:
    """One operand's rounding, resolved; `format=None` leaves the operand alone."""

    format: Format | None
    rounding: str = "nearest_even"
    scaling: str = "tensor"
    scale_rule: str = "exact"
    block_size: int = 32
    history: int = 16
    margin: int = 0
    overflow: str = "saturate"

    @classmethod
    def of(cls, config: CastConfig, default: str, role: str) -> "Cast":
        """Check the words, look up the format.

        Raises:
            ValueError: unknown name or impossible pair, naming the setting.
        """
        # Here, so that who reads ROLES (a report of finished runs) need not load torch.
        from altgrad.quantization.scaling import RULES, SCALINGS

        where = f"precision.{role}"
        check_name(f"{where}.rounding", config.rounding, ROUNDINGS)
        check_name(f"{where}.scaling", config.scaling, (UNSCALED, *SCALINGS))
        check_name(f"{where}.scale_rule", config.scale_rule, RULES)
        check_name(f"{where}.overflow", config.overflow, OVERFLOWS)
        name = (config.format or default).lower()
        settings = {f.name: getattr(config, f.name) for f in fields(config)} | {"format": None}
        if name == UNROUNDED:
            return cls(**settings)
        found = named_format(name, f"{where}.format")
        if config.block_size < 1 or config.history < 1:
            raise ValueError(f"{where}: block_size and history must be at least 1")
        if config.overflow == "inf" and not found.has_inf:
            raise ValueError(f"{where}.overflow=inf: {name} has no infinity; use saturate")
        if config.overflow == "nan" and not found.has_nan:
            raise ValueError(f"{where}.overflow=nan: {name} has no NaN; use saturate")
        if not found.signed:
            raise ValueError(f"{where}.format={name} has no sign; operands need one")
        return cls(**{**settings, "format": found})

    @property
    def can_leave_range(self) -> bool:
        """Whether numbers can lie beyond the range: not where the scale follows the tensor, but for
        the top of an MX block, which saturates by design (by less than one binade)."""
        scaling = self.make_scaling()
        return self.format is not None and (scaling is None or scaling.remembers)

    @property
    def one_scale(self) -> bool:
        """Whether a tensor has one scale, or none: its numbers can then be multiplied unscaled."""
        scaling = self.make_scaling()
        return scaling is None or scaling.one_scale

    def make_scaling(self) -> Any:
        """A new scaling, with an empty history; None = no scale (see `scaling.StatefulScaling`)."""
        from altgrad.quantization.scaling import SCALINGS

        return None if self.scaling == UNSCALED else SCALINGS[self.scaling](self)

    def __str__(self) -> str:
        if self.format is None:
            return "not rounded"
        scale = {"block": f"blocks of {self.block_size}"}.get(self.scaling, f"{self.scaling} scale")
        return f"{self.format.name}, {scale}, {self.rounding.replace('_', ' ')}"


@dataclass(frozen=True)
class LayerRecipe:
    """How the operands of one layer are rounded."""

    weight: Cast
    input: Cast
    grad_output: Cast
    grad_weight: bool = True
    native: bool = False

    def __post_init__(self) -> None:
        if self.native:
            _refuse_what_hardware_lacks(self)

    @property
    def rounds(self) -> bool:
        return any(getattr(self, role).format is not None for role in ROLES)


def _refuse_what_hardware_lacks(layer: LayerRecipe) -> None:
    """FP8 hardware multiplies two rounded operands with one scale each."""
    for role in ROLES:
        cast = getattr(layer, role)
        if cast.format is None or cast.scaling == UNSCALED or not cast.one_scale:
            raise ValueError(
                f"precision.native=true needs precision.{role} rounded with scaling=tensor or "
                f"delayed, not {cast}"
            )
    if not layer.grad_weight:
        raise ValueError("precision.native=true rounds all products; set precision.grad_weight")


@dataclass(frozen=True)
class Recipe:
    """How every layer is rounded, by module name."""

    default: LayerRecipe
    skip: tuple[str, ...] = ()
    exceptions: tuple[tuple[str, LayerRecipe], ...] = ()

    @classmethod
    def of(cls, config: PrecisionConfig) -> "Recipe":
        """From settings.

        Raises:
            ValueError: unknown names or keys.
        """
        exceptions = [(p, _layer(_merged(config, p, c))) for p, c in config.modules.items()]
        return cls(_layer(config), tuple(config.skip), tuple(exceptions))

    def for_module(self, name: str) -> LayerRecipe | None:
        """The recipe of a module, or None if `skip` names it."""
        if any(_matches(name, pattern) for pattern in self.skip):
            return None
        fitting = [layer for pattern, layer in self.exceptions if _matches(name, pattern)]
        return fitting[-1] if fitting else self.default

    def can_leave_range(self, role: str) -> bool:
        """Whether that role's numbers can lie beyond the range in any layer."""
        layers = [self.default, *(layer for _, layer in self.exceptions)]
        return any(getattr(layer, role).can_leave_range for layer in layers)

    def unused_patterns(self, names: list[str]) -> list[str]:
        """Patterns that fit none of the names: most likely a spelling mistake."""
        patterns = [*self.skip, *(p for p, _ in self.exceptions)]
        return [p for p in patterns if not any(_matches(n, p) for n in names)]


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern)


def _layer(config: PrecisionConfig) -> LayerRecipe:
    casts = {role: Cast.of(getattr(config, role), config.format, role) for role in ROLES}
    return LayerRecipe(**casts, grad_weight=config.grad_weight, native=config.native)


def _merged(config: PrecisionConfig, pattern: str, changes: Any) -> PrecisionConfig:
    """`config` with the settings of one entry of `modules`."""
    where = f"precision.modules[{pattern!r}]"
    allowed = (*ROLES, "format", "grad_weight")
    if not isinstance(changes, dict):
        raise ValueError(f"{where}={changes!r} must be a mapping with keys {', '.join(allowed)}")
    for key in changes:
        if key not in allowed:
            raise ValueError(f"{where}: unknown key {key!r}; allowed: {', '.join(allowed)}")
    plain = copy.copy(config)  # not `replace`, which would check the half-made settings
    for key, value in changes.items():
        value = format_name(value, f"{where}.format") if key == "format" else value
        setattr(plain, key, _cast_config(plain, key, value, where) if key in ROLES else value)
    if "format" in changes:
        _forget_own_formats(plain, set(changes))
    return plain


def _forget_own_formats(config: PrecisionConfig, given: set[str]) -> None:
    """A pattern's own `format` wins over the roles' formats outside the pattern."""
    for role in set(ROLES) - given:
        setattr(config, role, replace(getattr(config, role), format=None))


def _cast_config(config: PrecisionConfig, role: str, changes: Any, where: str) -> CastConfig:
    known = {f.name for f in fields(CastConfig)}
    if not isinstance(changes, dict) or set(changes) - known:
        raise ValueError(f"{where}.{role}={changes!r}: allowed keys: {', '.join(sorted(known))}")
    return replace(getattr(config, role), **changes)


def named_format(name: str, setting: str) -> Format:
    """The format of that name.

    Raises:
        ValueError: there is none; the message begins with the setting.
    """
    try:
        return Format.named(format_name(name).lower())
    except ValueError as error:
        raise ValueError(f"{setting}={name}: {error}") from None


def is_format(value: str) -> bool:
    """Whether a text names a number format, or means one by a mapping."""
    try:
        named_format(value, "format")
    except ValueError:
        return False
    return True
