"""Starting from another run's weights: the settings, and what is taken over from that run."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from altgrad.model.config import GPTConfig
from altgrad.settings import ConfigError, require, require_choice

METHODS = ("none", "lora", "dora")
BASES = ("float", "nf4", "int4")
TARGETS = ["c_q", "c_k", "c_v", "c_proj", "c_fc", "c_gate"]
FREE = ("dropout", "attention_backend", "init", "document_token")
"""Model settings that may differ from the base's: the same weights fit, and of one text alone the
network computes the same."""


@dataclass
class FinetuneConfig:
    """Settings `finetune.*`; they need `init_from`."""

    name: str = "none"
    """The method: none (all weights learn), lora or dora."""
    r: int = 8
    """Rank of the adapters."""
    alpha: float | None = None
    """Scale of the adapters; null is 2·r."""
    dropout: float = 0.0
    """Dropout on the adapters' input."""
    targets: list[str] = field(default_factory=lambda: list(TARGETS))
    """Names of the Linears that get an adapter."""
    base: str = "float"
    """Form of the weights that do not learn: float, nf4 (bitsandbytes) or int4 (torchao)."""
    base_sha256: str | None = None
    """SHA-256 of the base's weights; filled in when the run starts."""

    def __post_init__(self) -> None:
        require_choice(self.name, METHODS, "finetune.name")
        require_choice(self.base, BASES, "finetune.base")
        require(self.r >= 1, f"finetune.r={self.r} must be at least 1.")
        require(0 <= self.dropout < 1, f"finetune.dropout={self.dropout} must be in [0, 1).")
        require(
            self.name != "none" or self.base == "float",
            f"finetune.base={self.base} cannot learn by itself; add finetune=lora.",
        )


def check_start(config: Any) -> None:
    """Whether the run has what its fine-tuning needs. Takes a `TrainConfig`.

    Raises:
        ConfigError: no base, or a way of sharing the work that adapters do not know.
    """
    name = config.finetune.name
    require(
        name == "none" or config.init_from is not None,
        f"finetune={name} needs the run to start from: init_from=RUN.",
    )
    require(
        name == "none" or config.strategy != "fsdp",
        f"finetune={name} with strategy=fsdp is not possible; use strategy=ddp.",
    )
    require(
        name == "none" or not config.precision.simulate,
        f"finetune={name} with rounded products (precision.simulate=true) is not possible: merging "
        "would round W + BA as one, another network than was trained; use precision=auto, or "
        "finetune=none.",
    )
    require(
        config.finetune.base == "float" or not config.compile,
        f"finetune.base={config.finetune.base} is unpacked by code that does not compile; "
        "leave compile=true out.",
    )


def inherit(values: dict[str, Any], base: dict[str, Any], typed: Iterable[str]) -> dict[str, Any]:
    """`values` with the base run's network and tokenizer, but for what was `typed`.

    Both are composed settings as nested dicts; `typed` are the names on the command line.
    """
    typed = set(typed)
    if "model" in typed:
        return values
    model = {
        name: values["model"][name] if f"model.{name}" in typed else base["model"][name]
        for name in values["model"]
    }
    data = dict(values["data"])
    if "data.tokenizer" not in typed:
        data["tokenizer"] = base["data"]["tokenizer"]
    return {**values, "model": model, "data": data}


def check_same_network(config: GPTConfig, base: GPTConfig, run: str) -> None:
    """Raises ConfigError where the settings describe another network than the base's."""
    ours, theirs = asdict(config.resolved()), asdict(base.resolved())
    for name, value in ours.items():
        follows = name == "vocab_size" and value is None
        if name not in FREE and not follows and value != theirs[name]:
            raise ConfigError(
                f"model.{name}={value}, but init_from={run} has {theirs[name]}; leave the model's "
                "settings out, they are taken over."
            )


def check_same_tokens(ours: dict[str, Any] | None, theirs: dict[str, Any], run: str) -> None:
    """Raises ConfigError where the data was cut with another tokenizer than the base's."""
    if ours is None or ours == theirs:
        return
    raise ConfigError(
        f"the data is cut with the tokenizer {_shown(ours)}, init_from={run} reads "
        f"{_shown(theirs)}; leave data.tokenizer out: it is taken over from there."
    )


def _shown(identity: dict[str, Any]) -> str:
    vocabulary = identity.get("vocabulary")
    return f"{identity['name']} ({len(vocabulary)} characters)" if vocabulary else identity["name"]
