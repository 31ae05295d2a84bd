"""MX and NVFP4 against torchao and gfloat; in-range casts against torch's own float8 types."""

import gfloat
import gfloat.formats
import numpy as np
import pytest
import torch

from altgrad import quantization as q
from tests.conformance import oracles

TORCH_TYPES = {
    "e4m3fn": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
    "e4m3fnuz": torch.float8_e4m3fnuz,
    "e5m2fnuz": torch.float8_e5m2fnuz,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
MX_BLOCKS = {
    "e4m3fn": gfloat.formats.format_info_mxfp8_e4m3,
    "e5m2": gfloat.formats.format_info_mxfp8_e5m2,
    "e3m2fn": gfloat.formats.format_info_mxfp6_e3m2,
    "e2m3fn": gfloat.formats.format_info_mxfp6_e2m3,
    "e2m1fn": gfloat.formats.format_info_mxfp4_e2m1,
}
DECADES = torch.logspace(-30, 30, 512)[:, None]


def blocks(seed: int = 0) -> torch.Tensor:
    """262,144 numbers over 60 decades, some exact powers of two, no block of zeros."""
    x = torch.randn(512, 512, generator=torch.Generator().manual_seed(seed)) * DECADES
    x[::5, ::7] = torch.exp2(x[::5, ::7].abs().log2().round())
    return x


@pytest.mark.parametrize("name", TORCH_TYPES)
def test_values_and_codes_equal_torch_in_range(bit_equal, name):
    f, x = q.Format.named(name), oracles.inputs(name)
    x = x[(x.abs() <= f.max)]
    theirs = x.to(TORCH_TYPES[name])
    bit_equal("torch casts", "values in range", q.fake_quantize(x, f), theirs.float())
    if f.bits == 8:
        bit_equal("torch casts", "codes in range", q.quantize(x, f), theirs.view(torch.uint8))


@pytest.mark.parametrize("name", MX_BLOCKS)
@pytest.mark.filterwarnings("ignore")
def test_mx_equals_torchao(bit_equal, name):
    from torchao.prototype.mx_formats import mx_tensor

    kinds = {
        "e4m3fn": torch.float8_e4m3fn,
        "e5m2": torch.float8_e5m2,
        "e3m2fn": mx_tensor.DTYPE_FP6_E3M2,
        "e2m3fn": mx_tensor.DTYPE_FP6_E2M3,
        "e2m1fn": torch.float4_e2m1fn_x2,
    }
    x = blocks()
    mx = mx_tensor.MXTensor.to_mx(x, kinds[name], 32)
    mine = q.fake_quantize(x, name, scaling=q.MX())
    bit_equal("torchao", "MX values", mine, mx.dequantize(torch.float32))
    codes = q.quantize(q.MX().scales(x, q.Format.named(name)), "e8m0fnu")
    bit_equal("torchao", "MX scales", codes, mx.scale.view(torch.uint8).reshape(codes.shape))


@pytest.mark.parametrize("name", MX_BLOCKS)
def test_mx_equals_gfloat(bit_equal, name):
    x = blocks(1)[:16].clone()
    scale = q.MX().scales(x, q.Format.named(name)).numpy().astype(np.float64)
    mine = q.fake_quantize(x, name, scaling=q.MX()).numpy()
    for row in range(16):
        for block in range(16):
            part = x[row, 32 * block : 32 * block + 32].double().numpy()
            exponent = gfloat.compute_scale_amax(MX_BLOCKS[name].etype.emax, part)
            assert exponent == scale[row, block]
            scaled = [v / exponent for v in part]
            info = MX_BLOCKS[name].etype
            theirs = [gfloat.round_float(info, v, sat=True) * exponent for v in scaled]
            bit_equal("gfloat", "MX values", mine[row, 32 * block : 32 * block + 32], theirs)


@pytest.mark.filterwarnings("ignore")
def test_nvfp4_scales_equal_torchao_and_values_up_to_their_reciprocal(bit_equal, compared):
    """torchao multiplies by a rounded reciprocal of the scale, altgrad divides: the scales are
    equal, and a value may differ only where x/scale is within two float32 roundings of a tie."""
    from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize, per_tensor_amax_to_scale

    x = torch.randn(512, 512, generator=torch.Generator().manual_seed(3))
    tensor_scale = per_tensor_amax_to_scale(x.abs().max())
    block_scale, _ = nvfp4_quantize(x, 16, tensor_scale)
    scale = q.NVFP4().scales(x, q.Format.named("e2m1fn"))
    theirs = block_scale.float().reshape(scale.shape) * tensor_scale
    bit_equal("torchao", "NVFP4 scales", scale, theirs)
    mine = q.fake_quantize(x, "e2m1fn", scaling=q.NVFP4())
    reciprocal = (1.0 / tensor_scale) / block_scale.float().reshape(scale.shape)
    times = x * reciprocal.repeat_interleave(16, -1)
    wide = scale.repeat_interleave(16, -1)
    differs = q.fake_quantize(times.clamp(-6, 6), "e2m1fn") * wide != mine
    ties = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
    distance = ((x / wide).abs()[..., None] / ties - 1).abs().amin(-1)
    assert (distance[differs] < 2**-21).all()
    assert differs.float().mean() < 1e-5
    compared("torchao", "NVFP4 values, through its reciprocal", (~differs).sum())


PIECE = 1 << 20
ALL_FLOATS = [n for n in oracles.ML_DTYPES if n not in ("e8m0fnu", "e4m3", "fp16", "bf16")]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ALL_FLOATS)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_all_four_billion_float32_inputs_equal_ml_dtypes(compared, name):
    """In pieces that stay in the cache; a table decodes the codes."""
    f, kind, seen = q.Format.named(name), oracles.ML_DTYPES[name], 0
    numbers = np.arange(256, dtype=np.uint8).view(kind).astype(np.float32)
    mine, theirs = torch.empty(PIECE), np.empty(PIECE, dtype=np.float32)
    first = torch.arange(PIECE, dtype=torch.int32)
    for start in range(-(2**31), 2**31, PIECE):
        x = (first + start).view(torch.float32)
        q.fake_quantize(x, f, overflow=oracles.overflow_of(f), out=mine)
        np.take(numbers, x.numpy().astype(kind).view(np.uint8), out=theirs, mode="clip")
        seen += assert_equal_words(mine.numpy(), theirs, f)
    assert seen == 2**32
    compared("ml_dtypes", f"every float32 number, {name}", seen)


def assert_equal_words(mine: np.ndarray, theirs: np.ndarray, f: q.Format) -> int:
    """The same bit patterns; NaN, where the format has one, in the same places."""
    if not np.array_equal(mine.view(np.int32), theirs.view(np.int32)):
        numbers = ~np.isnan(mine)
        assert np.array_equal(mine[numbers].view(np.int32), theirs[numbers].view(np.int32))
        assert np.isnan(theirs[~numbers]).all() if f.has_nan else not np.isnan(theirs).any()
    return mine.size
