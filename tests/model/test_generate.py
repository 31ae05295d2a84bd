import pytest
import torch

from altgrad.model import GPT
from altgrad.model.generate import filter_logits, stream
from tests.model.tiny import V, awake, tiny_config, tokens


def generated(**settings):
    return awake(tiny_config()).generate(tokens(2, 3), 9, **settings).tolist()


def test_greedy_is_the_argmax_of_every_step():
    model = awake(tiny_config())
    idx = tokens(2, 3)
    out = model.generate(idx, 5, temperature=0)
    for t in range(3, 8):
        logits, _ = model(out[:, :t])
        assert out[:, t].tolist() == logits[:, -1].argmax(-1).tolist()


def test_beyond_block_size_the_last_block_is_read():
    model = awake(tiny_config())
    out = model.generate(tokens(2, 3), 12, temperature=0)
    for t in range(8, 15):
        logits, _ = model(out[:, t - 8 : t])
        assert out[:, t].tolist() == logits[:, -1].argmax(-1).tolist()


def test_a_prompt_longer_than_block_size_is_cropped():
    model = awake(tiny_config())
    idx = tokens(1, 20)
    out = model.generate(idx, 3, temperature=0)
    assert out[:, :20].tolist() == idx.tolist()
    assert out[:, 20:].tolist() == model.generate(idx[:, -8:], 3, temperature=0)[:, 8:].tolist()


def test_top_k_one_is_greedy():
    assert generated(top_k=1) == generated(temperature=0)


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    first = generated(seed=1)
    assert first == generated(seed=1)
    assert first != generated(seed=2)
    assert torch.equal(state, torch.get_rng_state())


def test_a_given_generator_is_used_and_moves_on():
    generator = torch.Generator().manual_seed(1)
    first = generated(generator=generator)
    assert first == generated(seed=1)
    assert first != generated(generator=generator)
    with pytest.raises(ValueError, match="seed or generator"):
        generated(generator=generator, seed=1)


def test_five_tokens_are_a_prefix_of_ten():
    model = awake(tiny_config())
    five, ten = (model.generate(tokens(1, 3), n, seed=3)[0].tolist() for n in (5, 10))
    assert five == ten[:8]


def test_the_stream_yields_what_generate_joins():
    model = awake(tiny_config())
    pieces = list(stream(model, tokens(2, 3), max_new_tokens=4, seed=1))
    assert all(piece.shape == (2, 1) for piece in pieces)
    assert torch.cat(pieces, 1).tolist() == model.generate(tokens(2, 3), 4, seed=1)[:, 3:].tolist()


def test_dropout_is_off_while_generating_and_training_mode_comes_back():
    model = awake(tiny_config(dropout=0.5))
    wanted = model.generate(tokens(1, 3), 8, temperature=0).tolist()
    model.train()
    assert model.generate(tokens(1, 3), 8, temperature=0).tolist() == wanted
    assert model.training
    assert torch.is_grad_enabled()


def test_top_k_keeps_ties():
    logits = torch.tensor([[1.0, 3.0, 2.0, 2.0, 0.0]])
    kept = filter_logits(logits, top_k=2).isfinite()
    assert kept.tolist() == [[False, True, True, True, False]]


def test_top_p_keeps_the_smallest_sufficient_set():
    logits = torch.tensor([[0.5, 0.1, 0.3, 0.1]]).log()
    for top_p, count in ((0.4, 1), (0.5001, 2), (0.79, 2), (0.85, 3), (1.0, 4)):
        assert int(filter_logits(logits, top_p=top_p).isfinite().sum()) == count
    assert filter_logits(logits, top_p=1e-9).isfinite().tolist() == [[True, False, False, False]]


def test_samples_follow_the_tempered_distribution():
    model = awake(tiny_config())
    idx = tokens(1, 3).expand(4000, 3)
    counts = model.generate(idx, 1, temperature=0.7, seed=0)[:, -1].bincount(minlength=V)
    wanted = (model(idx[:1])[0][0, -1] / 0.7).softmax(-1)
    assert (counts / 4000 - wanted).abs().max() < 0.03


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.5}, "top_p=1.5"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        generated(**settings)


def test_an_empty_prompt_and_a_negative_count_are_refused():
    model = GPT(tiny_config())
    with pytest.raises(ValueError, match="T >= 1"):
        model.generate(tokens(1, 0), 3)
    with pytest.raises(ValueError, match="max_new_tokens=-1"):
        model.generate(tokens(1, 3), -1)
    assert model.generate(tokens(1, 3), 0).tolist() == tokens(1, 3).tolist()


def test_an_attention_that_ignores_the_cache_is_run_without_it_unless_it_was_asked_for():
    model = awake(tiny_config(attention="tests.model.outside:NoCacheAttention"))
    with pytest.raises(ValueError, match="use_cache=False"):
        model.generate(tokens(1, 3), 3, use_cache=True)
    without = model.generate(tokens(1, 3), 6, use_cache=False)
    assert without.shape == (1, 9)
    assert model.generate(tokens(1, 3), 6).tolist() == without.tolist()
