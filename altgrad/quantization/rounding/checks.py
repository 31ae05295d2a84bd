"""What the rounding functions refuse, each in one line."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from altgrad.quantization.formats import Format
from altgrad.quantization.reference import OVERFLOWS, ROUNDINGS
from altgrad.quantization.rounding.grid import MANTISSA, working_dtype
from altgrad.quantization.rounding.stochastic import Stochastic

_SMALLEST, _BEYOND = 2.0**-149, 2.0**128 - 2.0**103
"""What float32 rounds to zero is at most half of the one, to infinity at least the other."""

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def as_format(f: Format | str) -> Format:
    """A format, or the one of that name (`ValueError` if there is none)."""
    return f if isinstance(f, Format) else Format.named(f)


def expand_scale(scale: Float[Tensor, ...], shape: torch.Size) -> Float[Tensor, ...]:
    """A scale whose every dimension divides x's, repeated over its blocks so that it broadcasts.
    Raises `ValueError` where it does not divide."""
    if scale.dim() == 0:
        return scale
    if scale.dim() > len(shape) or any(
        n == 0 or size % n for n, size in zip(scale.shape[::-1], shape[::-1], strict=False)
    ):
        raise ValueError(
            f"a scale of shape {tuple(scale.shape)} does not divide a tensor of {tuple(shape)}; "
            "each of its dimensions must divide the tensor's"
        )
    for dim in range(-scale.dim(), 0):
        if 1 < scale.shape[dim] < shape[dim]:
            scale = scale.repeat_interleave(shape[dim] // scale.shape[dim], dim)
    return scale


def check(x, f: Format, scale, scaling, rounding, overflow) -> None:
    """Raise `ValueError`, in one line, for arguments that make no sense together."""
    _check_tensor(x)
    if not isinstance(rounding, Stochastic) and (
        rounding not in ROUNDINGS or rounding == "stochastic"
    ):
        raise ValueError(
            f"rounding={rounding!r}: choose from {', '.join(ROUNDINGS[:-1])} or Stochastic(seed=…)"
        )
    _check_overflow(f, overflow)
    if scale is not None and scaling is not None:
        raise ValueError("scale= and scaling= were both given; scaling computes the scale")
    if scale is None and scaling is None:
        _check_holds(x.dtype, f)
    if scale is not None:
        check_scale(scale)
    if scaling is not None:
        _check_scaling(scaling)
    if isinstance(rounding, Stochastic):
        _check_stochastic(rounding, x, f)


def _check_tensor(x) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"{type(x).__name__} is not rounded; give a torch.Tensor")
    if x.dtype not in _DTYPES:
        raise ValueError(f"{x.dtype} is not rounded; give float32, bfloat16, float16 or float64")
    if x.layout != torch.strided:
        raise ValueError(f"a {x.layout} tensor is not rounded; give x.to_dense()")


def check_out(out: Tensor | None, x: Tensor) -> None:
    """Refuse an `out` that cannot hold the result as it is: of x's shape, dtype and device."""
    if out is None:
        return
    if not isinstance(out, Tensor) or (out.shape, out.dtype, out.device) != (
        x.shape,
        x.dtype,
        x.device,
    ):
        what = f"{tuple(out.shape)} {out.dtype}" if isinstance(out, Tensor) else repr(out)
        raise ValueError(f"out= must be like x, {tuple(x.shape)} {x.dtype} there, not {what}")


def _check_scaling(scaling) -> None:
    whole = all(callable(getattr(scaling, name, None)) for name in ("scales", "expand", "groups"))
    if isinstance(scaling, type) or not whole:
        raise ValueError(
            f"scaling={scaling!r}: give an object such as PerTensor(), PerRow(), PerBlock(32), MX()"
        )


def _check_stochastic(rounding: Stochastic, x: Tensor, f: Format) -> None:
    bits, most = rounding.bits, MANTISSA[working_dtype(f, x.dtype)] - f.mantissa_bits
    if bits is not None and not (type(bits) is int and 1 <= bits <= most):
        raise ValueError(f"bits={bits!r}: rounding {x.dtype} to {f.name} takes 1 to {most}")
    drawn = rounding.random_bits
    if drawn is not None and (drawn.is_floating_point() or drawn.shape != x.shape):
        raise ValueError(
            f"random_bits must be integers of x's shape {tuple(x.shape)}, "
            f"not {drawn.dtype} {tuple(drawn.shape)}"
        )


def _check_overflow(f: Format, overflow: str) -> None:
    if overflow not in OVERFLOWS:
        raise ValueError(f"overflow={overflow!r}: choose from {', '.join(OVERFLOWS)}")
    if overflow == "inf" and not f.has_inf:
        raise ValueError(f"overflow='inf': {f.name} has no infinity; use 'saturate'")
    if overflow == "nan" and not f.has_nan:
        raise ValueError(f"overflow='nan': {f.name} has no NaN; use 'saturate'")


def _check_holds(dtype: torch.dtype, f: Format) -> None:
    """Unscaled results must be numbers of the tensor's own dtype."""
    info = torch.finfo(dtype)
    if (
        2.0**-f.mantissa_bits < info.eps
        or f.max > info.max
        or (f.bottom_spacing < info.smallest_normal * info.eps)
    ):
        raise ValueError(f"{dtype} cannot hold every number of {f.name}; convert x to float32/64")


def check_scale(scale: float | Tensor) -> None:
    """Refuse a scale, of any shape, that is not above zero and finite in float32. Tensors on an
    accelerator are checked without waiting for them; while compiling they are not checked."""
    if isinstance(scale, Tensor):
        if not scale.is_floating_point():
            raise ValueError(f"a scale must be floating point, got {scale.dtype}")
        if torch.compiler.is_compiling():
            return
        held = scale.float()
        valid = (held > 0) & torch.isfinite(held)
        if scale.device.type != "cpu":
            torch._assert_async(valid.all(), "a scale must be finite and above zero in float32")
            return
        if bool(valid.all()):
            return
        scale = float(scale.flatten()[torch.argmin(valid.flatten().int())])
    number = isinstance(scale, (int, float)) and not isinstance(scale, bool)
    if not number:
        raise ValueError(f"scale={scale!r}: give a number or a tensor")
    if not (_SMALLEST / 2 < scale < _BEYOND):
        raise ValueError(f"a scale must be finite and above zero, got {scale} (in float32)")
