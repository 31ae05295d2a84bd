"""A learner's own finished GPT in the experiments of the questions, in the place of altgrad's.

An experiment asks for a model with other settings (`n_kv_head`, `qk_norm`, `mlp`, …). Sizes go into
the learner's GPTConfig; what a learner's file has no setting for is switched from outside: `norm`
is left out where attention or the embedding calls it, tanh where `forward` does, an activation is
put between the MLP's two matrices, a bias into every Linear of the blocks. The file is loaded anew
for each model, so that a switch holds for that one alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from altgrad.learn.harness import harness_of
from altgrad.learn.probes.common import exact_tables
from altgrad.learn.questions.bench import PlainReLU, T
from altgrad.learn.transplant import load_file
from altgrad.model import preset

FIELDS = ("length", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    f"{PlainReLU.__module__}:{PlainReLU.__name__}": F.relu,
}
TRACK = "nanochat"
"""The track whose architecture the questions are about."""
LATER = {"GPT.generate", "GPT.estimate_flops", "GPT.setup_optimizers"}
"""Units that no experiment needs, but `lr-scaling` the last one."""


def units_for(question: str, units: list[str]) -> list[str]:
    """The units that must pass before an experiment can run on a learner's file."""
    own_rates = {"GPT.setup_optimizers"} if question == "lr-scaling" else set()
    return [unit for unit in units if unit not in LATER - own_rates]


@dataclass
class Calls:
    """Where a forward pass is, and what the switched functions did in it."""

    in_attention: bool = False
    before_first: bool = False  # in GPT.forward, no norm called yet
    switched: int = 0
    normed: list[Tensor] = field(default_factory=list)  # what attention's norm gave: q, k, q, …


class OwnModel(nn.Module):
    """The learner's GPT under the names by which the experiments reach into a model."""

    def __init__(self, own: Any, config: Any, calls: Calls):
        super().__init__()
        self.own, self.config, self.calls = own, config, calls

    @property
    def transformer(self) -> Any:
        return self.own.transformer

    @property
    def lm_head(self) -> Any:
        return self.own.lm_head

    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def forward(self, ids: Tensor, targets: Tensor) -> tuple[None, Tensor]:
        return None, self.own(ids, targets)

    def scores(self, ids: Tensor) -> list[Tensor]:
        """q·k/sqrt(D) of every layer, each (B, H, T, T)."""
        self.calls.normed.clear()
        self.own(ids)
        pairs = zip(self.calls.normed[0::2], self.calls.normed[1::2], strict=True)
        return [
            torch.einsum("bthd,bshd->bhts", *_alike(q, k)) / q.size(-1) ** 0.5 for q, k in pairs
        ]


def _alike(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Each key head as often as query heads share it."""
    return q, k.repeat_interleave(q.size(2) // k.size(2), dim=2)


@dataclass(frozen=True)
class Mine:
    """Makes the models of an experiment from a learner's file."""

    path: Path

    def make(self, vocab_size: int, settings: dict[str, Any], seed: int) -> OwnModel:
        """A new model of these settings (names of `altgrad.model`'s).

        Raises ValueError for a switch that finds nothing to switch in the learner's file.
        """
        config = preset(TRACK, vocab_size=vocab_size, **settings)
        namespace, calls = load_file(self.path.read_text(), self.path), Calls()
        _watch_norm(namespace, calls, config)
        if config.logit_softcap is None:
            _leave_out_tanh(namespace, calls)
        harness = harness_of(TRACK)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            own = harness.make(namespace, _sizes(config))
            harness.initialise(own)
        for block in own.transformer.h:
            _change_block(block, config)
        model = OwnModel(own, config, calls)
        self._refuse_idle_switch(model, config)
        return model

    def _refuse_idle_switch(self, model: OwnModel, config: Any) -> None:
        asked = (not config.qk_norm, not config.embedding_norm, config.logit_softcap is None)
        model.own(torch.zeros(1, 2, dtype=torch.long))
        if any(asked) and model.calls.switched == 0:
            what = ("attention does not call norm", "forward does not call norm on the embedding")
            texts = (*what, "forward does not call tanh")
            told = next(text for text, wanted in zip(texts, asked, strict=True) if wanted)
            raise ValueError(f"{self.path}: {told}, so the experiment cannot leave it out")

    def tables(self, model: OwnModel) -> Any:
        """What holds cos and sin, (1, T, 1, D/2), as float32."""
        model.own.cos, model.own.sin = model.own.cos.float(), model.own.sin.float()
        return model.own

    def table_error(self, model: OwnModel) -> float:
        """How far the learner's tables, in whatever they are kept, are from exact ones."""
        own = model.own.cos
        exact, _ = exact_tables(own.size(1), 2 * own.size(-1))
        return (own.double() - exact)[:, :T].abs().max().item()

    def head_rate(self, width: int) -> float:
        """The head's learning rate at this width, by the learner's own setup_optimizers."""
        sizes = {"length": 8, "vocab_size": 16, "n_layer": 1, "n_head": 1, "n_kv_head": 1}
        harness = harness_of(TRACK)
        namespace = load_file(self.path.read_text(), self.path)
        model = harness.make(namespace, sizes | {"n_embd": width})
        groups = [g for o in harness.optimizers(model) for g in o.param_groups]
        head = model.lm_head.weight
        return next(g["lr"] for g in groups if any(p is head for p in g["params"]))


def _sizes(config: Any) -> dict[str, int]:
    return {n: config.block_size if n == "length" else getattr(config, n) for n in FIELDS}


def _watch_norm(namespace: dict[str, Any], calls: Calls, config: Any) -> None:
    """Note what attention's norm gives; leave it out there, or after the embedding, if asked."""
    own, attention, gpt = (namespace[n] for n in ("norm", "CausalSelfAttention", "GPT"))

    def norm(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        first, calls.before_first = calls.before_first, False
        skip = not config.qk_norm if calls.in_attention else first and not config.embedding_norm
        calls.switched += skip
        result = x if skip else own(x, *args, **kwargs)
        if calls.in_attention:
            calls.normed.append(result.detach())
        return result

    namespace["norm"] = norm
    attention.forward = _inside(attention.forward, calls, "in_attention")
    gpt.forward = _inside(gpt.forward, calls, "before_first")


def _inside(forward: Callable[..., Any], calls: Calls, flag: str) -> Callable[..., Any]:
    """While this forward runs the flag is set."""

    def flagged(self: Any, *args: Any, **kwargs: Any) -> Any:
        if flag == "before_first":
            calls.normed.clear()
        setattr(calls, flag, True)
        try:
            return forward(self, *args, **kwargs)
        finally:
            setattr(calls, flag, False)

    return flagged


class _NoTanh(TorchFunctionMode):
    """Inside, tanh(x) is x, however it is written."""

    def __init__(self, calls: Calls):
        super().__init__()
        self.calls = calls

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") == "tanh":
            self.calls.switched += 1
            return args[0]
        return func(*args, **kwargs or {})


def _leave_out_tanh(namespace: dict[str, Any], calls: Calls) -> None:
    forward = namespace["GPT"].forward

    def without(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _NoTanh(calls):
            return forward(self, *args, **kwargs)

    namespace["GPT"].forward = without


def _change_block(block: Any, config: Any) -> None:
    """Another activation, and biases, where the settings ask for them."""
    if activation := ACTIVATIONS.get(config.mlp):
        mlp = block.mlp
        mlp.forward = lambda x: mlp.c_proj(activation(mlp.c_fc(x)))
    if config.bias:
        for linear in (m for m in block.modules() if isinstance(m, nn.Linear)):
            linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features))
