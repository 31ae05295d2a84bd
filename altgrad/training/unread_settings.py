"""Which settings a run reads: what somebody typed and nobody reads is refused, not ignored.

A variant declares what it reads beside the table that lists it (`optim.build.READS`,
`optim.schedules.READS`, `model.parts.READS`). What belongs to a feature that can be off has a line
in FEATURES here. Every other setting is read by every run; the test of this file lists them, so
that a new setting has to be put somewhere. Values that presets and defaults bring along unread are
no mistake: the question is what was typed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from altgrad.model.config import GPTConfig
from altgrad.model.own_gpt import RATES, read_by_setup
from altgrad.model.parts import READS as PART_READS
from altgrad.model.parts import resolve
from altgrad.model.whole import read_by
from altgrad.optim.build import READS as OPTIMIZER_READS
from altgrad.optim.build import STORES, reads_of
from altgrad.optim.network_setup import OWN
from altgrad.optim.schedules import READS as SCHEDULE_READS
from altgrad.optim.width_rule import network_settings
from altgrad.quantization import scaling
from altgrad.quantization.recipe import ROLES
from altgrad.settings import ConfigError, get_setting, require
from altgrad.training.config import TrainConfig, all_setting_names


@dataclass(frozen=True)
class Unread:
    """readers: the words with which it would be read. instead: what the run has now."""

    readers: str
    instead: str

    def of(self, name: str, value: Any) -> str:
        typed = f"{name}={_shown(value)}"
        return (
            f"{typed} is read with {self.readers}; with {self.instead} nothing reads it: "
            "leave it out, or change that."
        )


def _shown(value: Any) -> Any:
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(repr(value), value)


def unread_settings(config: TrainConfig) -> dict[str, Unread]:
    """Full name -> who would read it, for every setting that a run of `config` does not read."""
    found = {
        **_of_table(config, "optim.name", {n: reads_of(n) for n in _names(config.optim.name)}),
        **_of_table(config, "schedule.name", dict(SCHEDULE_READS)),
        **(_of_network(config) if ":" in config.model.network else _of_parts(config)),
    }
    for names, readers, reads in FEATURES:
        if not reads(config):
            found |= {name: Unread(readers, _now(config, readers)) for name in names}
    if config.optim.name == OWN and ":" in config.model.network:
        found = _of_own_setup(config, found)
    return found


def _names(own: str) -> list[str]:
    return [*OPTIMIZER_READS, *([own] if own not in OPTIMIZER_READS else [])]


def _of_table(
    config: TrainConfig, setting: str, table: dict[str, tuple[str, ...] | None]
) -> dict[str, Unread]:
    """Of a table of variants: what others read and the chosen one does not."""
    chosen, group = get_setting(config, setting), setting.partition(".")[0]
    own = table.get(chosen)
    if own is None:
        return {}
    everything = dict.fromkeys(name for reads in table.values() for name in reads or ())
    return {
        f"{group}.{name}": Unread(_readers(setting, table, name), f"{setting}={chosen}")
        for name in everything
        if name not in own
    }


def _readers(setting: str, table: dict[str, tuple[str, ...] | None], name: str) -> str:
    return f"{setting}={', '.join(v for v, reads in table.items() if name in (reads or ()))}"


def _of_parts(config: TrainConfig) -> dict[str, Unread]:
    """A setting of the network is read if any of the chosen parts reads it."""
    chosen = {kind: getattr(config.model, kind) for kind in PART_READS}
    reads = {kind: _part_reads(kind, name) for kind, name in chosen.items()}
    if None in reads.values():
        return {}
    own = {name for found in reads.values() for name in found or ()}
    unread: dict[str, Unread] = {}
    for kind, table in PART_READS.items():
        for name in (n for found in table.values() for n in found if n not in own):
            readers = _readers(f"model.{kind}", dict(table), name)
            unread.setdefault(f"model.{name}", Unread(readers, f"model.{kind}={chosen[kind]}"))
    return unread


def _of_network(config: TrainConfig) -> dict[str, Unread]:
    """Of a whole class of one's own: sizes and parts that its config does not take."""
    try:
        read = {"network", *read_by(config.model).values()}
    except Exception:
        return {}  # refused, with the reason, where it is to be built
    now = f"model.network={config.model.network}"
    unread = [f.name for f in fields(GPTConfig) if f.name not in read]
    return {f"model.{name}": Unread("model.network=parts", now) for name in unread}


ROLE_RATES = tuple(f"{role}_lr" for role in ("matrix", "embedding", "head", "scalar"))
NOT_FOR_OWN = {
    *(name for reads in OPTIMIZER_READS.values() for name in reads),
    *("lr", "weight_decay", "width_scaling", *ROLE_RATES),
}
"""Settings that altgrad's optimisers read: a class's setup gets those that it names, no more."""


def _of_own_setup(config: TrainConfig, found: dict[str, Unread]) -> dict[str, Unread]:
    """With `optim.name=own`: what is found already, and rates and the like that the class's setup
    does not name."""
    try:
        read = read_by_setup(config.model)
    except Exception:
        return found  # refused, with the reason, where it is to be built
    arguments = {setting: argument for argument, setting in RATES.items()}
    found = {n: unread for n, unread in found.items() if n not in {f"optim.{r}" for r in read}}
    for name in sorted(NOT_FOR_OWN - read):
        told = f" or, as {arguments[name]}, in its setup's arguments" if name in arguments else ""
        found[f"optim.{name}"] = Unread(f"optim=adamw and others{told}", f"optim.name={OWN}")
    return found


def _part_reads(kind: str, name: str) -> tuple[str, ...] | None:
    if ":" not in name:
        return PART_READS[kind].get(name, ())
    try:
        return getattr(resolve(kind, name), "reads", None)
    except Exception:
        return None  # refused, with the reason, where it is to be used


def _now(config: TrainConfig, readers: str) -> str:
    """The settings that the readers' words name, as they are: `precision.simulate=false`."""
    names = [word.partition("=")[0] for word in readers.split() if "=" in word]
    return " ".join(f"{n}={_shown(get_setting(config, n))}" for n in dict.fromkeys(names))


# -- features that can be off ---------------------------------------------------------------------


def _all_rates_given(config: TrainConfig) -> bool:
    roles = ["matrix", "embedding", "scalar", *(["head"] if _heads_of_its_own(config) else [])]
    return all(getattr(config.optim, f"{role}_lr") is not None for role in roles)


def _free_rates_given(config: TrainConfig) -> bool:
    """Madam leaves scalars to AdamW, the grid optimisers embeddings too; a role's own rate wins."""
    roles = ["scalar", *(["embedding"] if config.optim.name.startswith("grid") else [])]
    return all(getattr(config.optim, f"{role}_lr") is not None for role in roles)


def _has_head(config: TrainConfig) -> bool:
    """Whether a head has weights of its own; a whole class may do as it likes."""
    return _heads_of_its_own(config) or ":" in config.model.network


def _heads_of_its_own(config: TrainConfig) -> bool:
    """Those for later tokens are never tied."""
    return not config.model.tie_head or config.model.mtp_heads > 0


def _starts(*schemes: str) -> Callable[[TrainConfig], bool]:
    return lambda c: c.init_from is None and c.model.init in schemes


def _counts(config: TrainConfig) -> bool:
    every = config.diagnostics.every_steps
    return config.precision.simulate if every is None else every > 0


def _ranks(config: TrainConfig) -> bool:
    every = config.diagnostics.rank_every_steps
    return config.precision.simulate if every is None else every > 0


def _rounds(config: TrainConfig) -> bool:
    return config.precision.simulate


def _format_read(config: TrainConfig) -> bool:
    p = config.precision
    open_ = [role for role in ROLES if getattr(p, role).format is None]
    return p.simulate and bool(open_ or p.modules)


def _role(role: str, reads: Callable[[Any], bool]) -> Callable[[TrainConfig], bool]:
    """Whether an operand is rounded, and in a way that reads the setting."""

    def asked(config: TrainConfig) -> bool:
        p = config.precision
        cast = getattr(p, role)
        by_pattern = bool(p.modules)  # patterns change an operand setting by setting
        rounded = (cast.format or p.format).lower() != "none"
        return p.simulate and (by_pattern or (rounded and reads(cast)))

    return asked


def _role_features(role: str) -> list["Feature"]:
    where = f"precision.{role}"
    rounded = f"{SIMULATE} {where}.format=e4m3"
    scalings: dict[str, tuple[str, ...]] = {
        setting: tuple(name for name, read in scaling.READS.items() if setting in read)
        for setting in ("scale_rule", "block_size", "history", "margin")
    }
    return [
        ((f"{where}.format",), SIMULATE, _rounds),
        (
            tuple(f"{where}.{n}" for n in ("rounding", "overflow", "scaling")),
            rounded,
            _role(role, lambda cast: True),
        ),
        *(
            ((f"{where}.{n}",), f"{rounded} {where}.scaling={of[0]}", _role(role, _scaled(of)))
            for n, of in scalings.items()
        ),
    ]


def _scaled(ways: tuple[str, ...]) -> Callable[[Any], bool]:
    return lambda cast: cast.scaling in ways


def _tracked(config: TrainConfig) -> bool:
    return bool(config.tracker.names)


def _tracked_by(*names: str) -> Callable[[TrainConfig], bool]:
    return lambda c: any(n in names or ":" in n for n in c.tracker.names)


Feature = tuple[tuple[str, ...], str, Callable[[TrainConfig], bool]]
SIMULATE = "precision.simulate=true"

FEATURES: list[Feature] = [
    (("optim.lr",), "optim.matrix_lr=null", lambda c: not _all_rates_given(c)),
    (("optim.free_lr",), "optim.scalar_lr=null", lambda c: not _free_rates_given(c)),
    (("optim.head_lr",), "model.tie_head=false", _has_head),
    (
        ("schedule.short_fraction",),
        "schedule.short_context=128",
        lambda c: c.schedule.short_context is not None,
    ),
    (("model.mtp_weight",), "model.mtp_heads=1", lambda c: c.model.mtp_heads > 0),
    (("model.init",), "init_from=null", lambda c: c.init_from is None),
    (("model.init_width",), "init_from=null model.init=gpt2", _starts("gpt2", "llama")),
    (("model.init_depth",), "init_from=null model.init=gpt2", _starts("gpt2")),
    (
        ("optim.base_width", "optim.base_head_dim"),
        "optim.width_rule=mup",
        lambda c: c.optim.width_rule is not None,
    ),
    (
        ("optim.base_depth",),
        "optim.width_rule=completep",
        lambda c: c.optim.width_rule == "completep",
    ),
    (("finetune.base_sha256",), "init_from=RUN", lambda c: c.init_from is not None),
    (
        tuple(f"finetune.{n}" for n in ("r", "alpha", "dropout", "targets", "base")),
        "finetune.name=lora",
        lambda c: c.finetune.name != "none",
    ),
    (
        tuple(f"precision.{n}" for n in ("skip", "modules", "grad_weight", "native")),
        SIMULATE,
        _rounds,
    ),
    (("precision.format",), f"{SIMULATE} precision.weight.format=null", _format_read),
    (("precision.storage", "precision.grad_clip_range", "precision.fallback"), SIMULATE, _rounds),
    (
        ("precision.storage_rounding",),
        "precision.storage=rounded",
        lambda c: c.precision.storage != "master",
    ),
    (
        ("precision.fallback_after",),
        "precision.fallback=[bf16]",
        lambda c: bool(c.precision.fallback),
    ),
    *(feature for role in ROLES for feature in _role_features(role)),
    (("shadow.every_steps",), "shadow.enabled=true", lambda c: c.shadow.enabled),
    (
        ("diagnostics.dead_neuron_threshold", "diagnostics.dead_neuron_window"),
        "diagnostics.every_steps=1",
        _counts,
    ),
    (
        ("diagnostics.own_every_steps",),
        "diagnostics.own=[mine:Flips]",
        lambda c: bool(c.diagnostics.own),
    ),
    (("guards.dead_neuron_share",), "diagnostics.every_steps=1", _counts),
    (("guards.rank_loss",), "diagnostics.rank_every_steps=100", _ranks),
    (
        tuple(f"guards.{n}_threshold" for n in ("bit_stall", "overflow", "underflow")),
        f"{SIMULATE} diagnostics.every_steps=1",
        lambda c: _rounds(c) and _counts(c),
    ),
    (("guards.divergence_patience",), "eval_interval=100", lambda c: c.eval_interval > 0),
    (
        ("faults.steps",),
        "faults.loss_nan_at_step=1",
        lambda c: c.faults.loss_nan_at_step > 0 or c.faults.gradient_inf_at_step > 0,
    ),
    (
        ("tracker.project", "tracker.if_gone", "tracker.close_s"),
        "tracker.names=[wandb]",
        _tracked,
    ),
    (("tracker.mode",), "tracker.names=[wandb]", _tracked_by("wandb")),
    (("tracker.artifacts",), "tracker.names=[wandb]", _tracked_by("wandb", "trackio")),
    (("data.name", "data.shards"), "data.path=null", lambda c: c.data.path is None),
    (
        ("data.val_fraction",),
        "data.val_path=null",
        lambda c: c.data.val_path is None,
    ),
    (("eval_unrounded",), SIMULATE, _rounds),
    (("sample_prompts",), "sample_tokens=80", lambda c: c.sample_tokens > 0),
]
"""Settings, the words with which they are read, and whether a run reads them."""


# -- refusing -------------------------------------------------------------------------------------


def typed_settings(words: Iterable[str]) -> list[str]:
    """Full names of the settings that words name, a group's mapping (`shadow={…}`) taken apart."""
    names, typed = all_setting_names(), []
    for word in words:
        key, _, text = word.lstrip("+").partition("=")
        if key in names:
            typed.append(key)
        elif "{" in text:
            typed += [n for n in names if n.startswith(f"{key}.") and n.split(".")[-1] in text]
    return typed


def refuse_unread(config: TrainConfig, typed: Iterable[str]) -> None:
    """Refuse a typed setting that the run does not read, or that its optimiser decides.

    Raises:
        ConfigError: the first of them, and what would read it.
    """
    typed, unread = list(typed), unread_settings(config)
    if "precision.storage" in typed:
        refuse_other_storage(config)
    for name in typed:
        if name in unread:
            raise ConfigError(unread[name].of(name, get_setting(config, name)))


def refuse_other_storage(config: TrainConfig) -> None:
    """Raises ConfigError for a typed storage that the optimiser does not leave open."""
    dictated = STORES.get(config.optim.name)
    if dictated and config.precision.storage == "master":
        raise ConfigError(
            f"precision.storage=master cannot be had with optim.name={config.optim.name}, which "
            f"moves weights from stored number to stored number; leave it out, it is {dictated}."
        )


def settle_storage(config: TrainConfig) -> None:
    """Say what storage the optimiser dictates, where the settings leave it at its default."""
    dictated = STORES.get(config.optim.name)
    if dictated and config.precision.simulate and config.precision.storage == "master":
        config.precision.storage = dictated


def settle_width_rule(config: TrainConfig) -> None:
    """Fill in the network's half of `optim.width_rule`: its start and its factors, which have to be
    known before it is built; nothing without a rule.

    Raises:
        ConfigError: a setting of the network that the rule sets was given another value, or a width
            inside it does not grow with n_embd.
    """
    rule = config.optim.width_rule
    if rule is None:
        return
    require(
        config.finetune.name == "none",
        f"optim.width_rule={rule} is for networks that are trained whole; set finetune=none.",
    )
    require(
        config.model.n_inner is None,
        f"optim.width_rule={rule} needs widths that grow with n_embd; set model.n_inner=null.",
    )
    wanted = network_settings(config.optim, config.model)
    for name, value in wanted.items():
        _refuse_other(rule, name, getattr(config.model, name), value)
    config.model = replace(config.model, **wanted)


def _refuse_other(rule: str, name: str, given: Any, wanted: Any) -> None:
    plain = getattr(GPTConfig(), name)
    require(
        given in (plain, wanted),
        f"model.{name}={given} is not what optim.width_rule={rule} makes it ({wanted}); "
        "leave it out.",
    )
