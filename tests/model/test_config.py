import pytest

from altgrad.model import GPT, GPTConfig, preset
from tests.model.tiny import tiny_config


def test_the_defaults_are_gpt2s_parts():
    config = GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=16, vocab_size=65)
    names = GPT(config).state_dict().keys()
    assert {"transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight"} < names
    assert {"transformer.h.1.attn.c_q.bias", "transformer.h.0.ln_2.bias"} < names


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_embd": 256, "n_head": 5}, ["n_embd=256", "n_head=5", "n_embd=255"]),
        ({"n_head": 6, "n_kv_head": 4, "n_embd": 24}, ["n_head=6", "n_kv_head=4", "1, 2, 3, 6"]),
        ({"n_embd": 12, "n_head": 4, "position": "rope"}, ["position=rope", "head_dim=3"]),
        ({"head_dim": 5, "position": "rope_reversed"}, ["rope_reversed", "head_dim=6"]),
        ({"init": "nanochat"}, ["tie_head=true", "init=nanochat", "tie_head=false"]),
        ({"mlp": "swiglo"}, ["model.mlp='swiglo'", "relu2", "did you mean 'swiglu'"]),
        ({"attention": "casual"}, ["did you mean 'causal'", "package.module:Class"]),
        ({"init": "gtp2"}, ["model.init='gtp2'", "did you mean 'gpt2'"]),
        ({"attention_backend": "flesh"}, ["attention_backend", "did you mean 'flash'"]),
        ({"rope_dtype": "bf16"}, ["rope_dtype", "did you mean 'bfloat16'"]),
        ({"dropout": 1.0}, ["model.dropout=1.0"]),
        ({"n_layer": 0}, ["model.n_layer=0"]),
        ({"n_kv_head": 0}, ["model.n_kv_head=0"]),
        ({"windows": []}, ["model.windows=[]"]),
        ({"windows": [4, 0]}, ["model.windows=[4, 0]"]),
        ({"norm_eps": 0.0}, ["model.norm_eps=0.0"]),
        ({"logit_softcap": -1.0}, ["model.logit_softcap=-1.0"]),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line_with_the_cure(settings, words):
    with pytest.raises(ValueError) as caught:
        tiny_config(**settings)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_the_cure_for_indivisible_heads_works():
    with pytest.raises(ValueError, match="set n_embd=255"):
        GPTConfig(n_embd=256, n_head=5)
    assert GPTConfig(n_embd=255, n_head=5).resolved().head_dim == 51


def test_sizes_that_follow_from_others_are_filled_in_for_the_parts():
    config = tiny_config().resolved()
    assert (config.n_kv_head, config.head_dim) == (4, 4)
    assert tiny_config(n_kv_head=2, head_dim=6).resolved().n_kv_head == 2


def test_a_model_needs_a_vocabulary():
    with pytest.raises(ValueError, match=r"model\.vocab_size=null"):
        GPT(preset("gpt2"))


def test_window_patterns_repeat_over_the_layers():
    config = tiny_config(n_layer=5, windows=[3, -1])
    assert [config.window_of(i) for i in range(5)] == [3, 8, 3, 8, 3]


def test_value_embeddings_are_in_every_second_layer_and_the_last():
    config = tiny_config(n_layer=4, value_embeddings=True)
    assert [config.has_value_embedding(i) for i in range(4)] == [False, True, False, True]


def test_presets_are_found_by_name():
    with pytest.raises(ValueError, match="did you mean 'llama'"):
        preset("lama")


def test_omegaconf_accepts_the_schema_and_refuses_what_is_not_in_it():
    omegaconf = pytest.importorskip("omegaconf")
    schema = omegaconf.OmegaConf.structured(GPTConfig)
    merged = omegaconf.OmegaConf.merge(schema, {"n_kv_head": 2, "windows": [4, -1]})
    assert omegaconf.OmegaConf.to_object(merged) == GPTConfig(n_kv_head=2, windows=[4, -1])
    with pytest.raises(omegaconf.errors.ConfigKeyError):
        omegaconf.OmegaConf.merge(schema, {"n_layr": 3})
