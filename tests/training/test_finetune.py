"""Adapters for real: trained, saved alone, loaded, merged; on float and on four-bit bases."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch

from altgrad.data import DataConfig
from altgrad.settings import ConfigError
from altgrad.training.adapters import adapt, dense, is_adapted, merge
from altgrad.training.build import build_run, load_run, read_config, resume_run
from altgrad.training.checkpoints.manager import find_checkpoint, load_weights
from altgrad.training.config import TrainConfig
from altgrad.training.finetune import FinetuneConfig, inherit
from altgrad.training.loading import make_network

pytest.importorskip("peft")
warnings.filterwarnings("ignore", module="bitsandbytes")
TEXT = "To be, or not to be, that is the question: whether 'tis nobler in the mind.\n" * 8
OTHER = "Call me Ishmael. Some years ago, never mind how long precisely.\n" * 8
SMALL = {
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 32,
    "block_size": 16,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "max_steps": 4,
    "eval_interval": 4,
    "device": "cpu",
}
KINDS = {
    "lora": {"name": "lora", "r": 4},
    "dora": {"name": "dora", "r": 4},
    "nf4": {"name": "lora", "r": 4, "base": "nf4"},
    "nf4_dora": {"name": "dora", "r": 4, "base": "nf4"},
    "int4": {"name": "lora", "r": 4, "base": "int4"},
}


@pytest.fixture
def make(tmp_path):
    """`make(name, text, **settings)`: the settings of a small run over bytes."""

    def config(name: str, text: str = TEXT, **settings) -> TrainConfig:
        path = tmp_path / f"{name}.txt"
        path.write_text(text)
        data = {"path": str(path), "tokenizer": "byte"}
        made = TrainConfig(**SMALL, run_dir=str(tmp_path / name), **settings)
        made.data.path, made.data.tokenizer = data["path"], data["tokenizer"]
        return made

    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that has learnt the text: adapters can only turn what is there."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "base.txt").write_text(TEXT)
    config = TrainConfig(**SMALL | {"max_steps": 150, "eval_interval": 150})
    config.data = DataConfig(path=str(folder / "base.txt"), tokenizer="byte", batch_size=4)
    config.data.cache_dir, config.run_dir = str(folder / "cache"), str(folder / "base")
    build_run(config).train()
    return folder / "base"


@pytest.fixture
def base(trained, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "base"))


def tune(make, base, kind: str, **settings):
    finetune = FinetuneConfig(**KINDS[kind])
    return make("tuned", OTHER, init_from=str(base), finetune=finetune, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_only_adapters_learn_and_only_they_are_saved(kind, make, base, tmp_path):
    trainer = build_run(tune(make, base, kind))
    before = {n: dense(p).clone() for n, p in trainer.model.named_parameters()}
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(dense(parameter), before[name]) == (".lora_" not in name), name
    saved = load_weights(find_checkpoint(tmp_path / "tuned"))
    assert saved
    assert all(".lora_" in name for name in saved)


@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_network_computes_the_same(kind, make, base):
    adapted = make_network(tune(make, base, kind)).eval()
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
        merged = merge(adapted)
        idx = torch.randint(0, 256, (2, 16), generator=noise)
        assert not is_adapted(merged)
        plain = load_run(base).model(idx)[0]
        assert (adapted(idx)[0] - plain).abs().max() > 0.1
        assert (merged(idx)[0] - adapted(idx)[0]).abs().max() < 2e-5


@pytest.mark.parametrize("kind", ["lora", "nf4"])
def test_a_tuned_run_loads_as_the_network_that_was_trained(kind, make, base, tmp_path):
    trainer = build_run(tune(make, base, kind))
    summary = trainer.train()
    loaded = load_run(tmp_path / "tuned")
    with torch.no_grad():
        idx = torch.arange(16)[None] + 40
        assert (loaded.model(idx)[0] - trainer.model.eval()(idx)[0]).abs().max() < 2e-5
    assert loaded.step == summary["step"]


def test_lora_learns_the_other_text(make, base):
    config = tune(make, base, "lora", accumulation=1)
    config.max_steps, config.eval_interval = 60, 20
    trainer = build_run(config)
    start = trainer.eval_step()
    assert trainer.train()["val_loss"] < start - 0.5


def test_a_resumed_run_of_adapters_is_the_uninterrupted_one(make, base, tmp_path):
    whole = build_run(tune(make, base, "lora"))
    whole.train()
    again = tune(make, base, "lora")
    again.run_dir = str(tmp_path / "again")
    build_run(again).train(2)
    resumed = build_run(again)
    resumed.resume(tmp_path / "again")
    resumed.train()
    a, b = dict(whole.model.named_parameters()), dict(resumed.model.named_parameters())
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


def test_without_adapters_all_weights_start_from_the_run(make, base):
    trainer = build_run(make("further", OTHER, init_from=str(base)))
    start = load_run(base).model.state_dict()
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, start[name]), name


def test_adapters_of_adapters_start_from_the_merged_network(make, base, tmp_path):
    build_run(tune(make, base, "lora")).train()
    second = make("second", init_from=str(tmp_path / "tuned"), finetune=FinetuneConfig("lora"))
    idx = torch.arange(16)[None]
    with torch.no_grad():
        ours = make_network(second).eval()(idx)[0]
        assert torch.allclose(ours, load_run(tmp_path / "tuned").model(idx)[0])


def test_a_base_that_went_on_is_still_found_by_its_weights(make, base, tmp_path):
    build_run(tune(make, base, "lora")).train()
    expected = load_run(tmp_path / "tuned").model.state_dict()
    further = read_config(base)
    further.max_steps += 4
    resume_run(base, config=further, allow=["max_steps", "schedule"]).train()
    found = load_run(tmp_path / "tuned").model.state_dict()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"finetune": {"name": "lora"}}, "needs the run to start from: init_from=RUN"),
        ({"finetune": {"name": "lorra"}}, "Did you mean 'lora'"),
        ({"finetune": {"base": "nf4"}}, "cannot learn by itself"),
        ({"finetune": {"r": 0}}, "finetune.r=0"),
        ({"sample_prompts": []}, "sample_prompts"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_run(TrainConfig(**settings))


def test_another_network_or_tokenizer_than_the_bases_is_refused(make, base):
    other = tune(make, base, "lora")
    other.n_layer = 3
    with pytest.raises(ConfigError, match=r"model\.n_layer=3, but init_from=.* has 2"):
        build_run(other)
    letters = tune(make, base, "lora")
    letters.data.tokenizer = "char"
    letters.vocab_size = 256
    with pytest.raises(ConfigError, match=r"tokenizer char \(\d+ characters\).* reads byte"):
        build_run(letters)
    targets = tune(make, base, "lora")
    targets.finetune.targets = ["c_attn"]
    with pytest.raises(ConfigError, match="no Linear of the model has such a name"):
        build_run(targets)


def test_a_compiled_four_bit_base_is_refused(make, base):
    with pytest.raises(ConfigError, match="leave compile=true out"):
        build_run(tune(make, base, "nf4", compile=True))


def test_the_bases_network_is_taken_over_unless_typed():
    base = {"model": {"n_layer": 6, "dropout": 0.0}, "data": {"tokenizer": "byte"}}
    ours = {"model": {"n_layer": 3, "dropout": 0.1}, "data": {"tokenizer": "char"}}
    taken = inherit(ours, base, ["model.dropout"])
    assert taken["model"] == {"n_layer": 6, "dropout": 0.1}
    assert taken["data"]["tokenizer"] == "byte"
    assert inherit(ours, base, ["model"]) == ours


def test_adapting_leaves_the_global_generator_alone(make, base):
    model = load_run(base).model
    state = torch.get_rng_state()
    adapt(model, FinetuneConfig("lora"), seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_prompt_is_continued_at_every_evaluation(make, tmp_path):
    build_run(make("two", sample_tokens=5, sample_prompts=["To be", "Call"])).train()
    sample = (tmp_path / "two" / "samples" / "step_00000004.txt").read_text()
    assert sample.count("[To be]") == 1
    assert sample.count("[Call]") == 1
