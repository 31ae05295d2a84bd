"""A linear layer whose operands are rounded: the one place where training rounds.

A linear layer maps I features of N tokens to O features, and training multiplies three times:

    y [N,O] = x [N,I] · Wᵀ[I,O]      forward
    dx[N,I] = g [N,O] · W [O,I]      gradient of the input;  g = dLoss/dy
    dW[O,I] = gᵀ[O,N] · x [N,I]      gradient of the weight

`recipe.py` says how x, W and g are rounded. Each is rounded once, where it first appears: x and W
in the forward pass, g in the backward pass. The rounded copy then stands in both of its products
(with `grad_weight: false` the third takes x and g as they came). Gradients pass through the
rounding as if it were the identity (`rounding/straight_through.py`). `QuantLinear` is an
`nn.Linear` with another `forward`: same parameters, same names, same state_dict.

In which numbers the products are taken. An operand with one scale s is the format's own numbers q
times s, so s1·s2·(q1·q2) is computed: one scaling per entry of the product instead of one per entry
of each operand. The q are held in bf16 where the run computes in it and the format has up to 7
mantissa bits, which is exact, otherwise in float32 (float64 for formats beyond it); float16 holds
neither the range of most formats nor the sum of a few products of 448 with itself. An operand with
many scales is multiplied as numbers times scales, in the dtype the run computes in.

What is not done, and what that costs:
* Every operand is rounded once. MX hardware needs an operand's blocks along the sum of the product
  it stands in, so it rounds x, W and g a second time, along their other dimension. Here blocks lie
  along the last dimension in both products: y is what such hardware gives, dx and dW are near it.
* Products are summed in float32, bf16's too: the narrower accumulators of some FP8 hardware are not
  simulated, nor is any loss that they would cause.
* Only what goes into a product is rounded to a format: y, dx, dW and the bias are not.
* W is rounded in every forward pass, though it stays the same while gradients are accumulated over
  micro-batches: a pass over the weight each time, but no copy that could be stale.

Counts (`rounding/counts.py`) leave through the gradient of a `probe`, a tensor of zeros with one
line per role: nothing is written during the step, so the same code runs eagerly and compiled, and
nobody waits for the device.
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
from altgrad.quantization.scaling import StatefulScaling

COLUMNS = (*NAMES, "numel", "amax_of_pass")
"""Of the probe: the counts, how many numbers were looked at, and the amax of one micro-batch."""
AMAX, AMAX_OF_PASS = COLUMNS.index("amax"), COLUMNS.index("amax_of_pass")

SAFE_EXPONENT = 40
"""Sums of products of two numbers up to 2^40 stay far below float32's 2^128; E7M0 goes to 2^63, so
its numbers are brought below 1, which is exact."""


class Operand(NamedTuple):
    """A matrix in a product: `values * scale` is meant.

    scale: one number (0-d or [1]); None = 1. counts: float64 [8] as `rounding.NAMES`, or None.
    """

    values: Tensor
    scale: Tensor | None = None
    counts: Tensor | None = None


class Saved(NamedTuple):
    """What the forward pass leaves to the backward pass, in the order of `save_for_backward`."""

    x: Tensor  # [N,I], for dW
    x_scale: Tensor | None
    weight: Tensor  # [O,I], for dx
    weight_scale: Tensor | None
    x_counts: Tensor | None
    weight_counts: Tensor | None


class Rounding:
    """What rounds one role of one layer: its scaling object, its random numbers, its history."""

    def __init__(self, cast: Cast, seed: int, *, native: bool = False) -> None:
        self.cast = cast
        self.scaling: StatefulScaling | None = cast.make_scaling()
        self.one_scale = cast.one_scale
        self.seed = seed
        self.float8 = fp8_products.float8_dtype(cast.format) if native and cast.format else None

    def __call__(self, x: Tensor, dtype: torch.dtype, tick: Tensor, *, count: bool) -> Operand:
        """Round `x` (rows, columns) for products that `dtype` carries.

        Args:
            x: of any floating dtype.
            dtype: what the run computes in; the values may come wider (`code_dtype`).
            tick: 0-d int64, another one in every step: the seed of stochastic rounding.
            count: whether to count what rounding does.
        """
        if self.cast.format is None:
            return Operand(x.to(dtype))
        single = self.one_scale
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
        # 2^32 over the golden ratio: the seeds of two layers meet at no step of a usual run.
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
            for scaling in self.scalings.values():
                scaling.to(self.weight.device)
        return self

    @property
    def scalings(self) -> dict[str, StatefulScaling]:
        """Role -> its scaling, for the roles that have one."""
        return {role: r.scaling for role, r in self.roundings.items() if r.scaling is not None}

    def forward(self, input: Tensor) -> Tensor:
        """(…, I) -> (…, O), in the dtype that a plain linear layer would give."""
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
    """The three products of the top of this file. N tokens, I features in, O features out."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, probe: Tensor, layer: QuantLinear, dtype: torch.dtype
    ) -> Tensor:
        """x [N,I], weight [O,I] -> y [N,O] in `dtype`."""
        count = layer.count and layer.training
        q_x = layer.roundings["input"](x, dtype, layer.tick, count=count)
        q_w = layer.roundings["weight"](weight, dtype, layer.tick, count=count)
        for_dw = q_x if layer.recipe.grad_weight else Operand(x.to(dtype))
        ctx.save_for_backward(
            *Saved(for_dw.values, for_dw.scale, q_w.values, q_w.scale, q_x.counts, q_w.counts)
        )
        ctx.layer, ctx.dtype, ctx.count = layer, dtype, count
        ctx.x_dtype, ctx.weight_dtype = x.dtype, weight.dtype
        ctx.sizes = (weight.numel(), x.numel())
        return multiply(q_x, _transposed(q_w), dtype)  # y[N,O] = x[N,I] · Wᵀ[I,O]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """grad [N,O] -> dx [N,I], dW [O,I], the counts as the probe's gradient."""
        layer, dtype, saved = ctx.layer, ctx.dtype, Saved(*ctx.saved_tensors)
        q_x, q_w = Operand(saved.x, saved.x_scale), Operand(saved.weight, saved.weight_scale)
        q_g = layer.roundings["grad_output"](grad, dtype, layer.tick, count=ctx.count)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = multiply(q_g, q_w, dtype).to(ctx.x_dtype)  # dx[N,I] = g[N,O] · W[O,I]
        if ctx.needs_input_grad[1]:
            for_dw = q_g if layer.recipe.grad_weight else Operand(grad.to(dtype))
            dw = multiply(_transposed(for_dw), q_x, dtype)  # dW[O,I] = gᵀ[O,N] · x[N,I]
            dw = dw.to(ctx.weight_dtype)
        return dx, dw, _collect(ctx, saved, q_g), None, None


def _transposed(a: Operand) -> Operand:
    """A view: nothing is copied."""
    return Operand(a.values.t(), a.scale)


def _collect(ctx: Any, saved: Saved, g: Operand) -> Tensor | None:
    """The probe's gradient (roles, COLUMNS): a role's counts, zeros where nothing was counted."""
    if not ctx.needs_input_grad[2]:
        return None
    probe = ctx.layer.probe
    if not ctx.count:
        return torch.zeros_like(probe)
    lines, sizes = [], []  # a comprehension over several of these stops the tracer
    nothing = probe.new_zeros(len(NAMES), dtype=torch.float64)
    counted = (saved.weight_counts, saved.x_counts, g.counts)  # in the order of ROLES
    for line, size in zip(counted, (*ctx.sizes, g.values.numel()), strict=True):
        lines.append(nothing if line is None else line)
        sizes.append(0 if line is None else size)
    table = torch.stack(lines).float()
    amax, counts = table[:, :1], table[:, 1:]
    looked_at = _looked_at(tuple(sizes), probe.device)
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
    """a (N, K) times b (K, M) with their scales -> (N, M) in `dtype`."""
    if a.values.dtype.itemsize == 1:
        assert a.scale is not None
        assert b.scale is not None
        return fp8_products.scaled_product(a.values, a.scale, b.values, b.scale, dtype)
    product = _product(a.values, b.values)
    # Scaled in float32 at least: a scale rounded to bf16 would change every number of the product.
    wide = torch.promote_types(product.dtype, torch.float32)
    scales = [s.to(wide) for s in (a.scale, b.scale) if s is not None]
    if not scales:
        return in_dtype(product, dtype)
    scale = scales[0] * scales[1] if len(scales) == 2 else scales[0]
    return in_dtype(product.to(wide) * scale, dtype)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a (N, K) times b (K, M) in the wider of both dtypes, whatever autocast would make of it: the
    operands are on their grid, and a cast to autocast's dtype would take them off it."""
    wide = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(wide), b.to(wide)
    if fast_for(a):
        return times_transposed(a, b.t())
    with torch.autocast(a.device.type, enabled=False):
        return a @ b
