"""Every tokenizer as a `tokenizer.json`: the same ids, the same text."""

import pytest
import tiktoken

from altgrad.data.tokenizers import ByteTokenizer, CharTokenizer
from altgrad.interchange.export import export_run
from altgrad.interchange.importing import import_model
from altgrad.interchange.tokenizer import write_tokenizer
from altgrad.training.build import load_run

TEXT = "Now is the winter; naïve café, 3.14 and\n\n  two  spaces — 漢字 🙂 \t end "


class BytePairs:
    """A tiktoken encoding as `altgrad.data` holds it."""

    name = "small"
    end_of_text = 300

    def __init__(self, encoding: tiktoken.Encoding):
        self._bpe = encoding
        self.encode = encoding.encode_ordinary
        self.decode = encoding.decode


@pytest.fixture
def byte_pairs():
    from tiktoken._educational import SimpleBytePairEncoding

    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    trained = SimpleBytePairEncoding.train(TEXT * 3, vocab_size=300, pat_str=pattern)
    encoding = tiktoken.Encoding(
        "small",
        pat_str=pattern,
        mergeable_ranks=trained.mergeable_ranks,
        special_tokens={"<|endoftext|>": 300},
    )
    return BytePairs(encoding)


def same_on(theirs, ours, text: str) -> None:
    ids = ours.encode(text)
    assert theirs.encode(text, add_special_tokens=False) == ids
    assert theirs.decode(ids) == text


def load(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_characters(tmp_path):
    ours = CharTokenizer.of_text(TEXT)
    write_tokenizer(ours, tmp_path)
    same_on(load(tmp_path), ours, TEXT)


def test_bytes(tmp_path):
    ours = ByteTokenizer()
    write_tokenizer(ours, tmp_path)
    same_on(load(tmp_path), ours, TEXT)


def test_byte_pairs_of_tiktoken(tmp_path, byte_pairs):
    write_tokenizer(byte_pairs, tmp_path)
    theirs = load(tmp_path)
    same_on(theirs, byte_pairs, TEXT)
    same_on(theirs, byte_pairs, TEXT[::-1])
    assert theirs.eos_token_id == 300


def test_one_of_your_own_is_refused(tmp_path):
    class Mine:
        name = "mine"

    with pytest.raises(ValueError, match="mine has no"):
        write_tokenizer(Mine(), tmp_path)


def test_a_models_own_tokenizer_file_comes_along_and_works(tmp_path, byte_pairs, make_run):
    """Imported without our block in `config.json`: the `tokenizer.json` is all there is."""
    import json

    run = make_run()
    export_run(run, tmp_path / "out", tokenizer=False)
    write_tokenizer(byte_pairs, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    config.pop("altgrad")
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    back = load_run(import_model(str(tmp_path / "out"), tmp_path / "back"))
    assert back.tokenizer.encode(TEXT) == byte_pairs.encode(TEXT)
    assert back.tokenizer.end_of_text == 300
