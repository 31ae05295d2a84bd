"""What is typed is read: by every run, or under a condition that stands in a table."""

from pathlib import Path

import pytest
import yaml

import altgrad
from altgrad.compose import compose_config
from altgrad.settings import ConfigError
from altgrad.training.config import TrainConfig, all_setting_names
from altgrad.training.unread_settings import refuse_unread, typed_settings, unread_settings

READ_BY_ALL = """
    max_steps seed compile device devices strategy accumulation eval_interval eval_tokens
    checkpoint_interval
    checkpoint_minutes checkpoint_background log_interval max_checkpoints sample_tokens init_from
    run_dir checkpoint_dir

    model.vocab_size model.block_size model.n_layer model.n_head model.n_embd model.dropout
    model.network model.bias
    model.embedding model.position model.norm model.attention model.mlp model.block
    model.residual model.embedding_norm model.tie_head model.logit_softcap model.document_token
    model.n_inner model.norm_eps model.n_kv_head model.head_dim model.qk_norm model.windows
    model.attention_backend model.value_embeddings model.logit_scale model.attention_scale
    model.branch_scale model.mtp_heads

    precision.compute precision.simulate
    optim.name optim.matrix_lr optim.embedding_lr optim.scalar_lr optim.width_scaling
    optim.width_rule
    optim.weight_decay optim.grad_clip optim.ema_decay optim.state_format
    schedule.name schedule.warmup_steps schedule.short_context
    data.path data.val_path data.tokenizer data.batch_size data.order data.mask_documents
    data.share data.end_of_text data.text_field data.workers data.cache_dir
    tracker.names guards.nan_patience guards.critical_cooldown_s guards.warning_cooldown_s
    shadow.enabled guards.limits diagnostics.own
    diagnostics.every_steps diagnostics.rank_every_steps
    faults.loss_nan_at_step faults.gradient_inf_at_step finetune.name
"""
ALWAYS = set(READ_BY_ALL.split())
"""Settings that every run reads (of the network: every run of our own parts)."""

CONF = Path(altgrad.__file__).parent / "conf"


def config_of(words: list[str]) -> TrainConfig:
    """Settings of words without Hydra, which takes half a second a time; no default presets."""
    values = TrainConfig().to_dict()
    for word in words:
        key, _, text = word.partition("=")
        preset = CONF / key / f"{text}.yaml"
        if preset.is_file():
            _merge(values[key], yaml.safe_load(preset.read_text()))
            continue
        *path, leaf = key.split(".")
        group = values
        for part in path:
            group = group[part]
        group[leaf] = yaml.safe_load(text)
    return TrainConfig.from_dict(values)


def _merge(into: dict, found: dict) -> None:
    for key, value in found.items():
        if isinstance(value, dict) and key != "modules":
            _merge(into[key], value)
        else:
            into[key] = value


ROUNDED = ["precision=e4m3", "optim.name=adamw"]
RULED = ["optim.base_width=64", "optim.base_depth=2"]
CASES = {
    "model.rope_base": (["model.position=learned"], ["model.position=rope"]),
    "model.rope_dtype": (["model.position=none"], ["model.position=rope_reversed"]),
    "model.bigram_rows": (["model.embedding=token"], ["model.embedding=bigram"]),
    "model.trigram_rows": (["model.embedding=bigram"], ["model.embedding=trigram"]),
    "model.mtp_weight": ([], ["model.mtp_heads=1"]),
    "model.init_width": (["model=nanochat"], ["model=llama"]),
    "model.init_depth": (["model=llama"], ["model=gpt2"]),
    "optim.lr": (["optim=nanochat", "optim.scalar_lr=0.1"], ["optim=muon"]),
    "optim.head_lr": (["model.tie_head=true", "model.init=gpt2"], ["model.tie_head=false"]),
    "optim.base_width": ([], [*RULED, "optim.width_rule=mup"]),
    "optim.base_head_dim": ([], [*RULED, "optim.width_rule=mup"]),
    "optim.base_depth": ([*RULED, "optim.width_rule=mup"], [*RULED, "optim.width_rule=completep"]),
    "optim.betas": (["optim=sgd"], ["optim=adamw"]),
    "optim.eps": (["optim=manifold_sgd"], ["optim=grid"]),
    "optim.momentum": (["optim=adamw"], ["optim=sgd"]),
    "optim.nesterov": (["optim=madam"], ["optim=muon"]),
    "optim.ns_steps": (["optim=sgd"], ["optim=ulp_muon"]),
    "optim.muon_scale": (["optim=adamw"], ["optim=muon"]),
    "optim.momentum_warmup_steps": (["optim=sgd"], ["optim=grid_muon"]),
    "optim.neuron_beta": (["optim=adamw"], ["optim=muon"]),
    "optim.match_rms": (["optim=manifold_adamw"], ["optim=ulp_adamw"]),
    "optim.stiffness": (["optim=adamw"], ["optim=manifold_adamw"]),
    "optim.placebo": (["optim=adamw"], ["optim=ulp_adamw"]),
    "optim.rung_clip": (["optim=ulp_adamw"], ["optim=grid"]),
    "optim.free_lr": (["optim=madam", "optim.scalar_lr=0.1"], ["optim=madam"]),
    "optim.madam_bound": (["optim=m_adam"], ["optim=lns_madam"]),
    "optim.madam_scale": (["optim=m_adam"], ["optim=madam"]),
    "optim.lns_steps_per_octave": (["optim=madam"], ["optim=lns_madam"]),
    "optim.exponent_lr_ratio": (["optim=madam"], ["optim=m_adam"]),
    "schedule.min_lr_fraction": (["schedule=constant"], ["schedule=cosine"]),
    "schedule.decay_fraction": (["schedule=cosine"], ["schedule=trapezoid"]),
    "schedule.short_fraction": ([], ["schedule.short_context=64"]),
    "precision.format": (["precision=fp32"], ["precision=e4m3"]),
    "precision.grad_weight": (["precision=bf16"], ["precision=e4m3"]),
    "precision.skip": (["precision=fp32"], ["precision=e4m3"]),
    "precision.modules": (["precision=fp32"], ["precision=e4m3"]),
    "precision.native": (["precision=fp32"], ["precision=e4m3"]),
    "precision.storage": (["precision=fp32"], ["precision=e4m3"]),
    "precision.storage_rounding": (ROUNDED, [*ROUNDED, "precision.storage=kahan"]),
    "precision.fallback": (["precision=fp32"], ["precision=e4m3"]),
    "precision.fallback_after": (ROUNDED, [*ROUNDED, "precision.fallback=[none]"]),
    "precision.grad_clip_range": (["precision=fp32"], ["precision=e4m3"]),
    "shadow.every_steps": ([], ["shadow.enabled=true"]),
    "diagnostics.dead_neuron_threshold": (["precision=fp32"], ["precision=e4m3"]),
    "diagnostics.dead_neuron_window": (
        ["precision=e4m3", "diagnostics.every_steps=-1"],
        ["precision=fp32", "diagnostics.every_steps=1"],
    ),
    "diagnostics.own_every_steps": ([], ["diagnostics.own=[mine:Flips]"]),
    "guards.dead_neuron_share": (["precision=fp32"], ["precision=e4m3"]),
    "guards.rank_loss": (["precision=fp32"], ["diagnostics.rank_every_steps=5"]),
    "guards.bit_stall_threshold": (["precision=fp32"], ["precision=e4m3"]),
    "guards.overflow_threshold": (["precision=fp32"], ["precision=e4m3"]),
    "guards.underflow_threshold": (["precision=fp32"], ["precision=e4m3"]),
    "guards.divergence_patience": (["eval_interval=-1"], ["eval_interval=5"]),
    "faults.steps": ([], ["faults.loss_nan_at_step=3"]),
    "tracker.project": ([], ["tracker=tensorboard"]),
    "tracker.if_gone": ([], ["tracker=wandb"]),
    "tracker.close_s": ([], ["tracker=trackio"]),
    "tracker.mode": (["tracker=tensorboard"], ["tracker=wandb"]),
    "tracker.artifacts": (["tracker=tensorboard"], ["tracker=trackio"]),
    "data.name": (["data.path=x.txt"], []),
    "data.shards": (["data.path=x.txt"], ["data=climbmix"]),
    "data.val_fraction": (["data.path=x.txt", "data.val_path=y.txt"], ["data.path=x.txt"]),
    "eval_unrounded": (["precision=fp32"], ["precision=e4m3"]),
    "sample_prompts": (["sample_tokens=0"], ["sample_tokens=9"]),
} | {
    f"precision.{role}.{leaf}": (unread, [*ROUNDED, *read])
    for role in ("weight", "input", "grad_output")
    for leaf, unread, read in (
        ("format", ["precision=fp32"], []),
        ("rounding", [*ROUNDED, f"precision.{role}.format=none"], []),
        ("overflow", ["precision=fp32"], []),
        ("scaling", ["precision=fp32"], []),
        ("scale_rule", [*ROUNDED, f"precision.{role}.scaling=none"], []),
        ("block_size", ROUNDED, [f"precision.{role}.scaling=block"]),
        ("history", ROUNDED, [f"precision.{role}.scaling=delayed"]),
        ("margin", ROUNDED, [f"precision.{role}.scaling=delayed"]),
    )
}
"""Setting -> words with which nothing reads it, words with which something does."""

BASES = {f"finetune.{n}" for n in ("r", "alpha", "dropout", "targets", "base", "base_sha256")}
BY_BASE = BASES | {"model.init"}
"""Settings whose reading hangs on `init_from`, which needs a run."""


def test_every_setting_is_read_always_or_under_a_condition_that_is_tried_here():
    assert set(all_setting_names()) == ALWAYS | set(CASES) | BY_BASE
    assert not ALWAYS & (set(CASES) | BY_BASE)


@pytest.mark.parametrize("name", CASES)
def test_a_condition_holds_on_both_sides(name):
    unread, read = (config_of(words) for words in CASES[name])
    assert name in unread_settings(unread)
    assert name not in unread_settings(read)


@pytest.mark.parametrize(
    "preset", ["model=llama", "model=nanochat", "precision=mxfp4", "optim=sgd"]
)
def test_what_is_always_read_is_never_missed(preset):
    assert not ALWAYS & set(unread_settings(config_of([preset])))


@pytest.mark.parametrize("name", CASES)
def test_who_would_read_it_is_named_and_is_true_or_leaves_it_out(name):
    """The line is one line, names the setting and what the run has instead."""
    config = config_of(CASES[name][0])
    line = unread_settings(config)[name].of(name, "x")
    assert line.startswith(f"{name}=x is read with ")
    assert "\n" not in line
    assert "leave it out" in line


def test_the_fine_tuning_settings_need_a_base():
    plain = unread_settings(TrainConfig())
    assert set(plain) >= BASES
    assert "model.init" not in plain
    tuned = TrainConfig(init_from="runs/base", finetune={"name": "lora"})
    assert set(unread_settings(tuned)) & BY_BASE == {"model.init"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["optim=adamw", "optim.momentum=0.1"], ["optim.momentum=0.1", "sgd, ", "adamw"]),
        (["model.position=learned", "model.rope_base=5e3"], ["model.position=rope"]),
        (["precision=fp32", "precision.grad_weight=false"], ["precision.simulate=true"]),
        (["shadow.every_steps=5"], ["shadow.enabled=true", "shadow.enabled=false"]),
        (["shadow={every_steps: 5}"], ["shadow.enabled=true"]),
        (["precision=e4m3", "optim=grid", "precision.storage=master"], ["it is rounded"]),
    ],
)
def test_a_typed_setting_that_nobody_reads_is_refused(words, expected):
    with pytest.raises(ConfigError) as caught:
        compose_config(words)
    assert "\n" not in str(caught.value)
    for part in expected:
        assert part in str(caught.value)


def test_presets_and_defaults_may_bring_what_nobody_reads():
    config = compose_config(["optim=sgd", "optim.name=adamw"])
    assert "optim.momentum" in unread_settings(config)
    refuse_unread(TrainConfig.from_dict(config.to_dict()), [])


def test_a_mapping_names_its_settings():
    assert typed_settings(["shadow={enabled: true}", "+optim.lr=1", "model=gpt2"]) == [
        "shadow.enabled",
        "optim.lr",
    ]


def test_a_storage_that_the_optimiser_dictates_is_said():
    config = compose_config(["precision=e4m3", "optim=grid"])
    assert config.precision.storage == "rounded"


MINE = """
from torch import nn
from altgrad.model.attention import CausalSelfAttention
class Quiet(CausalSelfAttention): pass
class Says(CausalSelfAttention): reads = ("head_dim",)
"""


def test_a_part_of_ones_own_may_say_what_it_reads(tmp_path, monkeypatch):
    (tmp_path / "own_parts_that_say.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    quiet = TrainConfig(model={"attention": "own_parts_that_say:Quiet"})
    assert "model.rope_base" not in unread_settings(quiet)
    says = unread_settings(TrainConfig(model={"attention": "own_parts_that_say:Says"}))
    assert "model.windows" in says
    assert "model.head_dim" not in says


OWN_SETUP = """
from dataclasses import dataclass
from torch import nn
@dataclass
class GPTConfig:
    block_size: int = 8
    vocab_size: int = 11
    n_layer: int = 1
    n_embd: int = 4
class GPT(nn.Module):
    def __init__(self, config): super().__init__()
    def forward(self, idx, targets=None): ...
    def setup_optimizers(self, unembedding_lr=0.004, weight_decay=0.0): ...
class Names(GPT):
    def setup_optimizers(self, learning_rate=0.1, betas=(0.9, 0.9)): ...
"""
NEVER_OWN = ["optim.scalar_lr", "optim.eps", "optim.momentum", "optim.free_lr", "optim.ns_steps"]


@pytest.mark.parametrize(
    ("name", "read", "unread"),
    [
        ("GPT", ["head_lr", "weight_decay"], ["lr", "matrix_lr", "embedding_lr", "betas"]),
        ("Names", ["lr", "betas"], ["matrix_lr", "head_lr", "embedding_lr", "weight_decay"]),
    ],
)
def test_a_setup_of_ones_own_reads_what_it_names(tmp_path, monkeypatch, name, read, unread):
    (tmp_path / f"own_setup_of_{name}.py").write_text(OWN_SETUP)
    monkeypatch.syspath_prepend(tmp_path)
    network = f"own_setup_of_{name}:{name}"
    config = TrainConfig(model={"network": network}, optim={"name": "own"})
    found = unread_settings(config)
    assert set(found) >= {*(f"optim.{n}" for n in unread), *NEVER_OWN}
    assert not set(found) & {*(f"optim.{n}" for n in read), "optim.grad_clip", "optim.ema_decay"}
    line = found[f"optim.{unread[0]}"].of(f"optim.{unread[0]}", 0.1)
    assert "setup's arguments, with optim.name=own nothing reads it" in line.replace(";", ",")
    config.optim.scalar_lr = 0.02
    with pytest.raises(ConfigError, match=r"optim\.scalar_lr=0.02 is read with optim=adamw"):
        refuse_unread(config, ["optim.scalar_lr"])


def test_the_heads_rate_is_read_by_heads_for_later_tokens_too_which_are_never_tied():
    tied = config_of(["model=gpt2", "optim=muon"])
    assert "optim.head_lr" in unread_settings(tied)
    assert "optim.head_lr" not in unread_settings(
        config_of(["model=gpt2", "optim=muon", "model.mtp_heads=1"])
    )
