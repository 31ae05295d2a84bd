"""Real FP8 matrix products: `torch._scaled_mm` on float8 operands.

Runs on NVIDIA GPUs of compute capability 8.9 or newer. torch's CPU build has the same function as
a slow reference, so that the path can be tested anywhere; training with it there is refused.
"""

import torch
from torch import Tensor

from altgrad.quantization.formats import Format

DTYPES = {"e4m3fn": torch.float8_e4m3fn, "e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
"""Format name -> torch's dtype, for the two formats that hardware multiplies."""

MULTIPLE = 16
"""Every dimension of a product must be a multiple of this."""


def refusal(device: torch.device, layers: dict[str, tuple[int, int]]) -> str | None:
    """Why native products cannot be had, or None.

    `layers`: name -> (out_features, in_features).
    """
    if device.type != "cuda":
        return f"precision.native=true needs an NVIDIA GPU, the device is {device.type}"
    if torch.cuda.get_device_capability(device) < (8, 9):
        name = torch.cuda.get_device_name(device)
        return f"precision.native=true needs compute capability 8.9 or newer, {name} has less"
    odd = [n for n, shape in layers.items() if any(s % MULTIPLE for s in shape)]
    if odd:
        return (
            f"precision.native=true needs dimensions divisible by {MULTIPLE}; {odd[0]} has "
            f"{layers[odd[0]]}; choose other sizes or add it to precision.skip"
        )
    return None


def float8_dtype(f: Format) -> torch.dtype:
    """torch's dtype of a format.

    Raises:
        ValueError: hardware does not multiply it.
    """
    if f.name not in DTYPES:
        raise ValueError(f"precision.native=true multiplies e4m3 and e5m2 only, not {f.name}")
    return DTYPES[f.name]


def scaled_product(
    a: Tensor, scale_a: Tensor, b: Tensor, scale_b: Tensor, out_dtype: torch.dtype
) -> Tensor:
    """a (N, K) float8 times b (K, M) float8, scales multiplied in."""
    rows = a.contiguous()
    columns = b.t().contiguous().t()
    return torch._scaled_mm(
        rows, columns, scale_a=scale_a.float(), scale_b=scale_b.float(), out_dtype=out_dtype
    )
