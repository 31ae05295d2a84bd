"""A linear layer whose operands are rounded: the one place where training rounds.

Open this with `recipe.py` beside it, which says which product uses what. `QuantLinear` is an
`nn.Linear` with another `forward`: same parameters, same names, same state_dict.

Operands with one scale per tensor are multiplied as the format's own numbers and the product is
scaled once. They are held in bf16 where the run computes in it and the format has up to 7 mantissa
bits, which is exact, otherwise in float32 (float64 for formats beyond it): float16 holds neither
the range of most formats nor the sum of a few products of 448 with itself. Other operands are
multiplied as numbers times scales, in the dtype the run computes in.

Counts (`counts.py`) leave through the gradient of a `probe`, a tensor of zeros with one line per
role: nothing is written during the step, so the same code runs eagerly and compiled, and nobody
waits for the device. What is not done: blocks along each product's own contraction (hardware MX
rounds operands twice, once along each dimension; here every operand is rounded once).
"""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altgrad.quantization import fp8_products
from altgrad.quantization.formats import Format
from altgrad.quantization.fp32_products import fast_for, times_transposed
from altgrad.quantization.recipe import ROLES, Cast, LayerRecipe
from altgrad.quantization.rounding import NAMES, Stochastic, in_dtype, round_values, working_dtype
from altgrad.quantization.scaling import Delayed, scaling_of

COLUMNS = (*NAMES, "numel", "amax_of_pass")
"""Of the probe: the counts, how many numbers were looked at, and the amax of one micro-batch."""
AMAX, AMAX_OF_PASS = COLUMNS.index("amax"), COLUMNS.index("amax_of_pass")


SAFE_EXPONENT = 40
"""Sums of products of two numbers up to 2^40 stay far below float32's 2^128; E7M0 goes to 2^63, so
its numbers are brought below 1, which is exact."""


class Operand(NamedTuple):
    """A rounded operand: `values * scale` is meant; `scale` None = 1, else one number.

    counts: in the order of counts.NAMES, or None.
    """

    values: Tensor
    scale: Tensor | None
    counts: Tensor | None


class Rounding:
    """What rounds one role of one layer: its scaling object, its random numbers, its history."""

    def __init__(self, cast: Cast, seed: int, *, native: bool = False) -> None:
        self.cast = cast
        self.scaling = scaling_of(cast)
        self.seed = seed
        self.float8 = fp8_products.float8_dtype(cast.format) if native and cast.format else None

    def __call__(self, x: Tensor, dtype: torch.dtype, tick: Tensor, *, count: bool) -> Operand:
        """Round `x`; the values come back in `dtype`. `tick` changes from step to step."""
        if self.cast.format is None:
            return Operand(x.to(dtype), None, None)
        single = self.cast.one_scale
        held = code_dtype(self.cast.format, dtype) if single else dtype
        rounded = round_values(
            x.to(torch.promote_types(x.dtype, held)) if single else x,
            self.cast.format,
            scaling=self.scaling,
            rounding=self._mode(tick),
            overflow=self.cast.overflow,
            unscaled=single,
            out_dtype=held if single else None,
            count_by="tensor" if count else None,
        )
        counts = None if rounded.stats is None else rounded.stats.table.view(-1)
        values = rounded.values.to(self.float8 or held)
        return self._operand(values, rounded.scale if single else None, counts)

    def _mode(self, tick: Tensor) -> str | Stochastic:
        if self.cast.rounding != "stochastic":
            return self.cast.rounding
        return Stochastic(seed=tick * 0x9E3779B1 + self.seed)

    def _operand(self, values: Tensor, scale: Tensor | None, counts: Tensor | None) -> Operand:
        assert self.cast.format is not None
        wide = self.cast.format.max_exponent
        if scale is None or wide <= SAFE_EXPONENT or values.dtype == torch.float64:
            return Operand(values, scale, counts)
        return Operand(values * 2.0**-wide, scale * 2.0**wide, counts)


class QuantLinear(nn.Linear):
    """`nn.Linear` with rounded operands. Made by `convert.apply_recipe`, never by hand.

    Attributes (none of them in the state_dict):
        recipe: what is rounded how. roundings: role -> `Rounding`.
        tick: 0-d int64, the number of training steps; seeds stochastic rounding.
        probe: (roles, COLUMNS) zeros whose gradient collects the counts of a step.
        rounding_enabled: false computes as a plain linear layer would.
        count: whether statistics are collected. plain: what the layer was before.
    """

    recipe: LayerRecipe
    roundings: dict[str, Rounding]
    tick: Tensor
    probe: Tensor
    rounding_enabled: bool
    count: bool
    plain: type[nn.Linear]

    def place(self) -> None:
        """Make the tensors that are not in the state_dict, on the weight's device."""
        device = self.weight.device
        self.tick = torch.zeros((), dtype=torch.int64, device=device)
        self.probe = torch.zeros(len(ROLES), len(COLUMNS), device=device, requires_grad=True)
        self.probe.register_post_accumulate_grad_hook(_keep_largest)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy of a tensor has no hooks."""
        super().__setstate__(state)
        self.probe.register_post_accumulate_grad_hook(_keep_largest)

    def _apply(self, fn: Any, recurse: bool = True) -> "QuantLinear":
        """Follow the weight to another device; the counts stay float32."""
        super()._apply(fn, recurse)
        if self.probe.device != self.weight.device:
            tick = self.tick
            self.place()
            self.tick.copy_(tick)
            for rounding in self.roundings.values():
                if isinstance(rounding.scaling, Delayed):
                    rounding.scaling.to(self.weight.device)
        return self

    def forward(self, input: Tensor) -> Tensor:
        if not self.rounding_enabled:
            return super().forward(input)
        dtype = _compute_dtype(input)
        flat = input.reshape(-1, input.shape[-1])
        product = _RoundedProduct.apply(flat, self.weight, self.probe, self, dtype)
        y = product.view(*input.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias.to(dtype)


def _keep_largest(probe: Tensor) -> None:
    """Gradients add up over micro-batches; of amax the largest is wanted."""
    assert probe.grad is not None
    largest, newest = probe.grad[:, AMAX], probe.grad[:, AMAX_OF_PASS]
    torch.maximum(largest, newest, out=largest)
    newest.zero_()


def code_dtype(f: Format, compute: torch.dtype) -> torch.dtype:
    """In which the numbers of `f` are multiplied, exactly and without overflow, in a run that
    computes in `compute`."""
    wide = working_dtype(f, compute)
    narrow = compute == torch.bfloat16 and f.mantissa_bits <= 7 and f.bottom_spacing >= 2.0**-133
    return compute if narrow and wide == torch.float32 else wide


def _compute_dtype(x: Tensor) -> torch.dtype:
    """What a plain linear layer would compute in here."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class _RoundedProduct(torch.autograd.Function):
    """x (N, C_in), W (C_out, C_in) -> x Wᵀ (N, C_out) with the operands rounded."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, probe: Tensor, layer: QuantLinear, dtype: torch.dtype
    ) -> Tensor:
        count = layer.count and layer.training
        a = layer.roundings["input"](x, dtype, layer.tick, count=count)
        b = layer.roundings["weight"](weight, dtype, layer.tick, count=count)
        keep = a if layer.recipe.grad_weight else Operand(x.to(dtype), None, a.counts)
        scales = [s for s in (keep.scale, b.scale) if s is not None]
        ctx.save_for_backward(keep.values, b.values, *scales, *_tables(a, b))
        ctx.layer, ctx.dtype, ctx.count = layer, dtype, count
        ctx.has_scale = (keep.scale is not None, b.scale is not None)
        ctx.has_counts = (a.counts is not None, b.counts is not None)
        ctx.types = (x.dtype, weight.dtype)
        ctx.sizes = (x.numel(), weight.numel())
        return multiply(a, Operand(b.values.t(), b.scale, None), dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layer, rest = ctx.layer, list(ctx.saved_tensors)
        a_values, b_values = rest.pop(0), rest.pop(0)
        a_scale = rest.pop(0) if ctx.has_scale[0] else None
        b_scale = rest.pop(0) if ctx.has_scale[1] else None
        g = layer.roundings["grad_output"](grad, ctx.dtype, layer.tick, count=ctx.count)
        plain = g if layer.recipe.grad_weight else Operand(grad.to(ctx.dtype), None, None)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = multiply(g, Operand(b_values, b_scale, None), ctx.dtype).to(ctx.types[0])
        if ctx.needs_input_grad[1]:
            g_t = Operand(plain.values.t(), plain.scale, None)
            dw = multiply(g_t, Operand(a_values, a_scale, None), ctx.dtype).to(ctx.types[1])
        return dx, dw, _collect(ctx, rest, g, layer), None, None


def _tables(a: Operand, b: Operand) -> list[Tensor]:
    return [table for table in (a.counts, b.counts) if table is not None]


def _collect(ctx: Any, tables: list[Tensor], g: Operand, layer: QuantLinear) -> Tensor | None:
    """The probe's gradient: a line of counts per role, zeros where nothing was counted."""
    if not ctx.needs_input_grad[2]:
        return None
    if not ctx.count:
        return torch.zeros_like(layer.probe)
    input_counts = tables.pop(0) if ctx.has_counts[0] else None
    weight_counts = tables.pop(0) if ctx.has_counts[1] else None
    lines, sizes = [], []  # a comprehension over several of these stops the tracer
    sources = ((weight_counts, 1), (input_counts, 0), (g.counts, 2))
    nothing = layer.probe.new_zeros(len(NAMES), dtype=torch.float64)
    for line, which in sources:
        lines.append(nothing if line is None else line)
        sizes.append(0 if line is None else (*ctx.sizes, g.values.numel())[which])
    table = torch.stack(lines).float()
    amax, counts = table[:, :1], table[:, 1:]
    looked_at = _looked_at(tuple(sizes), layer.probe.device)
    return torch.cat([torch.zeros_like(amax), counts, looked_at, amax], 1)


def _looked_at(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """A column of the probe: how many numbers."""
    if torch.compiler.is_compiling():  # the tracer sees through caches and complains
        return _new_sizes(sizes, device)
    return _remembered_sizes(sizes, device)


def _new_sizes(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(sizes, dtype=torch.float32, device=device)[:, None]


_remembered_sizes = lru_cache(maxsize=1024)(_new_sizes)


def multiply(a: Operand, b: Operand, dtype: torch.dtype) -> Tensor:
    """a (N, K) times b (K, M) with their scales, in `dtype`."""
    if a.values.dtype.itemsize == 1:
        assert a.scale is not None
        assert b.scale is not None
        return fp8_products.scaled_product(a.values, a.scale, b.values, b.scale, dtype)
    product = _product(a.values, b.values)
    # In float32 at least: a scale rounded to bf16 would change every number of the product.
    wide = torch.promote_types(product.dtype, torch.float32)
    scales = [s.to(wide) for s in (a.scale, b.scale) if s is not None]
    if not scales:
        return in_dtype(product, dtype)
    scale = scales[0] * scales[1] if len(scales) == 2 else scales[0]
    return in_dtype(product.to(wide) * scale, dtype)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """In the wider of both dtypes, whatever autocast would make of it."""
    wide = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(wide), b.to(wide)
    if fast_for(a):
        return times_transposed(a, b.t())
    with torch.autocast(a.device.type, enabled=False):
        return a @ b
