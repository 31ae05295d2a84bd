"""Where the scale comes from: one per tensor, row, column or block, now or from a history.

The scale s maps a tensor's largest magnitude (amax, over its finite numbers) to the top of the
format: x is stored as q(x/s). Rules, for a format of largest number `max`:

    exact          s = amax / max
    power_of_two   s = the smallest power of two >= amax / max (nothing overflows)
    mx             s = 2^(floor(log2 amax) - floor(log2 max)): OCP MX 1.0, section 6.3; E8M0, so
                   between 2^-127 and 2^127; elements may saturate

amax = 0 gives 1; an exact scale never falls below float32's smallest normal number; float64 beyond
float32's largest number counts as that. Everything is a tensor on x's device: no rule waits for it.

A new scaling is a class with the members of `StatefulScaling` (`Current` has most of them), a line
in SCALINGS, and a line in READS for the settings it reads. `tests/conformance/test_scalings.py`
then checks it with the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from altgrad.quantization.formats import CATALOGUE, Format
from altgrad.quantization.rounding import Scaling, native, round_values

RULES = ("exact", "power_of_two", "mx")
# Float32's smallest normal number: a smaller scale would be flushed to zero where subnormals are
# (accelerators, -ffast-math), and x / 0 is no number.
_TINY = 2.0**-126


class StatefulScaling(Scaling, Protocol):
    """What stands in SCALINGS: a `rounding.Scaling` that training and checkpoints can use."""

    one_scale: bool
    """Whether a tensor has one scale: its numbers can then be multiplied unscaled."""

    remembers: bool
    """Whether scales come from earlier steps: numbers can then lie beyond the range, and each
    step's amax has to be counted, for `update`."""

    def update(self, amax: Tensor) -> None:
        """Learn a step's largest magnitude (0-d), without waiting for the device."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: name -> tensor; empty where nothing is remembered."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take up what `state_dict` gave."""

    def to(self, device: torch.device, /) -> Any:
        """Follow the weight to another device."""


class Current:
    """A scaling that looks at the tensor in hand and remembers nothing."""

    one_scale = False
    remembers = False

    def expand(self, scale: Tensor, x: Float[Tensor, "*shape"]) -> Float[Tensor, ...]:
        """The scale as it is: it broadcasts against x."""
        return scale

    def groups(self, x: Float[Tensor, "*shape"]) -> tuple[str, int, tuple[int, ...]] | None:
        """None: no native pass computes these scales."""
        return None

    def update(self, amax: Tensor) -> None:
        """Nothing to learn from a step's largest magnitude (0-d)."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""

    def to(self, device: torch.device) -> None:
        """Nothing to move."""


def finite_amax(
    x: Float[Tensor, "*shape"], dim: int | tuple[int, ...] | None = None
) -> Float[Tensor, ...]:
    """Largest finite |x| as float32, over `dim` (kept, of size 1) or, with None, over all (0-d).

    0 over no numbers; what is beyond float32 counts as its largest number.
    """
    if x.numel() == 0:
        return torch.zeros(_kept(x, dim), dtype=torch.float32, device=x.device)
    if dim is None and not torch.compiler.is_compiling() and x.device.type == "cpu":
        low, high = torch.aminmax(x)  # a tenth of abs().max(); NaN shows in both
        amax = torch.maximum(-low, high)
        if torch.isfinite(amax):
            return _narrowed(amax)
    magnitude = torch.where(torch.isfinite(x), x.abs(), 0)
    if dim != ():  # torch takes an empty tuple of dimensions for all of them
        magnitude = magnitude.amax() if dim is None else magnitude.amax(dim, keepdim=True)
    return _narrowed(magnitude)


def _kept(x: Tensor, dim: int | tuple[int, ...] | None) -> list[int]:
    """The shape that remains of x."""
    if dim is None:
        return []
    gone = {d % x.dim() for d in ((dim,) if isinstance(dim, int) else dim)}
    return [1 if d in gone else size for d, size in enumerate(x.shape)]


def _narrowed(amax: Tensor) -> Tensor:
    most = torch.finfo(torch.float32).max
    return amax.clamp(max=most).float() if amax.dtype == torch.float64 else amax.float()


def scale_from_amax(
    amax: Float[Tensor, "*groups"], f: Format, rule: str = "exact"
) -> Float[Tensor, "*groups"]:
    """The float32 scale for each float32 amax under a rule of RULES (see the top of this file)."""
    if rule == "mx":
        # floor(log2 amax) read from the exponent field; a subnormal amax has field 0, hence -127,
        # which is where E8M0 ends anyway.
        exponent = (amax.view(torch.int32) >> 23) - 127 - f.max_exponent
        scale = _power_of_two(exponent.clamp(max=127))
    else:
        scale = torch.clamp(amax / f.max, min=_TINY)
        if rule == "power_of_two":  # up to the next one: the carry runs into the exponent
            scale = ((scale.view(torch.int32) + 0x7FFFFF) & 0x7F800000).view(torch.float32)
    return torch.where(amax > 0, scale, 1.0)


def _power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent as float32, not below 2^-127."""
    normal = ((exponent.clamp(min=-126) + 127) << 23).view(torch.float32)
    return torch.where(exponent < -126, 2.0**-127, normal)


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise ValueError(f"rule={rule!r}: choose from {', '.join(RULES)}")


def _check_dimensions(x: Tensor) -> None:
    if x.dim() == 0:
        raise ValueError("a single number has no rows, columns or blocks; use PerTensor()")


@dataclass(frozen=True)
class PerTensor(Current):
    """One scale from the current amax of the whole tensor: 0-d."""

    one_scale = True
    rule: str = "exact"

    def __post_init__(self) -> None:
        _check_rule(self.rule)

    def scales(self, x: Float[Tensor, "*shape"], f: Format) -> Float[Tensor, ...]:
        return scale_from_amax(finite_amax(x), f, self.rule)

    def groups(self, x: Float[Tensor, "*shape"]) -> tuple[str, int, tuple[int, ...]] | None:
        return self.rule, x.numel(), ()


@dataclass(frozen=True)
class PerRow(Current):
    """One scale per row, that is per index of all dimensions but the last: (*x.shape[:-1], 1)."""

    rule: str = "exact"

    def __post_init__(self) -> None:
        _check_rule(self.rule)

    def scales(self, x: Float[Tensor, "*shape"], f: Format) -> Float[Tensor, ...]:
        _check_dimensions(x)
        return scale_from_amax(finite_amax(x, -1), f, self.rule)

    def groups(self, x: Float[Tensor, "*shape"]) -> tuple[str, int, tuple[int, ...]] | None:
        _check_dimensions(x)
        return self.rule, x.shape[-1], (*x.shape[:-1], 1)


@dataclass(frozen=True)
class PerColumn(Current):
    """One scale per index of the last dimension: (1, …, 1, x.shape[-1])."""

    rule: str = "exact"

    def __post_init__(self) -> None:
        _check_rule(self.rule)

    def scales(self, x: Float[Tensor, "*shape"], f: Format) -> Float[Tensor, ...]:
        _check_dimensions(x)
        return scale_from_amax(finite_amax(x, tuple(range(x.dim() - 1))), f, self.rule)


@dataclass(frozen=True)
class PerBlock(Current):
    """One scale per `block_size` neighbours in the last dimension: (*x.shape[:-1], blocks).

    A length that is no multiple of the block is refused, unless `ragged=True`: then the last block
    of each row is shorter.
    """

    block_size: int
    rule: str = "exact"
    ragged: bool = False

    def __post_init__(self) -> None:
        _check_rule(self.rule)
        if type(self.block_size) is not int or self.block_size < 1:
            raise ValueError(f"block_size={self.block_size}: a block holds at least one number")

    def _missing(self, x: Tensor) -> int:
        """How many numbers the last block is short of."""
        _check_dimensions(x)
        missing = -x.shape[-1] % self.block_size
        if missing and not self.ragged:
            raise ValueError(
                f"blocks of {self.block_size} do not divide a last dimension of {x.shape[-1]}; "
                "pad it, choose a divisor, or PerBlock(…, ragged=True) for a shorter last block"
            )
        return missing

    def _blocks(self, x: Tensor) -> Tensor:
        """x with its last dimension cut into blocks, the last one filled with zeros."""
        missing = self._missing(x)
        padded = nn.functional.pad(x, (0, missing)) if missing else x
        return padded.unflatten(-1, (padded.shape[-1] // self.block_size, self.block_size))

    def _amax(self, x: Tensor) -> Tensor:
        """The largest finite |x| of each block: (*x.shape[:-1], blocks)."""
        plain = not torch.compiler.is_compiling() and type(x) in (Tensor, nn.Parameter)
        whole = x.numel() > 0 and not self._missing(x)
        if plain and whole and native.available(x, x.dtype):
            amax = native.group_amax(x.detach().contiguous(), self.block_size)
            return amax.view(*x.shape[:-1], -1)
        return finite_amax(self._blocks(x), -1).squeeze(-1)

    def scales(self, x: Float[Tensor, "*shape"], f: Format) -> Float[Tensor, ...]:
        return scale_from_amax(self._amax(x), f, self.rule)

    def expand(self, scale: Tensor, x: Float[Tensor, "*shape"]) -> Float[Tensor, ...]:
        """Each block's scale repeated over it, the surplus of a shorter last block cut off."""
        return scale.repeat_interleave(self.block_size, -1)[..., : x.shape[-1]]

    def groups(self, x: Float[Tensor, "*shape"]) -> tuple[str, int, tuple[int, ...]] | None:
        if self._missing(x):
            return None
        return self.rule, self.block_size, (*x.shape[:-1], x.shape[-1] // self.block_size)


def MX(*, ragged: bool = False) -> PerBlock:
    """OCP Microscaling: blocks of 32 with a power-of-two E8M0 scale."""
    return PerBlock(32, "mx", ragged)


@dataclass(frozen=True)
class NVFP4(PerBlock):
    """NVIDIA's two levels: blocks of 16 with an E4M3 scale, and one float32 scale per tensor,
    t = amax / (max·448), so that the largest block scale is E4M3's 448. A block's scale does not
    fall below E4M3's smallest normal number, 2^-6 (as in torchao)."""

    block_size: int = 16
    _E4M3: ClassVar[Format] = CATALOGUE["e4m3fn"]

    def scales(self, x: Float[Tensor, "*shape"], f: Format) -> Float[Tensor, ...]:
        amax = self._amax(x)
        whole = amax.amax() if amax.numel() else amax.new_zeros(())
        tensor_scale = scale_from_amax(whole, self._E4M3) / f.max
        tensor_scale = torch.clamp(tensor_scale, min=_TINY)
        wanted = amax.div_(f.max).div_(tensor_scale)  # in place: a new tensor costs page faults
        wanted.clamp_(self._E4M3.smallest_normal, self._E4M3.max)
        return round_values(wanted, self._E4M3, out=wanted).values.mul_(tensor_scale)

    def groups(self, x: Float[Tensor, "*shape"]) -> tuple[str, int, tuple[int, ...]] | None:
        """The scales are computed here, not natively; see `PerBlock` for ragged blocks."""
        blocks = super().groups(x)
        return blocks and ("given_each", *blocks[1:])


class Delayed(nn.Module):
    """One scale per tensor from the amax of earlier calls; call `update` (or pass x through
    `scales` in training mode, which does) once per use.

    `algorithm`: `max` over the history or `most_recent`. The scale leaves `margin` powers of two of
    room. The history is a buffer, in the state_dict. A call without a finite amax above zero
    (all NaN) leaves no trace. Until something was seen, the current amax serves.
    """

    one_scale = True
    remembers = True

    def __init__(
        self,
        length: int = 16,
        *,
        margin: int = 0,
        algorithm: str = "max",
        rule: str = "exact",
    ) -> None:
        super().__init__()
        _check_rule(rule)
        if length < 1:
            raise ValueError(f"length={length}: a history holds at least one amax")
        if algorithm not in ("max", "most_recent"):
            raise ValueError(f"algorithm={algorithm!r}: choose from max, most_recent")
        self.margin, self.algorithm, self.rule = margin, algorithm, rule
        self.history: Tensor
        self.register_buffer("history", torch.zeros(length))

    def update(self, amax: Tensor) -> None:
        """Remember an amax (0-d); zero and non-finite ones are passed over, on the device."""
        amax = amax.detach().to(self.history)
        valid = torch.isfinite(amax) & (amax > 0)
        newest = torch.cat([amax.reshape(1), self.history[:-1]])
        self.history.copy_(torch.where(valid, newest, self.history))

    def scales(self, x: Float[Tensor, "*shape"], f: Format) -> Float[Tensor, ...]:
        now = finite_amax(x)
        seen = self.history.amax() if self.algorithm == "max" else self.history[0]
        amax = torch.where(seen > 0, seen, now) * 2.0**self.margin
        if self.training:
            self.update(now)
        return scale_from_amax(amax, f, self.rule)

    def expand(self, scale: Tensor, x: Float[Tensor, "*shape"]) -> Float[Tensor, ...]:
        return scale

    def groups(self, x: Float[Tensor, "*shape"]) -> None:
        return None


def _delayed(cast: Any) -> Delayed:
    # In evaluation mode: training updates it once per step, not at every call of `scales`.
    return Delayed(cast.history, margin=cast.margin, rule=cast.scale_rule).eval()


SCALINGS: dict[str, Callable[[Any], Scaling]] = {
    "tensor": lambda cast: PerTensor(cast.scale_rule),
    "delayed": _delayed,
    "row": lambda cast: PerRow(cast.scale_rule),
    "column": lambda cast: PerColumn(cast.scale_rule),
    "block": lambda cast: PerBlock(cast.block_size, cast.scale_rule, ragged=True),
    "nvfp4": lambda cast: NVFP4(ragged=True),
}
"""`precision.ROLE.scaling` -> how to make it from a `recipe.Cast`. (`none` is no scaling.)"""

READS: dict[str, tuple[str, ...]] = {
    "tensor": ("scale_rule",),
    "delayed": ("scale_rule", "history", "margin"),
    "row": ("scale_rule",),
    "column": ("scale_rule",),
    "block": ("scale_rule", "block_size"),
    "nvfp4": (),
}
"""Settings `precision.ROLE.*` that a scaling reads beside those that hold for all."""
