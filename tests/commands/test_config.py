"""`altgrad config --help NAME`: what a setting is."""

from pathlib import Path

import pytest

from altgrad.cli import main
from altgrad.commands.config import OWN_CLASS, OWN_FUNCTION, choices, explain
from altgrad.compose import compose_config
from altgrad.data.corpora import find_corpus
from altgrad.data.tokenizers import identify
from altgrad.model import GPT, GPTConfig
from altgrad.optim import build_optimizer, build_schedule
from altgrad.settings import field_docs
from altgrad.training.config import TrainConfig, all_setting_names

TINY = GPTConfig(vocab_size=8, block_size=8, n_layer=1, n_head=1, n_embd=8)


def told(capsys, *names: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["config", "--help", *names])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_every_setting_and_group_has_a_string_under_its_field():
    docs = field_docs(TrainConfig)
    names = all_setting_names()
    assert [
        n for n in {*names, *(n.rpartition(".")[0] for n in names)} - {""} if n not in docs
    ] == []
    assert [name for name, text in docs.items() if not text.endswith((".", ")"))] == []


def test_a_setting_is_told_with_its_type_default_and_allowed_values(capsys):
    assert told(capsys, "model.mlp") == (
        "model.mlp\n"
        "  MLP: gelu, gelu_tanh, relu2, swiglu, or package.module:Class.\n"
        "  type: text\n"
        "  default: gelu_tanh\n"
        "  allowed: gelu, gelu_tanh, relu2, swiglu, package.module:Class\n"
    ).replace("default: gelu_tanh", _default("model.mlp"))


def _default(name: str) -> str:
    return next(line.strip() for line in explain([name]).splitlines() if "default:" in line)


def test_a_group_a_pattern_and_a_flat_name_are_told(capsys):
    heads = [
        line for line in told(capsys, "guards", "*_lr", "n_layer").splitlines() if line[:1] != " "
    ]
    settings = [n for n in all_setting_names() if n.startswith("guards.")]
    settings += [n for n in all_setting_names() if n.endswith("_lr")]
    assert [head for head in heads if head] == [*settings, "model.n_layer"]


def test_a_mistyped_name_gets_the_nearest(capsys):
    with pytest.raises(SystemExit) as end:
        main(["config", "--help", "optim.momentun"])
    assert end.value.code == 2
    assert "Did you mean 'optim.momentum'?" in capsys.readouterr().err


def test_without_a_name_it_is_the_help_of_the_command(capsys):
    assert told(capsys).startswith("usage: altgrad config")


def refusal(name: str) -> str:
    """Of an impossible value: by the settings, or by what first looks the name up."""
    word = "[odd_one]" if name == "tracker.names" else "odd_one"
    rounded = ["precision.simulate=true"] if name.startswith("precision") else []
    with pytest.raises(ValueError) as error:
        look_up(compose_config([f"{name}={word}", *rounded]))
    return str(error.value)


def look_up(config: TrainConfig) -> None:
    find_corpus(config.data.name)
    identify(config.data.tokenizer, Path())
    build_schedule(config.schedule, 1)
    build_optimizer(GPT(TINY), config.optim)


@pytest.mark.parametrize("name", sorted(choices()))
def test_what_is_said_to_be_allowed_is_what_the_refusal_of_another_lists(name):
    words = {"a tiktoken encoding", "a tokenizer.json", OWN_FUNCTION, OWN_CLASS}
    assert [c for c in choices()[name] if c not in words and c not in refusal(name)] == []


def test_a_short_list_of_allowed_values_stands_in_the_setting_s_string():
    docs = field_docs(TrainConfig)
    short = {name: list(found) for name, found in choices().items() if len(list(found)) < 9}
    missing = {n: [c for c in found if c not in docs[n]] for n, found in short.items()}
    tables = {"data.name", "data.tokenizer", "model.attention_backend", "tracker.names"}
    assert {n: found for n, found in missing.items() if found and n not in tables} == {}
