import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altgrad.data import DataConfig, DataError, load_tokenizer, load_tokens, prepare
from altgrad.data.bpe import gpt2_from_files
from altgrad.data.hf_tokenizer import FileTokenizer
from altgrad.data.show_tokens import bracketed, bytes_per_token, coloured, token_pieces
from altgrad.data.tokenizers import ByteTokenizer, CharTokenizer
from altgrad.data.train_tokenizer import train_tokenizer

EASY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)


@pytest.fixture
def config(text_file, tmp_path):
    return DataConfig(path=str(text_file), cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def trained(config, tmp_path):
    return train_tokenizer(config, 300, folder=tmp_path / "made")


@given(st.text(max_size=60))
@EASY
def test_all_three_formats_give_the_same_ids(trained, text):
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    from tiktoken_ext.openai_public import r50k_pat_str

    ours = FileTokenizer(trained / "tokenizer.json")
    ids = ours.encode(text)
    assert gpt2_from_files(trained / "vocab.bpe", trained / "encoder.json").encode(text) == ids
    ranks = load_tiktoken_bpe(str(trained / "ranks.tiktoken"))
    assert (
        tiktoken.Encoding(
            "x", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={}
        ).encode_ordinary(text)
        == ids
    )
    assert ours.decode(ids) == text
    assert b"".join(map(ours.token_bytes, ids)) == text.encode()


def test_transformers_loads_the_folder(trained, text):
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(str(trained))
    assert loaded(text[:500])["input_ids"] == FileTokenizer(trained / "tokenizer.json").encode(
        text[:500]
    )
    assert loaded.eos_token_id == 299


def test_the_vocabulary_has_the_size_asked_for_with_end_of_text_last(trained):
    tokenizer = FileTokenizer(trained / "tokenizer.json")
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (300, 299)


def test_end_of_text_is_never_read_out_of_a_text(trained):
    tokenizer = FileTokenizer(trained / "tokenizer.json")
    assert 299 not in tokenizer.encode("so <|endoftext|> it ends")
    assert tokenizer.decode(tokenizer.encode("so <|endoftext|> it")) == "so <|endoftext|> it"


@pytest.mark.parametrize("name", ["", "/tokenizer.json"])
def test_a_corpus_is_prepared_with_it_and_keeps_a_copy(trained, config, text, name):
    config.tokenizer = f"{trained}{name}"
    folder = prepare(config)
    (trained / "tokenizer.json").unlink()
    tokenizer = load_tokenizer(folder)
    ids = [i for split in ("train", "val") for i in load_tokens(folder, split).tolist()]
    assert tokenizer.decode(ids) == text
    assert tokenizer.path == folder / "tokenizer.json"


def test_another_tokenizer_file_makes_another_folder(trained, config, tmp_path):
    other = train_tokenizer(config, 290, folder=tmp_path / "other")
    folders = set()
    for made in (trained, other):
        config.tokenizer = str(made)
        folders.add(prepare(config))
    assert len(folders) == 2


def test_only_the_training_text_is_looked_at(tmp_path):
    (tmp_path / "x.txt").write_text("abab abab " * 50 + "xyzxyz " * 10)
    config = DataConfig(path=str(tmp_path / "x.txt"), cache_dir=str(tmp_path), val_fraction=0.2)
    made = train_tokenizer(config, 259, folder=tmp_path / "made")
    pieces = [FileTokenizer(made / "tokenizer.json").token_bytes(i) for i in (256, 257)]
    assert b"x" not in b"".join(pieces)


@pytest.mark.parametrize(
    ("size", "words"),
    [(256, "at least 257"), (50_000, r"pairs for \d+ tokens only; use vocab_size=\d+ or more")],
)
def test_an_impossible_size_is_refused(config, tmp_path, size, words):
    with pytest.raises(DataError, match=words):
        train_tokenizer(config, size, folder=tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_an_existing_folder_is_not_overwritten(config, trained):
    with pytest.raises(DataError, match=r"made exists; choose another folder with --out"):
        train_tokenizer(config, 300, folder=trained)


@pytest.mark.parametrize("content", ["", "{", '{"model": 3}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, config, content):
    (tmp_path / "tokenizer.json").write_text(content)
    config.tokenizer = str(tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match=r"is not a tokenizer\.json"):
        prepare(config)


def test_compression_is_bytes_over_tokens():
    assert bytes_per_token(ByteTokenizer(), "naïve") == 1.0
    assert bytes_per_token(CharTokenizer("aenvï"), "naïve") == 6 / 5


def test_pieces_show_every_token():
    assert token_pieces(ByteTokenizer(), "aé") == ["a", "\\xc3", "\\xa9"]
    assert bracketed(["a", " b"]) == "[a][ b]"
    assert coloured(["a\n", "b"]).count("\033[30;48") == 3
