"""`TrainConfig`: one setting, one value, whatever name it is typed under."""

import ast
from pathlib import Path

import pytest

import altgrad
from altgrad.settings import get_setting
from altgrad.training.config import FLAT_NAMES, ConfigError, TrainConfig, all_setting_names


def test_a_flat_name_is_its_nested_twin():
    config = TrainConfig(n_layer=3, learning_rate=0.5, batch_size=7, vocab_size=11, project="")
    assert config.model.n_layer == config.n_layer == 3
    assert config.optim.lr == config.learning_rate == 0.5
    assert config.data.batch_size == 7
    assert config.tracker.project == ""
    config.n_layer = 5
    assert config.model.n_layer == 5


@pytest.mark.parametrize("flat", FLAT_NAMES)
def test_every_flat_name_leads_to_a_setting(flat):
    assert FLAT_NAMES[flat] in all_setting_names()
    assert getattr(TrainConfig(), flat) == get_setting(TrainConfig(), FLAT_NAMES[flat])


def test_a_config_survives_its_dict():
    config = TrainConfig(n_layer=3, seed=5, run_dir="here")
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_layr": 3}, ["'n_layr'", "'n_layer'"]),
        ({"max_steps": 0}, ["max_steps=0"]),
        ({"max_steps": "many"}, ["max_steps='many'"]),
        ({"eval_interval": 0}, ["eval_interval=0", "-1 for off"]),
        ({"seed": -1}, ["seed=-1"]),
        ({"device": "gpu"}, ["device='gpu'", "cuda"]),
        ({"device": "cpu:1"}, ["cpu:1"]),
        ({"strategy": "dpp"}, ["'dpp'", "'ddp'"]),
        ({"devices": 2}, ["devices=2", "strategy=ddp"]),
        ({"warmup_steps": 10, "max_steps": 5}, ["schedule.warmup_steps=10", "max_steps=5"]),
        ({"nan_patience": 0}, ["nan_patience=0"]),
        ({"precision": {"compute": "bf16"}}, ["'bf16'", "bf16-mixed"]),
    ],
)
def test_impossible_settings_are_refused_in_one_line(settings, words):
    with pytest.raises(ValueError) as caught:
        TrainConfig(**settings)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_setting_an_unknown_attribute_is_refused():
    config = TrainConfig()
    with pytest.raises(ConfigError, match="max_step"):
        config.max_step = 3


def _nodes():
    for path in Path(altgrad.__file__).parent.rglob("*.py"):
        yield from ast.walk(ast.parse(path.read_text()))


@pytest.fixture(scope="module")
def names_read() -> set[str]:
    """Every attribute name that some file of the package reads."""
    return {
        n.attr for n in _nodes() if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)
    }


@pytest.fixture(scope="module")
def endings_read() -> tuple[str, ...]:
    """Literal endings of names that are put together, as in `getattr(config, f"{role}_lr")`."""
    calls = (n for n in _nodes() if isinstance(n, ast.Call) and len(n.args) > 1)
    names = [n.args[1] for n in calls if isinstance(n.func, ast.Name) and n.func.id == "getattr"]
    ends = [n.values[-1] for n in names if isinstance(n, ast.JoinedStr)]
    return tuple(e.value for e in ends if isinstance(e, ast.Constant))


@pytest.mark.parametrize("name", all_setting_names())
def test_every_setting_is_read_somewhere(name, names_read, endings_read):
    leaf = name.rsplit(".", 1)[-1]
    assert leaf in names_read or leaf.endswith(endings_read)
