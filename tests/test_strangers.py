"""A file that somebody sent runs no code: every command that reads one, every name it can hold.

The stranger's folder lies open in the working directory, with code beside it that leaves a mark
when it is imported: the worst place for it.
"""

import json
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml

from altgrad import trust
from altgrad.cli import USER_MISTAKE, main
from altgrad.data import Metadata
from altgrad.interchange.export import export_run
from altgrad.interchange.run_writer import data_facts, write_run
from altgrad.model import GPT
from altgrad.training import TrainConfig
from altgrad.training.build import load_run

CODE = "layers_x:A"
MARK = Path("it-ran")
TEXT = "To be, or not to be, that is the question.\n" * 40
VOCABULARY = "".join(sorted(set(TEXT)))
SIZES = ["model=gpt2", "model.n_layer=1", "model.n_head=1", "model.n_embd=8", "model.block_size=8"]
TINY = [*SIZES, "data.path=text.txt", "data.batch_size=2", "max_steps=2", "eval_interval=2"]
TINY += ["compile=false", "device=cpu", "precision=fp32"]
PARTS = ("embedding", "position", "norm", "attention", "mlp", "block", "residual")

# Where in a run folder's files the name stands.
MODEL = {f"model.{part}": ("config.yaml", "model", part) for part in PARTS}
TRAINING = {
    "optim": ("config.yaml", "optim", "name"),
    "schedule": ("config.yaml", "schedule", "name"),
    "tokenizer setting": ("config.yaml", "data", "tokenizer"),
}
READ_BACK = {"tokenizer": ("data.json", "tokenizer", "name")}
TRACKER = {"tracker": ("config.yaml", "tracker", "names")}
KINDS = MODEL | TRAINING | READ_BACK | TRACKER
USES = {
    "sample": ["sample", "stranger", "--tokens", "2", "--prompt", "T"],
    "eval": ["eval", "stranger", "--text", "text.txt", "--tasks", "loss", "--device", "cpu"],
    "export": ["export", "stranger"],
    "serve": ["serve", "stranger"],
    "merge": ["merge", "stranger"],
}
REPEATS = {"resume": ["resume", "stranger"], "reproduce": ["reproduce", "stranger"]}
CASES = [
    *((USES["sample"], kind) for kind in MODEL),
    *((words, kind) for words in USES.values() for kind in ("model.mlp", "tokenizer")),
    (USES["eval"], "tokenizer setting"),
    *((words, kind) for words in REPEATS.values() for kind in {"model.attention": 0} | TRAINING),
    (REPEATS["resume"], "tracker"),
]


@pytest.fixture(autouse=True)
def stranger(monkeypatch):
    """`./stranger`, a whole run without any name yet, and `./layers_x.py`."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "layers_x", raising=False)
    Path("text.txt").write_text(TEXT)
    Path("layers_x.py").write_text(
        f"from pathlib import Path\nPath({str(MARK.resolve())!r}).touch()\nclass A: ...\n"
    )
    return make_run(Path("stranger"))


def make_run(path: Path, position: str = "learned") -> Path:
    config = TrainConfig(n_layer=1, n_head=1, n_embd=8, block_size=8, vocab_size=len(VOCABULARY))
    config.model.position = position
    config.data.path, config.device, config.max_steps = "text.txt", "cpu", 2
    tokenizer = {"name": "char", "vocabulary": VOCABULARY}
    size = len(VOCABULARY)
    metadata = Metadata("text", "?", [], "?", tokenizer, size, "uint16", {})
    made = write_run(path, config, GPT(config.model), data_facts(metadata), step=2, origin="test")
    (made / "metrics.jsonl").write_text('{"step": 2, "loss": 3.0, "val_loss": 3.0}\n')
    with (made / "events.jsonl").open("a") as events:
        events.write('{"event": "interrupted", "step": 2}\n')
    return made


def plant(run: Path, kind: str, code: str = CODE) -> Path:
    """Write the name into the run's file."""
    file, group, leaf = KINDS[kind]
    read, write = (json.loads, json.dumps)
    if file.endswith("yaml"):
        read, write = yaml.safe_load, yaml.safe_dump
    content = read((run / file).read_text())
    content[group][leaf] = [code] if kind == "tracker" else code
    (run / file).write_text(write(content))
    return run / file


def refused(capsys, *words: str) -> str:
    assert main(list(words)) == USER_MISTAKE
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    assert not MARK.exists(), "it ran"
    return message


def runs_when_trusted(monkeypatch, *words: str) -> None:
    """Whatever comes of it: the code is not fit for anything but leaving its mark."""
    monkeypatch.setattr("altgrad.interchange.serve.serve", lambda *_, **__: None)
    with suppress(AttributeError, TypeError):
        main([*words, "--trust", CODE])
    assert MARK.exists()


@pytest.mark.parametrize(("words", "kind"), CASES, ids=lambda x: x[0] if isinstance(x, list) else x)
def test_a_run_folder_runs_no_code_unless_it_is_trusted(stranger, capsys, monkeypatch, words, kind):
    file = plant(stranger, kind)
    message = refused(capsys, *words)
    assert f"={CODE} stands in {file}" in message
    assert str(Path("layers_x.py").resolve()) in message
    assert f"--trust {CODE}" in message
    runs_when_trusted(monkeypatch, *words)


@pytest.mark.parametrize("kind", ["model.attention", "tokenizer"])
def test_what_python_itself_can_do_is_refused_as_well(stranger, capsys, kind):
    plant(stranger, kind, "os:abort")
    assert "Python's own module os" in refused(capsys, *USES["sample"])


@pytest.mark.parametrize("kind", ["model.attention", "tokenizer", "tracker"])
def test_looking_at_a_run_loads_nothing(stranger, kind):
    plant(stranger, kind)
    Path("runs").mkdir()
    make_run(Path("runs/theirs"))
    plant(Path("runs/theirs"), kind)
    for words in (
        ["show"],
        ["show", "stranger"],
        ["plot", "stranger", "--out", "p.png"],
        ["gc", "stranger", "--dry-run"],
        ["watch", "stranger", "--every", "0.01"],
    ):
        assert main(words) in (0, 1)
        assert not MARK.exists(), words


def test_a_report_loads_nothing(stranger, capsys):
    plant(stranger, "model.attention")
    main(["report", "stranger", str(make_run(Path("other"))), "--axis", "model"])
    assert not MARK.exists()


def test_the_base_of_adapters_runs_no_code(stranger, capsys, monkeypatch):
    for run in (make_run(Path("base")), stranger):
        plant(run, "model.attention")
    content = yaml.safe_load((stranger / "config.yaml").read_text())
    content["init_from"], content["finetune"]["name"] = "base", "lora"
    (stranger / "config.yaml").write_text(yaml.safe_dump(content))
    words = ["sample", "stranger"]
    said = refused(capsys, *words)
    assert "stands in" in said
    assert "base/config.yaml" in said
    runs_when_trusted(monkeypatch, *words)


@pytest.mark.parametrize("command", ["train", "verify"])
def test_a_run_to_start_from_runs_no_code(stranger, capsys, monkeypatch, command):
    plant(stranger, "model.attention")
    words = [command, "init_from=stranger", "data.path=text.txt", "device=cpu", "compile=false"]
    assert f"model.attention={CODE} stands in stranger" in refused(capsys, *words)
    runs_when_trusted(monkeypatch, *words)


@pytest.fixture
def exported(stranger):
    """What a hub holds: weights and a `config.json`, of a network that is neither GPT-2's nor
    Llama's: in theirs no part has another name."""
    export_run(load_run(make_run(Path("own"), position="rope")), Path("hub"))
    return Path("hub/config.json")


def plant_in_config_json(exported: Path, part: str) -> None:
    content = json.loads(exported.read_text())
    content["altgrad"]["model"][part] = CODE
    exported.write_text(json.dumps(content))


def test_a_config_json_from_a_hub_runs_no_code(exported, capsys, monkeypatch):
    plant_in_config_json(exported, "attention")
    assert f"model.attention={CODE} stands in hub/config.json" in refused(capsys, "import", "hub")
    runs_when_trusted(monkeypatch, "import", "hub")


def test_a_part_that_the_format_cannot_have_is_refused_before_any_code(exported, capsys):
    plant_in_config_json(exported, "norm")
    assert f"norm={CODE} cannot be imported" in refused(capsys, "import", "hub")


def test_an_imported_tokenizer_stays_a_strangers(exported, capsys, monkeypatch):
    content = json.loads(exported.read_text())
    content["altgrad"]["tokenizer"] = {"name": CODE}
    exported.write_text(json.dumps(content))
    assert main(["import", "hub", "--out", "imported"]) == 0
    capsys.readouterr()
    for words in (["sample", "imported"], ["eval", "imported", "--text", "text.txt"]):
        assert f"data.tokenizer={CODE} stands in imported/" in refused(capsys, *words)
    runs_when_trusted(monkeypatch, "sample", "imported")


def test_a_folder_of_tokens_runs_no_code(capsys, monkeypatch):
    folder = Path("tokens")
    folder.mkdir()
    for split in ("train", "val"):
        np.zeros(99, np.uint16).tofile(folder / f"{split}.bin")
    splits = {name: {"tokens": 99} for name in ("train", "val")}
    made = asdict(Metadata("t", "?", [], "?", {"name": CODE}, 9, "uint16", {}))
    (folder / "meta.json").write_text(json.dumps({**made, "splits": splits}))
    words = ["train", *(w for w in TINY if not w.startswith("data.path")), "data.path=tokens"]
    assert f"data.tokenizer={CODE} stands in tokens/meta.json" in refused(capsys, *words)
    runs_when_trusted(monkeypatch, *words)


@pytest.mark.parametrize(
    "arm",
    [
        [f"model.attention={CODE}"],
        ["data.text_field=layers_x", "'model.attention=${data.text_field}:A'"],
        [f"data.tokenizer={CODE}"],
        [f"optim.name={CODE}"],
        [f"tracker.names=[{CODE}]"],
    ],
    ids=["part", "composed", "tokenizer", "optimiser", "tracker"],
)
def test_an_experiment_file_runs_no_code(capsys, arm):
    question = {"base": TINY, "arms": {"a": [], "b": [w.strip("'") for w in arm]}, "axis": ["x"]}
    Path("q.yaml").write_text(yaml.safe_dump(question))
    words = ["compare", "q.yaml", "--dry-run"]
    assert f"={CODE} stands in q.yaml" in refused(capsys, *words)
    main([*words, "--trust", CODE])
    assert "stands in" not in capsys.readouterr().err


def test_a_baseline_runs_no_code(stranger, capsys):
    settings = yaml.safe_load(plant(stranger, "model.attention").read_text())
    record = {"name": "b", "settings": settings, "runs": {"1": {}}, "target": 1.0, "data": "?"}
    Path("b.json").write_text(json.dumps({**record, "tolerance": 0.1, "spread": 0.1}))
    words = ["baseline", "verify", "b.json"]
    assert f"model.attention={CODE} stands in b.json" in refused(capsys, *words)
    assert "is not the record's data" in refused(capsys, *words, "--trust", CODE)


# -- one's own ------------------------------------------------------------------------------------

OWN = (
    "from altgrad.model.mlp import GELU\n"
    "from altgrad.data.tokenizers import ByteTokenizer\n"
    "class Mine(GELU): ...\n"
    "class Bytes(ByteTokenizer):\n    name = 'mine_of_this:Bytes'\n"
)


def test_what_was_typed_once_needs_no_second_word(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "mine_of_this", raising=False)
    Path("mine_of_this.py").write_text(OWN)
    own = ["model.mlp=mine_of_this:Mine", "data.tokenizer=mine_of_this:Bytes", "run_dir=r"]
    assert main(["train", *TINY, *own]) == 0
    forget(monkeypatch)
    for words in (
        ["sample", "r", "--prompt", "T", "--tokens", "2"],
        ["eval", "r", "--device", "cpu"],
        ["resume", "r", "max_steps=3", "resume.allow=[max_steps]"],
        ["reproduce", "r", "--out", "again"],
    ):
        assert main(words) in (0, USER_MISTAKE if words[0] == "reproduce" else 0), words
        assert "--trust" not in capsys.readouterr().err


def forget(monkeypatch) -> None:
    """As in the next process of the same person."""
    monkeypatch.setattr(trust, "_said", {})
    monkeypatch.setattr(trust, "_typed", set())


def test_the_same_name_in_another_folder_is_another_code(stranger, capsys, monkeypatch):
    plant(stranger, "model.attention")
    home = Path("home-of-mine")
    home.mkdir()
    (home / "layers_x.py").write_text("class A: ...\n")
    trust.require(CODE, setting="model.attention", folders=[str(home.resolve())], runs="")
    assert "stands in" in refused(capsys, *USES["sample"])


def test_code_of_ones_own_is_lent_no_file_of_a_strangers_folder(stranger, capsys, monkeypatch):
    """One's own part is on the Python path and imports a helper that lies in the stranger's."""
    own = Path("elsewhere").resolve()
    own.mkdir()
    (own / "mine_elsewhere.py").write_text("import layers_x\nclass A: ...\n")
    monkeypatch.syspath_prepend(str(own))
    name = "mine_elsewhere:A"
    trust.require(name, setting="model.attention", folders=[str(own)], runs="")
    plant(stranger, "model.attention", name)
    assert "No module named 'layers_x'" in refused(capsys, *USES["sample"])


def test_presets_of_ones_own_folder_are_ones_own_words(stranger, capsys):
    Path("conf/model").mkdir(parents=True)
    sizes = dict(word.removeprefix("model.").split("=") for word in SIZES[1:])
    preset = {**{k: int(v) for k, v in sizes.items()}, "attention": CODE}
    Path("conf/model/own.yaml").write_text(yaml.safe_dump(preset))
    question = {"base": [w for w in TINY if "model" not in w], "axes": {"model": ["gpt2", "own"]}}
    Path("q.yaml").write_text(yaml.safe_dump(question))
    main(["compare", "q.yaml", "--config-dir", "conf", "--dry-run"])
    assert "stands in" not in capsys.readouterr().err


def test_trust_takes_a_name_of_code_only(capsys):
    assert "package.module:Class" in refused(capsys, "sample", "stranger", "--trust", "layers_x")


def test_a_damaged_memory_trusts_nobody(stranger, capsys):
    plant(stranger, "model.attention")
    trust.ledger().parent.mkdir(parents=True)
    for content in ("[", "[]", '{"layers_x:A": 3}', '"layers_x:A"'):
        trust.ledger().write_text(content)
        assert "stands in" in refused(capsys, *USES["sample"])
