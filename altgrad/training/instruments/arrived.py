"""What became of a step on its way into the store: its size, its direction, and where it arrived.

d is the step the optimiser wanted, a the one that the stored weights made, both over the entries of
a weight. With plain or master weights a = d.

    rate   = <a, d> / <d, d>      what a learning rate of 1 was worth
    size   = |a| / |d|            above 1 where few whole spacings are made of many small steps
    cosine = <a, d> / (|a| |d|)   1 = the wanted direction;  rate = size * cosine

Rounding to nearest loses small steps for good, so its rate is what the weights really feel; at
random, where a step arrives with the right odds, the rate is 1 on average at a small cosine. A
scale that follows the largest weight moves all weights a little with it: that is in a, too.
"""

import torch
from torch import Tensor

from altgrad.quantization.convert import plain_layers
from altgrad.quantization.weight_grid import grids_of
from altgrad.runs import Metrics
from altgrad.training.instruments.instrument import COUNTS, RANKS, Context, Instrument, whole
from altgrad.training.instruments.readout import rows_of

BINADES = 8
COLUMNS = 4
"""Sums of a·d, d·d, a·a and w·w."""


class ArrivedUpdates(Instrument):
    """`arrived_rate/NAME`, `arrived_size/NAME`, `arrived_cosine/NAME`, and `…/total` over all
    rounded weights (in a plain run over all linear layers' weights), `binade_rate/BINADE`,
    `binade_step/BINADE`.

    A weight w is in binade b if floor(log2 |w|) is b below that of the largest of its matrix; the
    last one holds all that are smaller still, zeros among them. `binade_step` is |a| / |w|.
    Where nothing was wanted there is no rate and no size, where nothing arrived no cosine.
    """

    when = (COUNTS, RANKS)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.format_changed()

    def format_changed(self) -> None:
        model = self.context.model
        plain = [layer.weight for layer in plain_layers(model).values()]
        looked_at = set(grids_of(model)) or set(plain)
        self.names = {p: n for n, p in model.named_parameters() if p in looked_at}

    @torch.no_grad()
    def moved(self) -> None:
        before, wanted = self.context.weights_before, self.context.wanted
        tables = [
            sums_by_binade(whole(before[p]), whole(wanted.get(p, p)), whole(p))
            for p in self.names
            if p in before
        ]
        names = [n for p, n in self.names.items() if p in before]
        self.context.readout.add(tables, lambda numbers: _named(rows_of(names, numbers)))


def sums_by_binade(before: Tensor, wanted: Tensor, kept: Tensor) -> Tensor:
    """(BINADES, COLUMNS) from three tensors of one shape, in float32."""
    before, wanted, kept = (x.detach().float().flatten() for x in (before, wanted, kept))
    a, d = kept - before, wanted - before
    exponents = torch.frexp(before)[1]
    depth = (torch.frexp(before.abs().amax())[1] - exponents).clamp(0, BINADES - 1)
    depth = torch.where(before == 0, BINADES - 1, depth).long()
    products = torch.stack([a * d, d * d, a * a, before * before], dim=1)
    return products.new_zeros(BINADES, COLUMNS).index_add_(0, depth, products)


def _named(tables: dict[str, list[float]]) -> Metrics:
    found: Metrics = {}
    binades = [[0.0] * COLUMNS for _ in range(BINADES)]
    for name, numbers in tables.items():
        rows = [numbers[i * COLUMNS : (i + 1) * COLUMNS] for i in range(BINADES)]
        found |= _arrived(name, _added(rows))
        binades = [_added(pair) for pair in zip(binades, rows, strict=True)]
    found |= _arrived("total", _added(binades))
    for depth, (ad, dd, aa, ww) in enumerate(binades):
        found |= {f"binade_rate/{depth}": ad / dd} if dd > 0 else {}
        found |= {f"binade_step/{depth}": (aa / ww) ** 0.5} if ww > 0 else {}
    return found


def _arrived(name: str, sums: list[float]) -> Metrics:
    ad, dd, aa, _ = sums
    found: Metrics = {}
    if dd > 0:
        found |= {f"arrived_rate/{name}": ad / dd, f"arrived_size/{name}": (aa / dd) ** 0.5}
    if dd > 0 and aa > 0:
        found[f"arrived_cosine/{name}"] = ad / (aa * dd) ** 0.5
    return found


def _added(rows: "list[list[float]] | tuple[list[float], list[float]]") -> list[float]:
    return [sum(column) for column in zip(*rows, strict=True)]
