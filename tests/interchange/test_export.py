"""A model leaves for `transformers` and comes back: same logits, same text, same bits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from altgrad.interchange.export import export_run
from altgrad.interchange.importing import import_model, read_config, read_weights
from altgrad.interchange.shapes import OWN_PARTS, shape_of
from altgrad.model import GPTConfig
from altgrad.model.parts import PARTS
from altgrad.training.build import load_run
from tests.interchange.conftest import SHAPES, SIZES

READER = """
import json, sys, torch
sys.modules["altgrad"] = None  # importing it, where it is installed, is now an ImportError
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
ids = torch.tensor(json.loads(sys.argv[2]))
with torch.no_grad():
    logits = model(ids).logits
    how = {"attention_mask": torch.ones_like(ids), "pad_token_id": 0}
    text = model.generate(ids, max_new_tokens=30, do_sample=False, **how)
assert not any(name.startswith("altgrad.") for name in sys.modules)
torch.save({"logits": logits, "text": text, "class": type(model).__name__}, sys.argv[3])
"""


def read_elsewhere(folder: Path, ids: torch.Tensor, out: Path) -> dict:
    """What transformers makes of the folder, in a process that cannot see altgrad."""
    words = [sys.executable, "-I", "-c", READER, str(folder), json.dumps(ids.tolist()), str(out)]
    home = {"HOME": str(out.parent), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(words, cwd=out.parent, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out)


@pytest.mark.parametrize("name", SHAPES)
def test_a_model_is_exported_as_the_shape_it_has(name):
    shape, parts = SHAPES[name]
    assert shape_of(GPTConfig(**SIZES | parts)) == shape


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("gpt2_without_biases", marks=pytest.mark.slow),
        pytest.param("llama_grouped", marks=pytest.mark.slow),
        "nanochat",
    ],
)
def test_another_process_without_altgrad_gets_the_same_logits_and_text(
    name, make_run, prompt, tmp_path
):
    run = make_run(**SHAPES[name][1], block_size=64)
    export_run(run, tmp_path / "out")
    found = read_elsewhere(tmp_path / "out", prompt, tmp_path / "found.pt")
    expected = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}
    assert found["class"] == expected.get(SHAPES[name][0], "AltgradForCausalLM")
    assert (found["logits"] - run.model(prompt)[0]).abs().max() < 1e-5
    assert found["text"].tolist() == run.model.generate(prompt, 30, temperature=0).tolist()


def load_here(folder: Path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()


@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_equal(name, make_run, prompt, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    run = make_run(**SHAPES[name][1])
    export_run(run, tmp_path / "out")
    with torch.no_grad():
        theirs = load_here(tmp_path / "out")(prompt).logits
        ours = run.model(prompt)[0]
    assert (theirs - ours).abs().max() < 1e-5


OWN = [name for name, (shape, _) in SHAPES.items() if shape == "altgrad"]


@pytest.mark.parametrize("name", OWN)
def test_its_cache_gives_the_same_logits_and_searches(
    name, make_run, prompt, tmp_path, monkeypatch
):
    """Read in chunks; and a beam search, which sorts the rows of the cache anew at each token."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    export_run(make_run(**SHAPES[name][1]), tmp_path / "out")
    model = load_here(tmp_path / "out")
    how = {"attention_mask": torch.ones_like(prompt), "pad_token_id": 0, "do_sample": False}
    cache, pieces = None, []
    with torch.no_grad():
        for piece in prompt.split([4, 1, 4], dim=1):
            found = model(piece, past_key_values=cache, use_cache=True)
            cache = found.past_key_values
            pieces.append(found.logits)
        assert (torch.cat(pieces, dim=1) - model(prompt).logits).abs().max() < 1e-5
        texts = [
            model.generate(prompt, max_new_tokens=20, num_beams=3, use_cache=cached, **how)
            for cached in (True, False)
        ]
    assert cache.get_seq_length() == 9
    assert torch.equal(*texts)


@pytest.mark.parametrize("name", SHAPES)
def test_imported_back_it_has_the_same_bits_settings_and_tokenizer(name, make_run, tmp_path):
    run = make_run(**SHAPES[name][1])
    export_run(run, tmp_path / "out")
    import_model(str(tmp_path / "out"), tmp_path / "back")
    back = load_run(tmp_path / "back")
    assert back.model.config == run.model.config
    assert back.step == run.step
    assert back.tokenizer.describe() == run.tokenizer.describe()
    ours, theirs = run.model.state_dict(), back.model.state_dict()
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        assert torch.equal(tensor, theirs[key]), key


@pytest.mark.parametrize("name", ["gpt2", "gpt2_relu2", "llama", "llama_grouped", "llama_biases"])
def test_a_checkpoint_of_transformers_own_gives_its_logits(name, make_run, prompt, tmp_path):
    """Saved by transformers, so without anything of ours in `config.json`."""
    export_run(make_run(**SHAPES[name][1]), tmp_path / "out")
    theirs = load_here(tmp_path / "out")
    theirs.save_pretrained(tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    config.pop("altgrad")
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
    import_model(str(tmp_path / "theirs"), tmp_path / "run")
    settings, _ = read_config(config)
    from altgrad.model import GPT
    from altgrad.training.checkpoints.manager import find_checkpoint, load_into, load_weights

    ours = GPT(settings).eval()
    load_into(ours, load_weights(find_checkpoint(tmp_path / "run")))
    with torch.no_grad():
        assert (ours(prompt)[0] - theirs(prompt).logits).abs().max() < 1e-5


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in PARTS.items() for n in names])
def test_every_part_is_exported_exactly_or_refused_by_name(
    kind, name, make_run, prompt, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    run = make_run(**{kind: name})
    if name not in OWN_PARTS[kind]:
        with pytest.raises(ValueError, match=f"model.{kind}={name} cannot be exported"):
            export_run(run, tmp_path / "out")
        return
    export_run(run, tmp_path / "out")
    with torch.no_grad():
        difference = load_here(tmp_path / "out")(prompt).logits - run.model(prompt)[0]
    assert difference.abs().max() < 1e-5


def test_an_outside_part_is_refused_and_nothing_is_left(make_run, tmp_path):
    run = make_run()
    run.model.config.attention = "mine:Attention"
    with pytest.raises(ValueError, match=r"model\.attention=mine:Attention cannot be exported"):
        export_run(run, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_written_into(make_run, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        export_run(make_run(), tmp_path / "out")


def test_a_bfloat16_checkpoint_in_several_files_is_imported_exactly(make_run, tmp_path):
    from safetensors.torch import load_file, save_file

    run = make_run()
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.copy_(parameter.bfloat16())
    export_run(run, tmp_path / "out")
    whole = load_file(tmp_path / "out" / "model.safetensors")
    names = sorted(whole)
    files = {n: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, n in enumerate(names)}
    for file in set(files.values()):
        part = {n: whole[n].bfloat16() for n in names if files[n] == file}
        save_file(part, tmp_path / "out" / file)
    (tmp_path / "out" / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": files}
    (tmp_path / "out" / "model.safetensors.index.json").write_text(json.dumps(index))
    found = read_weights(tmp_path / "out")
    for name, tensor in whole.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "model_type='mamba' cannot be imported"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"activation_function": "tanh"}, "activation_function=tanh"),
    ],
)
def test_what_has_no_counterpart_is_refused(change, message, make_run, tmp_path):
    export_run(make_run(), tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    config = json.loads(path.read_text()) | change
    config.pop("altgrad")
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        import_model(str(tmp_path / "out"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_llama_with_scaled_positions_is_refused():
    with pytest.raises(ValueError, match="rope_type=llama3"):
        read_config({"model_type": "llama", "rope_scaling": {"rope_type": "llama3"}})


def test_a_missing_tensor_a_damaged_file_and_a_wrong_name_are_refused(make_run, tmp_path):
    from safetensors.torch import load_file, save_file

    export_run(make_run(), tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    weights = load_file(path)
    save_file({n: t for n, t in weights.items() if "ln_f" not in n}, path)
    with pytest.raises(ValueError, match="2 missing"):
        import_model(str(tmp_path / "out"), tmp_path / "run")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged"):
        import_model(str(tmp_path / "out"), tmp_path / "run")
    with pytest.raises(ValueError, match="no such folder, nor a name on the hub"):
        import_model(str(tmp_path / "nowhere"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_heads_for_later_tokens_stay_behind(make_run, tmp_path):
    run = make_run(**SHAPES["llama"][1], mtp_heads=2)
    export_run(run, tmp_path / "out")
    import_model(str(tmp_path / "out"), tmp_path / "back")
    back = load_run(tmp_path / "back").model
    assert back.config.mtp_heads == 0
    assert not [name for name in read_weights(tmp_path / "out") if "mtp" in name]
    ids = torch.arange(8)[None]
    assert torch.equal(back(ids)[0], run.model.eval()(ids)[0])
