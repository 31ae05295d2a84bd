"""What texts are written on from, and what a run keeps to write when all else is gone."""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from altgrad.data import DataError
from altgrad.data.special_tokens import opening, prompt_ids
from altgrad.data.tokenizers import ByteTokenizer, CharTokenizer
from altgrad.interchange.writing import write, write_batch
from altgrad.model import GPT, GPTConfig
from altgrad.training.build import build_run, load_run, read_config, resume_run
from altgrad.training.config import TrainConfig

SMALL = {
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 16,
    "block_size": 8,
    "batch_size": 2,
    "max_steps": 2,
    "eval_interval": 2,
    "sample_tokens": 40,
    "device": "cpu",
    "compile": False,
}


@pytest.fixture
def make(tmp_path):
    """`make(file, content, **data settings)`: the settings of a tiny run on that text."""

    def config(file: str, content: str, *, vocab_size=None, prompts=None, **data) -> TrainConfig:
        (tmp_path / file).write_text(content)
        made = TrainConfig(**SMALL, run_dir=str(tmp_path / "run"))
        made.model.vocab_size = vocab_size
        made.sample_prompts = prompts or made.sample_prompts
        settings = {"path": str(tmp_path / file), "cache_dir": str(tmp_path / "cache"), **data}
        for name, value in settings.items():
            setattr(made.data, name, value)
        return made

    return config


def sample_of(config) -> str:
    summary = build_run(config).train()
    assert summary["status"] == "finished"
    assert '"trouble"' not in (Path(config.run_dir) / "events.jsonl").read_text()
    return (Path(config.run_dir) / "samples" / "step_00000002.txt").read_text()


DNA = "ACGTTGCA" * 40


@pytest.mark.parametrize(
    ("tokenizer", "found"),
    [
        (CharTokenizer.of_text("a\nb"), ("\n", [0])),
        (CharTokenizer.of_text("ab\0"), ("", [0])),
        (CharTokenizer.of_text("abc"), ("c", [2])),
        (ByteTokenizer(), ("\n", [10])),
    ],
)
def test_a_text_opens_with_a_line_break_else_end_of_text_else_a_token_of_the_text(tokenizer, found):
    assert opening(tokenizer, first=2) == found


def test_an_empty_prompt_begins_after_an_end_of_text_or_is_refused():
    assert prompt_ids(CharTokenizer.of_text("ab\0"), "") == [0]
    with pytest.raises(DataError, match=r"the prompt '' is no token .* has no end-of-text token"):
        prompt_ids(CharTokenizer.of_text("ab"), "")


@pytest.mark.parametrize(
    ("file", "content", "begins"),
    [
        ("x.txt", "one\ntwo\n" * 30, ""),
        ("x.txt", DNA, "[A]"),
        ("x.jsonl", "".join(json.dumps({"text": f"d{i}"}) + "\n" for i in range(90)), "[end of"),
    ],
)
def test_every_text_is_sampled_from_and_says_what_it_began_with(make, file, content, begins):
    assert sample_of(make(file, content)).startswith(begins)


def test_a_prompt_without_a_token_is_refused_before_the_run(make):
    with pytest.raises(DataError, match="'z' is not among"):
        build_run(make("x.txt", DNA, prompts=["z"]))


def test_tokens_beyond_the_tokenizer_are_never_drawn(make):
    config = make("x.txt", DNA, vocab_size=64)
    assert set(sample_of(config)) <= set("[ACGT]\n")
    run = load_run(Path(config.run_dir))
    assert set("".join(write(run, None, 50, temperature=9.0))) <= set("ACGT")
    assert set("".join(write(run, "A", 50, temperature=9.0))) <= set("ACGT")
    assert set("".join(write_batch(run, "A", 50, 2, temperature=9.0))) <= set("ACGT")


def test_a_vocabulary_that_is_not_padded_draws_as_before():
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, vocab_size=9)).eval()
    start = torch.zeros(1, 1, dtype=torch.long)
    whole = model.generate(start, 20, seed=3)
    assert torch.equal(model.generate(start, 20, seed=3, vocab_size=9), whole)
    assert model.generate(start, 20, seed=3, vocab_size=2).max() < 2


def test_a_run_keeps_its_tokenizer_and_needs_no_cache(make, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator([DNA], vocab_size=260, show_progress=False)
    trained.save(str(tmp_path / "mine.json"))
    config = make("x.txt", DNA * 4, tokenizer=str(tmp_path / "mine.json"))
    run = build_run(config).train()["run_dir"]
    (tmp_path / "mine.json").unlink()
    shutil.rmtree(tmp_path / "cache")
    assert load_run(Path(config.run_dir)).tokenizer.decode([65 - 33]) == "A"
    (Path(config.run_dir) / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json with sha256"):
        load_run(run)


def test_a_run_of_the_standard_input_can_be_resumed(make, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DNA.encode())))
    config = make("unused.txt", "", path="-")
    build_run(config).train()
    monkeypatch.setattr(sys, "stdin", None)
    run = Path(config.run_dir)
    own = read_config(run)
    assert own.data.path != "-"
    own.max_steps = 3
    assert resume_run(run, config=own, allow=["max_steps"]).train()["step"] == 3


def test_a_tokenizer_that_loses_text_is_told_at_the_start(make, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "to": 1}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "wl.json"))
    content = "to be or not to be " * 40
    trainer = build_run(make("x.txt", content, tokenizer=str(tmp_path / "wl.json"), prompts=["to"]))
    assert any("the tokenizer loses text" in remark for remark in trainer.remarks)
    assert "val_bits_per_byte" not in trainer.evaluator.metrics()


def test_plain_tokens_that_do_not_fit_the_vocabulary_are_refused(make, tmp_path):
    for split in ("train", "val"):
        (tmp_path / f"{split}.bin").write_bytes(bytes([1, 0, 44, 1]) * 50)
    config = make("unused.txt", "", path=str(tmp_path), cache_dir=None, vocab_size=256)
    with pytest.raises(DataError, match="holds the token 300, and a vocabulary of 256"):
        build_run(config)
