"""A whole class of one's own, `model.network=my_gpt:GPT`, in nanoGPT's or nanochat's form.

    @dataclass
    class GPTConfig: ...                         its sizes, block_size or sequence_len among them
    class GPT(nn.Module):
        def __init__(self, config): ...          from a GPTConfig of the same file
        def init_weights(self): ...              optional: called after the constructor
        def forward(self, idx, targets=None, kv_cache=None): ...

    nanoGPT    forward gives (logits, loss); loss is None without targets
    nanochat   forward gives the logits without targets, and with them the loss alone

This file makes the class's own config and model and says what does not fit; `own_gpt.py` makes of
it a network that is used like every other.
"""

import inspect
import sys
import traceback
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from altgrad.model.config import GPTConfig
from altgrad.model.contract import takes
from altgrad.outside import load_outside

NANOGPT, NANOCHAT = "nanogpt", "nanochat"
OTHER_NAMES = {"sequence_len": "block_size"}
"""Size in nanochat's config -> the same one in ours."""

CONFIG_LINES = (
    "`@dataclass`, `class GPTConfig:`, `block_size: int = 256`, `vocab_size: int = 65`, "
    "`n_layer: int = 3`, `n_head: int = 4`, `n_embd: int = 128`"
)
FORWARD_LINE = "`def forward(self, idx, targets=None, kv_cache=None):`"
RETURN_LINES = (
    "let forward return (logits, loss), with `return logits, None` where targets is None, or "
    "`return logits` there and `return loss` with targets; logits are [B, T, V]"
)


def check_network(config: GPTConfig) -> None:
    """Raises ValueError, in one line with the lines to add, for a class that cannot be used."""
    own_class(config)
    read_by(config)


def own_class(config: GPTConfig) -> type[nn.Module]:
    """The class that `config.network` names, once its signatures fit."""
    name = config.network
    found = load_outside(name, setting="model.network")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"model.network={name} is not a subclass of torch.nn.Module")
    missing = []
    if not takes(found, "__init__", "config"):
        missing.append("`def __init__(self, config):`")
    if not takes(found, "forward", "idx, targets"):
        missing.append(FORWARD_LINE)
    if missing:
        raise ValueError(f"model.network={name} does not fit: write {' and '.join(missing)}")
    return found


def _config_class(name: str, found: type[nn.Module]) -> Any:
    """The annotation of `config`, else the `GPTConfig` of its file."""
    said = list(inspect.signature(found.__init__).parameters.values())[1].annotation
    beside = getattr(sys.modules.get(found.__module__), "GPTConfig", None)
    made = said if is_dataclass(said) else beside
    if not isinstance(made, type):
        raise ValueError(
            f"model.network={name}: its file has no GPTConfig to make it from; add {CONFIG_LINES}"
        )
    return made


def read_by(config: GPTConfig) -> dict[str, str]:
    """Field of the class's own config -> field of ours that is written into it."""
    made = _config_class(config.network, own_class(config))
    named = list(inspect.signature(made).parameters)
    ours = set(GPTConfig.__dataclass_fields__)
    found = {n: OTHER_NAMES.get(n, n) for n in named if OTHER_NAMES.get(n, n) in ours}
    missing = [n for n in ("vocab_size", "block_size", "n_layer", "n_embd")
               if n not in found.values()]  # fmt: skip
    if missing:
        lines = ", ".join(f"`{n}: int = {getattr(GPTConfig(), n) or 65}`" for n in missing)
        raise ValueError(
            f"model.network={config.network}: its {made.__name__} takes no "
            f"{', '.join(missing)}; add {lines} (a field without a type is none)"
        )
    return found


def make_own(config: GPTConfig) -> nn.Module:
    """The class's own model, with weights as its own `init_weights` sets them.

    config: resolved. Random draws come from torch's global stream.

    Raises:
        ValueError: it does not fit, or its code fails; where, in one line.
    """
    found, name = own_class(config), config.network
    fields = read_by(config)
    try:
        own = found(
            _config_class(name, found)(**{n: getattr(config, of) for n, of in fields.items()})
        )
        if callable(getattr(own, "init_weights", None)):
            own.init_weights()  # type: ignore[operator]
    except Exception as error:
        raise ValueError(f"model.network={name} cannot be built: {said_of(error)}") from error
    return own


@torch.no_grad()
def form_of(own: nn.Module, config: GPTConfig) -> str:
    """Which of the two forms `forward` has, from what it gives for two tokens.

    Raises:
        ValueError: neither; with the lines to write.
    """
    name = f"model.network={config.network}"
    device = next(own.parameters()).device
    ids = torch.zeros(1, min(2, config.block_size), dtype=torch.long, device=device)
    was_training = own.training
    own.eval()
    try:
        alone, taught = own(ids), own(ids, ids)
    except Exception as error:
        raise ValueError(f"{name}: forward fails on two tokens: {said_of(error)}") from error
    finally:
        own.train(was_training)
    logits, loss = alone, taught
    form = NANOCHAT
    if isinstance(taught, tuple) and len(taught) == 2:
        form, (logits, loss) = NANOGPT, taught
    fits = isinstance(loss, Tensor) and loss.dim() == 0 and isinstance(logits, Tensor)
    if not fits or list(logits.shape) != [1, ids.size(1), config.vocab_size]:
        raise ValueError(
            f"{name}: forward(idx) gives {_shape(alone)} and forward(idx, targets) "
            f"{_shape(taught)}; {RETURN_LINES}"
        )
    return form


def _shape(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_shape(v) for v in value)})"
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def said_of(error: BaseException) -> str:
    """`NotImplementedError: norm (my_gpt.py, line 31)`: the last line that is not torch's."""
    said = " ".join(str(error).split())
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in f.filename and Path(f.filename).is_file()
    ]
    last = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {said}{last}"
