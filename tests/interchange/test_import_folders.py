"""What a folder may hold: the files transformers would take, and one clear line for the rest."""

import json
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from altgrad.cli import main
from altgrad.interchange.export import export_run
from altgrad.interchange.importing import import_model, read_model
from tests.interchange.conftest import LLAMA
from tests.interchange.test_config_fields import assert_same_logits

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(make_run, tmp_path):
    """An export that says nothing of altgrad: as if it came from elsewhere."""
    export_run(make_run(), tmp_path / "out")
    edit(tmp_path / "out", altgrad=None)
    return tmp_path / "out"


def edit(folder, **changes):
    """Set fields of `config.json`; None removes one."""
    config = json.loads((folder / "config.json").read_text()) | changes
    config = {k: v for k, v in config.items() if v is not None}
    (folder / "config.json").write_text(json.dumps(config))


def refused(capsys, source, *words: str) -> str:
    """The one line with which `altgrad import` refuses, in a process that would exit with 2."""
    assert main(["import", str(source), "--out", "run", *words]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "Traceback" not in message
    return message


# -- which tensors ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_a_single_file_goes_before_a_stale_index(folder, prompt):
    old = {n: torch.zeros_like(t) for n, t in load_file(folder / WEIGHTS).items()}
    save_file(old, folder / "model-00001-of-00001.safetensors", metadata={"format": "pt"})
    places = {"weight_map": dict.fromkeys(old, "model-00001-of-00001.safetensors")}
    (folder / INDEX).write_text(json.dumps(places))
    assert_same_logits(folder, prompt)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("parts", [{}, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("case", ["a head of its own", "the same head twice", "the head alone"])
def test_a_head_is_taken_as_transformers_takes_it(case, parts, make_run, tmp_path, prompt):
    """`tie_word_embeddings` is true in all of them."""
    export_run(make_run(**parts), tmp_path / "out")
    path = tmp_path / "out" / WEIGHTS
    weights = load_file(path)
    table = next(name for name in weights if name.endswith(("wte.weight", "embed_tokens.weight")))
    weights["lm_head.weight"] = weights[table] * (2.0 if case == "a head of its own" else 1.0)
    if case == "the head alone":
        del weights[table]
    save_file(weights, path, metadata={"format": "pt"})
    assert_same_logits(tmp_path / "out", prompt)


@pytest.mark.filterwarnings("ignore")
def test_biases_that_were_trained_since_the_export_come_back(make_run, tmp_path, prompt):
    export_run(make_run(bias=False), tmp_path / "out")
    weights = load_file(tmp_path / "out" / WEIGHTS)
    weights["transformer.h.0.mlp.c_fc.bias"] += 1.0
    save_file(weights, tmp_path / "out" / WEIGHTS, metadata={"format": "pt"})
    assert_same_logits(tmp_path / "out", prompt)


# -- what cannot be imported --------------------------------------------------------------------


def test_other_formats_are_named_with_the_way_to_change_them(folder, capsys, tmp_path):
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    assert "never pickles" in refused(capsys, folder)
    (folder / "pytorch_model.bin").rename(folder / "model.gguf")
    assert "gguf_file='model.gguf'" in refused(capsys, folder)
    assert "GGUF is not read" in refused(capsys, folder / "model.gguf")
    (folder / "adapter_config.json").write_text("{}")
    assert "merge_and_unload" in refused(capsys, folder)
    (tmp_path / "one.safetensors").write_bytes(b"")
    assert "import the folder it lies in" in refused(capsys, tmp_path / "one.safetensors")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "config.json cannot be read" in refused(capsys, empty)


def test_a_model_without_a_tokenizer_needs_the_name_of_one(make_run, capsys, tmp_path):
    export_run(make_run(vocab_size=256), tmp_path / "out", tokenizer=False)
    assert "--tokenizer gpt2, byte" in refused(capsys, tmp_path / "out")
    assert "unknown data.tokenizer 'bite'" in refused(
        capsys, tmp_path / "out", "--tokenizer", "bite"
    )
    assert main(["import", str(tmp_path / "out"), "--out", "run", "--tokenizer", "byte"]) == 0
    assert main(["sample", "run", "--tokens", "3"]) == 0


INDEXES = {
    "no map": {},
    "a map that is a list": {"weight_map": []},
    "an empty map": {"weight_map": {}},
    "a number for a file": {"weight_map": {"a": 3}},
    "a file elsewhere": {"weight_map": {"a": "../x.safetensors"}},
    "a list": [],
    "a missing file": {"weight_map": {"a": "gone.safetensors"}},
}


@pytest.mark.parametrize("index", INDEXES)
def test_an_index_that_says_no_place_is_one_line(index, folder, capsys):
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps(INDEXES[index]))
    named = "gone.safetensors" if index == "a missing file" else INDEX
    assert named in refused(capsys, folder)


CONFIGS = {
    "no JSON": "{",
    "a list": "[]",
    "a text": '"gpt2"',
    "nested without end": "[" * 100_000,
    "no text at all": b"\xff\xfe\x00",
    "no model_type": '{"vocab_size": 5}',
}


@pytest.mark.parametrize("content", CONFIGS)
def test_a_config_that_is_no_object_is_one_line(content, folder, capsys):
    text = CONFIGS[content]
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(capsys, folder)


SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
ODD = ("2", 2.5, True, [], {}, 0, -1, 10**30, 2**31, float("nan"), float("inf"))


@pytest.mark.parametrize("field", SIZES)
def test_a_missing_or_mistyped_size_is_named(field, folder, capsys):
    before = json.loads((folder / "config.json").read_text())
    for value in (None, *ODD):
        edit(folder, **{field: value})
        assert field in refused(capsys, folder), value
        (folder / "config.json").write_text(json.dumps(before))


@pytest.mark.parametrize(
    "change",
    [
        {"layer_norm_epsilon": "small"},
        {"layer_norm_epsilon": float("nan")},
        {"layer_norm_epsilon": -1.0},
        {"tie_word_embeddings": "yes"},
        {"activation_function": ["gelu"]},
        {"resid_pdrop": 2.0, "embd_pdrop": 2.0, "attn_pdrop": 2.0},
        {"n_inner": "wide"},
        {"n_layer": 10**6},
        {"n_embd": 2**31 - 1, "n_head": 1},
        {"n_inner": 2**31 - 1},
        {"altgrad": []},
        {"altgrad": {"model": []}},
        {"altgrad": {"model": {"n_layer": "2"}}},
        {"altgrad": {"tokenizer": "byte"}},
        {"altgrad": {"step": "7"}},
        {"altgrad": {"step": -7}},
        {"eos_token_id": "end"},
        {"bos_token_id": [[1]]},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_an_impossible_value_is_one_line_and_leaves_nothing(change, folder, capsys, tmp_path):
    edit(folder, **change)
    (folder / "generation_config.json").unlink()  # it would go before the ids in `config.json`
    refused(capsys, folder)
    assert not (tmp_path / "run").exists()


def test_a_context_without_end_is_refused_before_its_tables_are_made(make_run, capsys, tmp_path):
    export_run(make_run(**LLAMA), tmp_path / "out")
    edit(tmp_path / "out", max_position_embeddings=2**30)
    assert "a context of" in refused(capsys, tmp_path / "out")


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "complex64", "float64"])
def test_tensors_that_are_no_weights_of_ours_are_named(dtype, folder, capsys):
    weights = load_file(folder / WEIGHTS)
    weights["transformer.ln_f.weight"] = (weights["transformer.ln_f.weight"].double() / 3).to(
        getattr(torch, dtype)
    )
    save_file(weights, folder / WEIGHTS)
    assert "transformer.ln_f.weight" in refused(capsys, folder)


def test_a_missing_a_further_and_a_misshapen_tensor_are_named(folder, capsys):
    weights = load_file(folder / WEIGHTS)
    changes = {
        "1 missing, 0 unknown": {n: t for n, t in weights.items() if "ln_f.bias" not in n},
        "0 missing, 1 unknown": weights | {"more": torch.ones(1)},
        "0 unknown and 1 differently": weights | {"transformer.ln_f.bias": torch.ones(3)},
    }
    for message, tensors in changes.items():
        save_file(tensors, folder / WEIGHTS)
        assert message in refused(capsys, folder)


def test_damaged_files_are_one_line_each(folder, capsys):
    """Cut anywhere, and with any of its first bytes changed: a header that cannot be."""
    whole = (folder / WEIGHTS).read_bytes()
    draw = random.Random(0)
    damaged = [whole[: draw.randrange(len(whole))] for _ in range(15)]
    damaged += [b"", b"\xff" * 8, (2**62).to_bytes(8, "little") + whole[8:], whole + b"more"]
    damaged += [whole.replace(b'"F32"', dtype, 1) for dtype in (b'"F99"', b'"F4" ', b'"BF16"')]
    for content in damaged:
        (folder / WEIGHTS).write_bytes(content)
        assert WEIGHTS in refused(capsys, folder), content[:40]
    for _ in range(40):
        at = draw.randrange(2000)
        content = whole[:at] + bytes([draw.randrange(256)]) + whole[at + 1 :]
        (folder / WEIGHTS).write_bytes(content)
        if main(["import", str(folder), "--out", "run"]) == 0:  # a number, or the same byte
            shutil.rmtree("run")
        assert "Traceback" not in capsys.readouterr().err


# -- there and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["gpt2", "llama", "nanochat", "shakespeare"])
def test_every_presets_parts_come_back_bit_for_bit(preset, make_run, tmp_path, prompt, monkeypatch):
    from dataclasses import asdict

    from altgrad.model import preset as preset_of
    from tests.interchange.conftest import SIZES as TINY

    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    small = TINY | {"n_kv_head": None, "head_dim": None, "n_inner": None, "mtp_heads": 0}
    run = make_run(**asdict(preset_of(preset)) | small)
    export_run(run, tmp_path / "out")
    assert_same_logits(tmp_path / "out", prompt)
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    back = read_model(tmp_path / "out", values)
    assert back.config == run.model.config
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


def test_export_without_the_extra_names_it(make_run, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"needs tokenizers: pip install 'altgrad\[hf\]'"):
        export_run(make_run(), tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))
    export_run(make_run(), tmp_path / "out", tokenizer=False)
    assert (tmp_path / "out" / WEIGHTS).is_file()


def test_an_import_leaves_an_existing_run_alone(folder, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        import_model(str(folder), tmp_path / "run")
