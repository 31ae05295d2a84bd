"""`torch.compile` for a run's network: by region where its layers are alike, else whole.

Compiled whole, a network of equal layers is traced, optimised and turned into C++ layer by layer.
By region (embedding, layer, head with its loss) one layer's graphs serve all of them, and the
Python between them is a call a layer. `benchmarks/compiling.py` measures both.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from altgrad.compiler import trust_instruction_sets
from altgrad.model.gpt import GPT
from altgrad.model.trunk import PLAIN, Regions

GRAPHS_OF_A_LAYER = 4
"""At most, of layers that differ: trained, evaluated, and each at two lengths of text."""


def compile_network(
    model: nn.Module, *, device: torch.device, processes: int = 1, **how: Any
) -> nn.Module:
    """`network(idx, targets) -> (logits, loss)`; compiled at its first call, `how` as for torch.

    Whole stay a class of one's own, whose pieces nobody knows; a network that several processes
    share, whose gradients are exchanged while one graph runs; one of documents; and any on a GPU,
    where nobody has measured what a layer's call costs.
    """
    if device.type == "cpu":
        trust_instruction_sets()
    elsewhere = processes > 1 or device.type != "cpu"
    if elsewhere or type(model) is not GPT or model.config.document_token is not None:
        return cast(nn.Module, torch.compile(model, **how))
    return RegionalGPT(model, **how)


class RegionalGPT(nn.Module):
    """A GPT computed by its compiled regions; the model itself, which samples, stays plain."""

    def __init__(self, model: GPT, **how: Any) -> None:
        super().__init__()
        self.model = model
        self._regions = Regions(
            embed=torch.compile(PLAIN.embed, **how), layer=torch.compile(PLAIN.layer, **how)
        )
        self._predict = torch.compile(predict, **how)
        # Layers that do differ have graphs of their own; beyond its limit torch would run them
        # eagerly, without a word.
        needed = GRAPHS_OF_A_LAYER * len(model.transformer.h)
        limits = torch._dynamo.config
        limits.recompile_limit = max(limits.recompile_limit, needed)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        self.model.check_input(idx, targets)
        hidden = self.model.transformer.body(idx, regions=self._regions)
        return self._predict(self.model, hidden, targets)


def predict(model: GPT, body: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Final norm, head and loss."""
    return model.predicted(model.transformer.ln_f(body), targets)
