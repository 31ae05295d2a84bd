"""Odds of the next token under two precisions of the same weights."""

import pytest
import torch

from altgrad.data.tokenizers import CharTokenizer
from altgrad.evaluate.next_token import odds_under, read
from altgrad.model import GPT
from altgrad.quantization import PrecisionConfig
from altgrad.training import TrainConfig
from altgrad.training.loading import LoadedRun

PLAIN = PrecisionConfig(compute="32-true")


@pytest.fixture
def run():
    small = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "vocab_size": 5}
    config = TrainConfig(**small)
    config.precision = PLAIN
    model = GPT(config.model, torch.Generator().manual_seed(3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return LoadedRun(config, model, CharTokenizer("abcde"), step=7)


def test_the_odds_are_the_models_own(run):
    found = odds_under(run, "abca", PLAIN, label="fp32")
    with torch.no_grad():
        expected = run.model(torch.tensor([[0, 1, 2, 0]]))[0][0].softmax(-1)
    for position, row in enumerate(found["own"]["odds"]):
        best = expected[position].sort(descending=True)
        assert [token for token, _ in row] == ["abcde"[i] for i in best.indices.tolist()]
        assert [p for _, p in row] == pytest.approx(best.values.tolist(), abs=1e-5)
    surprise = -expected[torch.arange(3), torch.tensor([1, 2, 0])].log()
    assert found["own"]["surprise"][:3] == pytest.approx(surprise.tolist(), abs=1e-4)


def test_the_same_precision_moves_nothing_and_a_coarse_one_does(run):
    same = odds_under(run, "abcd", PLAIN, label="fp32")
    coarse = PrecisionConfig(compute="32-true", simulate=True, format="e6m1")
    other = odds_under(run, "abcd", coarse, label="e6m1")
    assert same["moved"] == [0, 0, 0, 0]
    assert max(other["moved"]) > 0.001
    assert other["own"]["odds"] == same["own"]["odds"]


def test_attention_looks_back_only_and_each_row_adds_up(run):
    _, seen = read(run.model, [0, 1, 2, 3], PLAIN)
    assert [tuple(weights.shape) for weights in seen] == [(2, 4, 4)] * 2
    for weights in seen:
        assert torch.allclose(weights.sum(-1), torch.ones(2, 4))
        assert torch.equal(weights.triu(1), torch.zeros_like(weights))


def test_a_long_text_is_read_at_its_end(run):
    found = odds_under(run, "abcde" * 5, PLAIN, label="fp32")
    assert (found["cut"], len(found["tokens"])) == (9, 16)
    assert found["tokens"][-1] == "e"
