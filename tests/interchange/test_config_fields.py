"""Every field of `config.json` that transformers reads: the same network, or a refusal by name.

One field at a time is changed in a checkpoint of transformers' own and in an export of ours.
"""

import json

import pytest
import torch

from altgrad.interchange.config_json import read_json
from altgrad.interchange.export import export_run
from altgrad.interchange.importing import import_model, read_config, read_model
from altgrad.training.build import load_run
from tests.interchange.conftest import LLAMA, NANOCHAT

transformers = pytest.importorskip("transformers")

SAME, REFUSED = "same", "refused"
# field, value -> whether our network is transformers', or refused.
GPT2_FIELDS = [
    ("n_head", 2, SAME),
    ("n_head", 8, SAME),
    ("num_attention_heads", 2, REFUSED),  # n_head stays in the file and says 4
    ("num_attention_heads", 4, SAME),
    ("activation_function", "gelu", SAME),
    ("activation_function", "relu2", SAME),
    ("activation_function", "gelu_pytorch_tanh", SAME),
    ("activation_function", "relu", REFUSED),
    ("activation_function", "quick_gelu", REFUSED),
    ("layer_norm_epsilon", 0.5, SAME),
    ("scale_attn_weights", False, REFUSED),
    ("scale_attn_by_inverse_layer_idx", True, REFUSED),
    ("reorder_and_upcast_attn", True, SAME),
    ("add_cross_attention", True, REFUSED),
    ("tie_word_embeddings", False, REFUSED),  # transformers draws a head at random
    ("resid_pdrop", 0.3, REFUSED),
    ("attn_pdrop", 0.3, REFUSED),
    ("embd_pdrop", 0.3, REFUSED),
    ("n_inner", 256, REFUSED),
    ("n_embd", 64, REFUSED),
    ("n_layer", 1, REFUSED),
    ("n_layer", 3, REFUSED),
    ("n_positions", 16, REFUSED),
    ("vocab_size", 60, REFUSED),
    ("use_cache", False, SAME),
    ("initializer_range", 0.5, SAME),
    ("summary_type", "first", SAME),
    ("pruned_heads", {"0": [1]}, REFUSED),
    ("quantization_config", {"quant_method": "gptq"}, REFUSED),
]
LLAMA_FIELDS = [
    ("num_attention_heads", 2, REFUSED),  # head_dim stays in the file, so its tensors do not fit
    ("num_key_value_heads", 1, REFUSED),
    ("head_dim", 4, REFUSED),
    ("rms_norm_eps", 0.5, SAME),
    ("hidden_act", "swish", SAME),
    ("hidden_act", "gelu", REFUSED),
    ("hidden_act", "relu", REFUSED),
    ("attention_bias", True, REFUSED),
    ("mlp_bias", True, REFUSED),
    ("tie_word_embeddings", True, SAME),
    ("max_position_embeddings", 16, SAME),
    ("max_position_embeddings", 48, SAME),
    ("hidden_size", 64, REFUSED),
    ("intermediate_size", 64, REFUSED),
    ("num_hidden_layers", 1, REFUSED),
    ("num_hidden_layers", 3, REFUSED),
    ("vocab_size", 60, REFUSED),
    ("rope_parameters", {"rope_type": "default", "rope_theta": 77.0}, SAME),
    ("rope_parameters", {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}, REFUSED),
    ("rope_parameters", {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}, REFUSED),
    ("rope_parameters", {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}, REFUSED),
    ("rope_parameters", {"rope_type": "longrope", "short_factor": [1.0]}, REFUSED),
    ("rope_parameters", {"type": "linear", "factor": 2.0}, REFUSED),
    ("rope_scaling", {"rope_type": "llama3", "factor": 8.0}, REFUSED),
    ("rope_scaling", {"type": "linear", "factor": 2.0}, REFUSED),
    ("rope_scaling", {"rope_type": "default", "rope_theta": 55.0}, SAME),
    ("rope_scaling", None, SAME),
    ("partial_rotary_factor", 0.5, REFUSED),
    ("sliding_window", 4, REFUSED),
    ("layer_types", ["sliding_attention", "full_attention"], REFUSED),
    ("pretraining_tp", 2, SAME),
    ("use_cache", False, SAME),
    ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}, REFUSED),
]
# Of our own `modeling_altgrad.py`, which reads these.
OWN_FIELDS = [
    ("n_head", 2, REFUSED),
    ("norm_eps", 0.5, SAME),
    ("mlp", "gelu", SAME),
    ("mlp", "swiglu", REFUSED),
    ("mlp", "mine:MLP", REFUSED),
    ("position", "rope", SAME),
    ("position", "none", SAME),
    ("position", "mine:Position", REFUSED),
    ("norm", "rmsnorm", REFUSED),
    ("residual", "skip", REFUSED),
    ("block", "shift", REFUSED),
    ("embedding", "bigram", REFUSED),
    ("embedding_norm", False, SAME),
    ("qk_norm", False, SAME),
    ("logit_softcap", 2.0, SAME),
    ("logit_softcap", None, SAME),
    ("logit_scale", 2.0, SAME),
    ("attention_scale", 0.1, SAME),
    ("branch_scale", 0.5, SAME),
    ("rope_base", 55.0, SAME),
    ("rope_dtype", "float32", SAME),
    ("windows", [3, 4], SAME),
    ("block_size", 48, SAME),
    ("document_token", 5, SAME),
    ("value_embeddings", True, REFUSED),
    ("tie_word_embeddings", True, SAME),
    ("bias", True, REFUSED),
    ("n_inner", 64, REFUSED),
    ("n_layer", 1, REFUSED),
    ("vocab_size", 60, REFUSED),
]
CASES = [
    *(("gpt2", *field) for field in GPT2_FIELDS),
    *(("llama", *field) for field in LLAMA_FIELDS),
    *(("own", *field) for field in OWN_FIELDS),
]
SHAPES = {
    "gpt2": {},
    "llama": LLAMA | {"tie_head": False, "n_kv_head": 2},
    "own": NANOCHAT,
}
NAMES = [f"{family}-{field}-{json.dumps(value)[:30]}" for family, field, value, _ in CASES]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """family -> an export of ours."""
    from tests.interchange.conftest import CharTokenizer, LoadedRun, TrainConfig, random_model

    root, tokenizer = tmp_path_factory.mktemp("sources"), CharTokenizer("")
    for name, parts in SHAPES.items():
        model = random_model(**parts)
        run = LoadedRun(TrainConfig(model=model.config), model, tokenizer, 7)
        export_run(run, root / name, tokenizer=False)
    return root


def changed(source, folder, field, value, *, block: bool):
    """A copy of the export with one field changed; without `block` as if it came from elsewhere."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((source / "config.json").read_text())
    if not block:
        config.pop("altgrad")
    config[field] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def read_folder(folder):
    return read_model(folder, read_json(folder / "config.json"))


def assert_same_logits(folder, ids):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        difference = read_folder(folder)(ids)[0] - theirs.eval()(ids).logits
    assert difference.abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("block", [True, False], ids=["exported", "elsewhere"])
@pytest.mark.parametrize(("family", "field", "value", "outcome"), CASES, ids=NAMES)
def test_a_changed_field_is_honoured_as_transformers_does_or_refused(
    family, field, value, outcome, block, sources, tmp_path, monkeypatch, prompt
):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = changed(sources / family, tmp_path / "in", field, value, block=block)
    if outcome == REFUSED:
        with pytest.raises(ValueError) as refusal:
            read_folder(folder)
        assert "\n" not in str(refusal.value)
        return
    assert_same_logits(folder, prompt)


def test_the_rotary_base_is_read_from_the_old_place_too(sources, tmp_path, prompt):
    folder = changed(sources / "llama", tmp_path / "in", "rope_theta", 55.0, block=False)
    config = json.loads((folder / "config.json").read_text())
    config.pop("rope_parameters")
    (folder / "config.json").write_text(json.dumps(config))
    assert_same_logits(folder, prompt)


def test_an_exports_block_that_contradicts_its_file_is_refused(sources, tmp_path):
    config = json.loads((sources / "gpt2" / "config.json").read_text())
    config["altgrad"]["model"]["logit_softcap"] = 2.0
    with pytest.raises(ValueError, match=r"model\.logit_softcap=2\.0, which is no gpt2"):
        read_config(config)
    config["altgrad"]["model"]["logit_softcap"] = None
    config["altgrad"]["model"]["no_such_setting"] = 1
    with pytest.raises(ValueError, match="no_such_setting"):
        read_config(config)


def test_what_the_format_has_no_place_for_stays_when_a_field_is_edited(make_run, tmp_path):
    run = make_run(dropout=0.25, bias=False)
    export_run(run, tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer_norm_epsilon": 0.5}))
    config = load_run(import_model(str(tmp_path / "out"), tmp_path / "run")).model.config
    assert (config.norm_eps, config.dropout, config.bias) == (0.5, 0.25, False)
