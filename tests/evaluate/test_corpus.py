"""Losses on texts as absolute values: what a model that knows nothing must get."""

import json
import math

import numpy as np
import pytest
import torch

from altgrad.data import DataConfig, DataError, load_metadata, load_tokenizer, load_tokens, prepare
from altgrad.data.tokenizers import ByteTokenizer, CharTokenizer
from altgrad.evaluate.corpus import evaluate_file, evaluate_split
from altgrad.evaluate.view import corpus_line
from altgrad.model import GPT, GPTConfig
from altgrad.training.evaluation import Evaluator
from altgrad.training.metrics import bits_per_byte

DOCUMENTS = [f"Der {i}. Akt — {'wörter ' * (i % 5)}aus" for i in range(40)]


def network(vocab_size: int, *, uniform: bool = False) -> GPT:
    torch.manual_seed(0)
    config = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, vocab_size=vocab_size)
    model = GPT(config).eval()
    if uniform:  # all logits are 0
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
    return model


def write(path, field="text"):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({field: text}) + "\n" for text in DOCUMENTS))
        return path
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({field: DOCUMENTS}), path)
    return path


def test_bits_per_byte_is_all_bits_over_all_bytes():
    # 10 predictions of 3 bits each, of a text of 5 bytes
    assert bits_per_byte(3 * math.log(2), predicted=10, n_bytes=5) == pytest.approx(6, abs=1e-12)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharTokenizer.of_text("abc dé")])
def test_a_model_that_knows_nothing_needs_log2_of_its_vocabulary_a_token(tmp_path, tokenizer):
    path = tmp_path / "x.txt"
    path.write_text("a bad café".replace("f", "d"), encoding="utf-8")
    found = evaluate_file(network(tokenizer.vocab_size, uniform=True), tokenizer, path)
    assert (found.tokens, found.bytes) == (11 if tokenizer.name == "byte" else 10, 11)
    expected = math.log2(tokenizer.vocab_size) * (found.tokens - 1) / 11
    assert found.bits_per_byte == pytest.approx(expected, abs=1e-6)


def test_training_measures_the_same_bits(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("to be or not to be " * 30)
    folder = prepare(DataConfig(path=str(path), tokenizer="byte", cache_dir=str(tmp_path)))
    meta, tokens = load_metadata(folder), load_tokens(folder, "val")
    model = network(256, uniform=True)
    how = {"block_size": 8, "batch_size": 4, "device": torch.device("cpu")}
    how["text_bytes"] = lambda _: meta.text_bytes("val")
    found = Evaluator(model, tokens, **how).metrics()["val_bits_per_byte"]
    assert found == pytest.approx(8 * (len(tokens) - 1) / len(tokens), rel=1e-6)
    assert found == pytest.approx(evaluate_split(model, folder).bits_per_byte, rel=1e-6)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("field", ["text", "body"])
def test_a_file_is_measured_exactly_as_the_split_that_was_made_of_it(tmp_path, suffix, field):
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps({field: f"{i} {text}"}) + "\n" for i, text in enumerate(DOCUMENTS))
    )
    val = write(tmp_path / f"val.{suffix}", field)
    paths = {"path": str(tmp_path / "train.jsonl"), "val_path": str(val)}
    config = DataConfig(**paths, tokenizer="byte", text_field=field, cache_dir=str(tmp_path / "c"))
    folder = prepare(config)
    model = network(256)
    split = evaluate_split(model, folder).to_dict()
    file = evaluate_file(model, load_tokenizer(folder), val, config=config).to_dict()
    ends = int((np.asarray(load_tokens(folder, "val")) == 0).sum())
    assert ends == len(DOCUMENTS) - 1
    assert file | {"text": ""} == split | {"text": ""}


@pytest.fixture
def losing(tmp_path):
    """A tokenizer of two words; all else is one unknown token, and spaces are gone."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "of": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "wl.json"))
    (tmp_path / "x.txt").write_text("out of the woods\n" * 50)
    paths = {"path": str(tmp_path / "x.txt"), "tokenizer": str(tmp_path / "wl.json")}
    return prepare(DataConfig(**paths, cache_dir=str(tmp_path / "cache")))


def test_a_tokenizer_that_loses_text_has_no_bits_per_byte(losing, tmp_path):
    model, tokenizer = network(3), load_tokenizer(losing)
    for found in (
        evaluate_split(model, losing),
        evaluate_file(model, tokenizer, tmp_path / "x.txt"),
    ):
        assert found.bits_per_byte is None
        assert found.lost > 0
        assert "no bits/byte: the tokenizer loses" in corpus_line(found)
    assert load_metadata(losing).text_bytes("val") is None


def test_plain_tokens_outside_the_vocabulary_are_refused(tmp_path):
    for split in ("train", "val"):
        np.array([1, 2, 300] * 30, dtype=np.uint16).tofile(tmp_path / f"{split}.bin")
    with pytest.raises(DataError, match="holds the token 300, and a vocabulary of 256 ends at 255"):
        evaluate_split(network(256), tmp_path)
