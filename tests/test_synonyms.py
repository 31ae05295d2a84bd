"""Another program's word for a setting leads to ours, from the command line and from Python."""

import pytest

from altgrad.compose import check_override, preset_names
from altgrad.model import GPTConfig
from altgrad.settings import ConfigError, nearest
from altgrad.synonyms import MEANING, OTHER_WORDS, meant
from altgrad.training.config import FLAT_NAMES, TrainConfig, all_setting_names

ALLOWED = [*preset_names(), *all_setting_names()]


def test_every_entry_is_a_setting_and_every_word_is_none_and_means_one():
    assert set(OTHER_WORDS) <= set(all_setting_names())
    words = [word for text in OTHER_WORDS.values() for word in text.split()]
    assert len(words) == len(set(words)) == len(MEANING)
    assert not set(words) & set(all_setting_names())


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("d_model", "model.n_embd"),
        ("model.d_model", "model.n_embd"),
        ("n_layers", "model.n_layer"),
        ("hidden_size", "model.n_embd"),
        ("batch", "data.batch_size"),
        ("lr", "optim.lr"),
        ("learning_rate", "optim.lr"),
        ("context_length", "model.block_size"),
        ("Num-Heads", "model.n_head"),
        ("optim.wd", "optim.weight_decay"),
    ],
)
def test_the_nearest_match_knows_it(word, name):
    assert nearest(word, ALLOWED) == f" Did you mean {name!r}?"


def test_passes_over_the_data_are_told_in_steps():
    assert nearest("epochs", ALLOWED).startswith(" Did you mean 'max_steps'? (in steps: ")
    assert meant("epochs")[0] == "max_steps"


def test_a_misspelt_name_of_ours_is_still_told_by_likeness():
    assert nearest("model.n_layr", ALLOWED) == " Did you mean 'model.n_layer'?"


def test_python_and_a_part_that_asks_by_another_name_are_told_too():
    with pytest.raises(ConfigError, match="Did you mean 'n_embd'"):
        TrainConfig(d_model=8)
    with pytest.raises(ConfigError, match=r"Did you mean 'model\.n_head'"):
        TrainConfig.from_dict({"model": {"num_heads": 2}})
    with pytest.raises(AttributeError, match=r"'sequence_len'; here it is config\.block_size"):
        _ = GPTConfig().sequence_len
    with pytest.raises(AttributeError, match=r"has no 'frobnicate'$"):
        _ = GPTConfig().frobnicate
    assert not hasattr(GPTConfig(), "lr")
    assert set(FLAT_NAMES.values()) <= set(all_setting_names())


@pytest.mark.parametrize(
    ("word", "said"), [("threads=1", "OMP_NUM_THREADS=1"), ("seeds=3", "`altgrad compare`")]
)
def test_what_one_run_does_not_have_is_sent_to_where_it_is(word, said):
    with pytest.raises(ValueError, match="It is for") as refused:
        check_override(word, None)
    assert said in str(refused.value)
