"""A whole class of one's own (`whole.py`) as a network like every other.

The class's model does the computing; this one shares its tables of parameters, buffers and modules,
so that weights are saved, rounded, counted and shown under the names that the class gave them.
"""

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from altgrad.model.cache import KVCache
from altgrad.model.config import GPTConfig, known
from altgrad.model.gpt import GPT, IGNORE_INDEX, network_of
from altgrad.model.init import draw_seed, own_random_stream
from altgrad.model.whole import NANOCHAT, form_of, make_own, own_class, said_of

SHARED = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
SETUPS = ("setup_optimizers", "configure_optimizers")
RATES = {
    "unembedding_lr": "head_lr",
    "embedding_lr": "embedding_lr",
    "matrix_lr": "matrix_lr",
    "learning_rate": "lr",
    "weight_decay": "weight_decay",
    "betas": "betas",
}
"""Argument of a class's own optimiser setup -> the setting it is given, where that is not null."""


class OwnGPT(GPT):
    """`GPT(config)` with `config.network=my_gpt:GPT`.

    A class in nanochat's form gives no logits together with a loss: they are None then. Without a
    KV cache in its `forward`, sampling computes each window anew.
    """

    own: Any

    def __init__(self, config: GPTConfig, generator: torch.Generator | None = None):
        nn.Module.__init__(self)
        self.config, seed = self._begin(config, generator)
        with own_random_stream(seed):
            own = make_own(self.config)
            self._share(own)
            self.form = "" if self._is_meta() else form_of(own, self.config)
        self._takes = frozenset(inspect.signature(own.forward).parameters)

    def _share(self, own: nn.Module) -> None:
        self.__dict__["own"] = own  # past torch: as a submodule it would rename every weight
        for table in SHARED:
            self.__dict__[table] = own.__dict__[table]

    def _is_meta(self) -> bool:
        """Built only to be counted: forward may not know that device."""
        return next(self.parameters()).is_meta

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Set every parameter anew, by the class's own `init_weights`."""
        self.origin = seed = draw_seed(generator)
        with own_random_stream(seed):
            try:
                self.own.init_weights()
            except Exception as error:
                name = self.config.network
                raise ValueError(f"model.network={name}: init_weights: {said_of(error)}") from error

    def train(self, mode: bool = True) -> "OwnGPT":
        self.own.train(mode)
        return super().train(mode)

    def forward(
        self,
        idx: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"] | None = None,
        kv_cache: KVCache | None = None,
        *,
        loss_reduction: str = "mean",
    ) -> Any:
        """As `GPT.forward`; the loss is the class's own, but where it knows the mean alone."""
        self.check_input(idx, targets, kv_cache, loss_reduction)
        if targets is None:
            return self._logits(idx, kv_cache), None
        idx, targets = _plain(idx), _plain(targets)
        how: dict[str, Any] = {"kv_cache": kv_cache} if "kv_cache" in self._takes else {}
        if "loss_reduction" in self._takes:
            how["loss_reduction"] = loss_reduction
        elif loss_reduction != "mean":
            logits = self._logits(idx, kv_cache)
            loss = F.cross_entropy(
                logits.flatten(0, 1),
                targets.flatten(),
                ignore_index=IGNORE_INDEX,
                reduction=loss_reduction,
            )
            return logits, loss
        given = self.own(idx, targets, **how)
        if self._form() == NANOCHAT:
            return None, given
        return self.head(given[0]), given[1]

    def hidden(self, idx: Int[Tensor, "B T"], kv_cache: KVCache | None = None) -> Tensor:
        """The logits already: what lies before the class's own head is the class's own affair."""
        return self._logits(idx, kv_cache)

    def head(self, x: Float[Tensor, "B T V"]) -> Float[Tensor, "B T V"]:
        return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x

    def _logits(self, idx: Tensor, kv_cache: KVCache | None) -> Tensor:
        """Of every position: nanoGPT itself gives those of the last alone, but with targets."""
        how = {"kv_cache": kv_cache} if "kv_cache" in self._takes else {}
        idx = _plain(idx)
        if self._form() == NANOCHAT:
            return self.head(self.own(idx, **how))
        return self.head(self.own(idx, idx, **how)[0])

    def _form(self) -> str:
        if not self.form:
            self.form = form_of(self.own, self.config)
        return self.form

    # -- what a run asks of a network -----------------------------------------------------------

    def own_optimizers(self, settings: Any) -> list[Optimizer]:
        """Those of the class's own setup; its arguments are settings `optim.*` that are not null.

        Raises:
            ValueError: it has none, or it fails.
        """
        name = f"model.network={self.config.network}"
        setup = setup_of(self.own)
        if setup is None:
            raise ValueError(
                f"optim.name=own: {name} has no {' or '.join(SETUPS)}; add `def "
                "setup_optimizers(self, weight_decay=0.0):` that returns a list of optimisers, "
                "or choose optim=muon or optim=adamw"
            )
        named = inspect.signature(setup).parameters
        how = {n: getattr(settings, of) for n, of in RATES.items() if n in named}
        how = {n: tuple(v) if n == "betas" else v for n, v in how.items() if v is not None}
        if "device_type" in named:
            how["device_type"] = next(self.parameters()).device.type
        try:
            made = setup(**how)
        except Exception as error:
            raise ValueError(f"optim.name=own: {name}: {said_of(error)}") from error
        return list(made) if isinstance(made, list | tuple) else [made]

    def num_parameters(self, *, exclude_positions: bool = False) -> int:
        positions = sum(p.numel() for n, p in self.named_parameters() if "wpe" in n.split("."))
        total = sum(p.numel() for p in self.parameters())
        return total - positions if exclude_positions else total

    def estimate_flops(self) -> int:
        """Counted as for other networks (`size.py`), so that runs compare; the class is not asked.

        A table that is a head, too, multiplies.
        """
        tables = {m.weight for m in self.modules() if isinstance(m, nn.Embedding)}
        others = (m for m in self.modules() if not isinstance(m, nn.Embedding))
        used = {p for m in others for p in m.parameters(recurse=False)}
        weights = sum(p.numel() for p in set(self.parameters()) - (tables - used))
        c = self.config
        return 6 * weights + 12 * c.n_head * known(c.head_dim) * c.n_layer * c.block_size


def setup_of(own: Any) -> Any:
    """The optimiser setup of a class or its model; None without one."""
    return next((getattr(own, s) for s in SETUPS if hasattr(own, s)), None)


def read_by_setup(config: GPTConfig) -> set[str]:
    """Settings `optim.*` that the class's own optimiser setup names among its arguments.

    Raises:
        ValueError: the class cannot be used, or has no setup.
    """
    setup = setup_of(own_class(config))
    if setup is None:
        raise ValueError(f"model.network={config.network} has no {' or '.join(SETUPS)}")
    named = inspect.signature(setup).parameters
    return {of for n, of in RATES.items() if n in named}


def _plain(ids: Tensor) -> Tensor:
    """int64 in one piece: `view(-1)` in somebody's forward takes nothing else."""
    return ids.long().contiguous()


network_of["own"] = OwnGPT
