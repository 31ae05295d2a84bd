"""`TrainConfig`: every setting of one run, composed of the groups that live beside what they set.

A config can be made from nested groups (`TrainConfig(model=GPTConfig(...))`), from a nested dict
(`TrainConfig.from_dict`), or from the flat names that users of small GPTs already type
(`TrainConfig(n_layer=2, learning_rate=1e-3)`). A flat name is the same setting as its nested twin:
`config.learning_rate` *is* `config.optim.lr`.
"""

import dataclasses
from dataclasses import dataclass, field, fields
from typing import Any

from altgrad.data import DataConfig
from altgrad.model.config import GPTConfig
from altgrad.optim import OptimConfig, ScheduleConfig
from altgrad.quantization.recipe import PrecisionConfig
from altgrad.settings import (
    ConfigError,
    coerce,
    coerce_field,
    from_dict,
    get_setting,
    hints,
    refuse_unknown,
    require,
    require_choice,
    setting_names,
)
from altgrad.training.finetune import FinetuneConfig
from altgrad.training.health import FaultConfig, GuardConfig
from altgrad.training.instruments import DiagnosticsConfig, ShadowConfig
from altgrad.training.trackers import TrackerConfig

FLAT_NAMES = {
    "n_layer": "model.n_layer",
    "n_head": "model.n_head",
    "n_embd": "model.n_embd",
    "block_size": "model.block_size",
    "vocab_size": "model.vocab_size",
    "dropout": "model.dropout",
    "batch_size": "data.batch_size",
    "learning_rate": "optim.lr",
    "weight_decay": "optim.weight_decay",
    "grad_clip": "optim.grad_clip",
    "warmup_steps": "schedule.warmup_steps",
    "nan_patience": "guards.nan_patience",
    "bit_stall_threshold": "guards.bit_stall_threshold",
    "overflow_threshold": "guards.overflow_threshold",
    "dead_neuron_threshold": "diagnostics.dead_neuron_threshold",
    "dead_neuron_window": "diagnostics.dead_neuron_window",
    "use_shadow": "shadow.enabled",
    "use_fp8": "precision.simulate",
    "fp8_format": "precision.format",
    "project": "tracker.project",
}
"""Flat name -> the one setting it means."""

COMPUTE = ("auto", "32-true", "bf16-mixed", "bf16-true", "16-mixed")
STRATEGIES = ("auto", "ddp", "fsdp")


@dataclass(init=False)
class TrainConfig:
    """One run, completely described. Frequencies are in steps, -1 = off."""

    model: GPTConfig = field(default_factory=GPTConfig)
    """The network."""
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    """Which numbers are rounded, and how."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """How the weights move."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """The learning rate over time."""
    data: DataConfig = field(default_factory=DataConfig)
    """Text, tokens and batches."""
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    """Experiment trackers beside the run folder."""
    guards: GuardConfig = field(default_factory=GuardConfig)
    """When to warn and when to stop."""
    shadow: ShadowConfig = field(default_factory=ShadowConfig)
    """The FP32 twin of a rounded run."""
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    """What is measured inside the network."""
    faults: FaultConfig = field(default_factory=FaultConfig)
    """Faults put in on purpose, to see that they are noticed."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """Adapters on a frozen base."""
    max_steps: int = 1000
    """Number of optimiser steps."""
    seed: int = 1337
    """Seeds initialisation, data order and dropout, each with its own generator."""
    compile: bool | None = False
    """Compile the network with `torch.compile`; null = if the machine can (a C++ compiler and
    Python's headers, or a GPU)."""
    device: str = "auto"
    """Where the run computes: auto, cpu, cuda, cuda:1 or mps; auto takes an accelerator if there is
    one."""
    devices: int = 1
    """Number of processes that share the work, under `torchrun` those of all machines. It may go
    on with others: a step reads `devices` times `accumulation` micro-batches, whoever does it."""
    strategy: str = "auto"
    """How several processes share the work: auto, ddp or fsdp."""
    accumulation: int = 1
    """Micro-batches per optimiser step; the batch is `accumulation` times larger."""
    eval_interval: int = 100
    """Evaluate the validation split every so many steps, and at the end; -1 = never."""
    eval_tokens: int | None = None
    """Evaluate so many tokens, the first of the validation split, the same at every evaluation and
    in every arm; null = the whole split."""
    eval_unrounded: bool = False
    """Of a rounded run, evaluate the same weights without rounding, too (`val_loss_unrounded`):
    another evaluation each time."""
    checkpoint_interval: int = -1
    """Save every so many steps, -1 = off; the end and the best are saved regardless."""
    checkpoint_minutes: float = 10.0
    """Save when so many minutes have passed since the last save; -1 = off."""
    checkpoint_background: bool = True
    """Write checkpoints in a thread, so that the step waits for a copy of the state only."""
    log_interval: int = 1
    """Write a line of metrics every so many steps."""
    max_checkpoints: int = 2
    """Recent checkpoints kept, beside the best."""
    sample_tokens: int = 0
    """Length of the text written at each evaluation, in tokens; 0 = none."""
    sample_prompts: list[str] = field(default_factory=lambda: ["\n"])
    """What each evaluation writes on from, one text for each, with the same seed."""
    init_from: str | None = None
    """A run whose weights this one starts from; its model settings are taken over."""
    run_dir: str | None = None
    """The run's folder; null makes a new one below `runs/`."""
    checkpoint_dir: str | None = None
    """Where checkpoints go; null means `checkpoints/` in the run's folder."""

    def __init__(self, **settings: Any) -> None:
        for f in fields(self):
            default = f.default_factory() if callable(f.default_factory) else f.default
            object.__setattr__(self, f.name, default)
        kinds = hints(type(self))
        for name in settings:
            refuse_unknown(name, [*kinds, *FLAT_NAMES])
        for name in (n for n in settings if n in kinds):
            object.__setattr__(self, name, coerce(settings[name], kinds[name], name))
        flat = {FLAT_NAMES[n]: value for n, value in settings.items() if n not in kinds}
        self._replace(flat)
        self._seed_model()
        self.validate()

    def _seed_model(self) -> None:
        """`GPT(config.model)` draws the weights that a run of these settings starts from."""
        object.__setattr__(self, "model", self.model.seeded(self.seed))

    def _replace(self, changes: dict[str, Any]) -> None:
        """Set full names; each group is built anew, so that it checks itself as a whole."""
        for group in {name.partition(".")[0] for name in changes}:
            old = getattr(self, group)
            inside = {
                n.partition(".")[2]: v for n, v in changes.items() if n.startswith(f"{group}.")
            }
            new = {n: coerce_field(type(old), n, v, f"{group}.{n}") for n, v in inside.items()}
            object.__setattr__(self, group, dataclasses.replace(old, **new))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """From a nested dict, as `config.yaml` of a run folder holds it; strict.

        Raises:
            ConfigError: unknown key, wrong type, impossible pair.
        """
        return from_dict(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """The nested dict that `from_dict` takes."""
        return dataclasses.asdict(self)

    def __getattr__(self, name: str) -> Any:
        if name in FLAT_NAMES:
            return get_setting(self, FLAT_NAMES[name])
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        kinds = hints(type(self))
        refuse_unknown(name, [*kinds, *FLAT_NAMES])
        if name in FLAT_NAMES:
            self._replace({FLAT_NAMES[name]: value})
        else:
            object.__setattr__(self, name, coerce(value, kinds[name], name))
        if name in ("seed", "model") or FLAT_NAMES.get(name, "").startswith("model."):
            self._seed_model()

    def validate(self) -> None:
        """Refuse impossible values and pairs.

        Raises:
            ConfigError: in one line, with the cure.
        """
        _validate_numbers(self)
        require_choice(self.precision.compute, COMPUTE, "precision.compute")
        require_choice(self.strategy, STRATEGIES, "strategy")
        _validate_device(self.device)
        require(
            self.devices == 1 or self.strategy != "auto",
            f"devices={self.devices} needs strategy=ddp or strategy=fsdp to share the work.",
        )
        self.optim.check()
        self.schedule.check(self.max_steps)
        self.schedule.check_context(self.model.block_size)


def _validate_numbers(config: TrainConfig) -> None:
    for name in ("max_steps", "devices", "accumulation", "max_checkpoints", "data.batch_size"):
        value = get_setting(config, name)
        require(value >= 1, f"{name}={value} must be at least 1.")
    for name in ("eval_interval", "checkpoint_interval", "log_interval"):
        value = get_setting(config, name)
        require(value == -1 or value >= 1, f"{name}={value} must be at least 1, or -1 for off.")
    minutes = config.checkpoint_minutes
    require(
        minutes == -1 or minutes > 0,
        f"checkpoint_minutes={minutes} must be more than 0, or -1 for off.",
    )
    tokens = config.eval_tokens
    require(
        tokens is None or tokens >= 1, f"eval_tokens={tokens} must be at least 1, or null for all."
    )
    require(config.seed >= 0, f"seed={config.seed} must not be negative.")
    require(
        config.sample_tokens >= 0, f"sample_tokens={config.sample_tokens} must not be negative."
    )
    require(
        bool(config.sample_prompts) and all(config.sample_prompts),
        f"sample_prompts={config.sample_prompts} must hold texts that are not empty.",
    )


def _validate_device(device: str) -> None:
    kind, _, index = device.partition(":")
    require_choice(kind, ("auto", "cpu", "cuda", "mps"), "device")
    require(
        not index or (kind == "cuda" and index.isdigit()),
        f"device={device!r} has an index that means nothing; write device=cuda:0.",
    )


def all_setting_names() -> list[str]:
    """Every full setting name of a run, e.g. `model.n_layer`."""
    return setting_names(TrainConfig)


__all__ = ["FLAT_NAMES", "ConfigError", "TrainConfig", "all_setting_names"]
