import importlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altgrad.data import DataConfig, load_metadata, load_tokens, prepare
from altgrad.data.bpe import gpt2, gpt2_from_files
from altgrad.data.errors import DataError
from altgrad.data.hf_tokenizer import FileTokenizer
from altgrad.data.metadata import Metadata
from altgrad.data.tokenizers import (
    ByteTokenizer,
    CharTokenizer,
    build_tokenizer,
    identify,
    load_tokenizer,
)

SAMPLES = [
    "Hello, world",
    "it's  2\n\n\tdays",
    "naïve — 日本語 🙂",
    " <|endoftext|> ",
    "",
    "\r\n  ",
]


@given(st.text())
def test_characters_come_back_as_they_were(text):
    tokenizer = CharTokenizer.of_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.vocab_size == len(set(text))


@given(st.text())
def test_bytes_are_those_of_utf8(text):
    tokenizer = ByteTokenizer()
    assert bytes(tokenizer.encode(text)) == text.encode()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_array(text).tolist() == tokenizer.encode(text)


def test_characters_are_numbered_in_sorted_order():
    assert CharTokenizer.of_text("banana ").encode("nab ") == [3, 1, 2, 0]


@pytest.mark.parametrize("stranger", ["z", "é", "🙂"])
def test_a_character_outside_the_vocabulary_is_refused(stranger):
    with pytest.raises(DataError, match=f"character '{stranger}' is not among the 3"):
        CharTokenizer.of_text("abc").encode("ab" + stranger)


@pytest.fixture
def oracle(small_gpt2_files):
    """The reference implementation over the same two small files."""
    from tokenizers import ByteLevelBPETokenizer

    merges, vocabulary = small_gpt2_files
    return ByteLevelBPETokenizer(str(vocabulary), str(merges))


@given(st.text(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_gpt2_encoding_equals_the_reference_over_the_same_files(oracle, small_gpt2_files, text):
    tokenizer = gpt2_from_files(*small_gpt2_files)
    assert tokenizer.encode(text) == oracle.encode(text).ids
    assert tokenizer.encode_array(text).tolist() == tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.fixture(scope="module")
def real_gpt2():
    cache = Path("~/.cache/altgrad").expanduser()
    if not (cache / "tokenizers" / "gpt2" / "encoder.json").is_file():
        pytest.skip("GPT-2's two files are not in the cache; any run with tokenizer=gpt2 puts them")
    return cache / "tokenizers" / "gpt2"


def test_the_published_files_give_the_published_ids(real_gpt2):
    tokenizer = gpt2(real_gpt2.parents[1])
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert tokenizer.end_of_text == 50256
    assert tokenizer.vocab_size == 50257


@pytest.mark.parametrize("text", SAMPLES)
def test_the_published_files_give_the_ids_of_transformers(real_gpt2, text):
    from transformers import GPT2Tokenizer as Reference

    files = real_gpt2 / "encoder.json", real_gpt2 / "vocab.bpe"
    reference = Reference(vocab=str(files[0]), merges=str(files[1]))
    expected = reference(text, split_special_tokens=True)["input_ids"]
    assert gpt2(real_gpt2.parents[1]).encode(text) == expected


def test_a_name_near_a_known_one_is_suggested(tmp_path):
    with pytest.raises(DataError, match=r"did you mean 'char'\?\); allowed: byte, char, cl100k"):
        identify("chars", tmp_path)


def test_the_description_builds_the_same_tokenizer_again():
    made = CharTokenizer.of_text("so it goes")
    meta = Metadata("own", "own", [], "", made.describe(), made.vocab_size, "uint16", {})
    assert load_tokenizer(meta).encode("goes") == made.encode("goes")


def test_a_folder_without_a_description_has_no_tokenizer(tmp_path):
    for split in ("train", "val"):
        np.arange(9, dtype=np.uint16).tofile(tmp_path / f"{split}.bin")
    with pytest.raises(DataError, match=r"no meta\.json"):
        load_tokenizer(tmp_path)


@pytest.fixture
def _plug_in(tmp_path, monkeypatch, small_gpt2_files):
    """An encoding that tiktoken finds the way it finds its own."""
    import tiktoken.registry as registry
    import tiktoken_ext

    (tmp_path / "plug_in").mkdir()
    (tmp_path / "plug_in" / "ours.py").write_text(
        "def small():\n"
        "    ranks = {bytes([b]): b for b in range(256)} | {b'ab': 256}\n"
        "    return {'name': 'small', 'pat_str': '.+', 'mergeable_ranks': ranks,\n"
        "            'special_tokens': {'<|endoftext|>': 257}}\n"
        "ENCODING_CONSTRUCTORS = {'small': small}\n"
    )
    paths = [*tiktoken_ext.__path__, str(tmp_path / "plug_in")]
    monkeypatch.setattr(tiktoken_ext, "__path__", paths)
    monkeypatch.setattr(registry, "ENCODING_CONSTRUCTORS", None)
    monkeypatch.setattr(registry, "ENCODINGS", {})
    registry._available_plugin_modules.cache_clear()
    yield
    registry._available_plugin_modules.cache_clear()


@pytest.mark.usefixtures("_plug_in")
def test_any_encoding_of_tiktoken_goes_by_its_name(tmp_path):
    tokenizer = build_tokenizer(identify("small", tmp_path), "", tmp_path)
    assert tokenizer.encode("xab") == [120, 256]
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (258, 257)
    assert tokenizer.token_bytes(256) == b"ab"


def test_an_encoding_that_cannot_be_fetched_says_what_to_do(tmp_path, monkeypatch):
    import requests
    import tiktoken

    def refuse(name):
        raise requests.ConnectionError

    monkeypatch.setattr(tiktoken, "get_encoding", refuse)
    with pytest.raises(DataError, match=r"cannot get cl100k_base .*TIKTOKEN_CACHE_DIR"):
        build_tokenizer(identify("cl100k_base", tmp_path), "", tmp_path)


class Shouting(ByteTokenizer):
    name = f"{__name__}:Shouting"

    def encode_array(self, text):
        return super().encode_array(text.upper())


def test_an_outside_class_serves_as_tokenizer(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "outside", sys.modules[__name__])
    monkeypatch.setattr(Shouting, "name", "outside:Shouting")
    (tmp_path / "x.txt").write_text("to be or not to be")
    settings = {"path": str(tmp_path / "x.txt"), "tokenizer": "outside:Shouting"}
    folder = prepare(DataConfig(cache_dir=str(tmp_path), **settings))
    assert bytes(load_tokens(folder, "train").tolist()) == b"TO BE OR NOT TO "
    assert isinstance(load_tokenizer(folder), Shouting)


def test_an_outside_class_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.tokenizer=nowhere:Tok: no module 'nowhere'"):
        build_tokenizer(identify("nowhere:Tok", tmp_path), "", tmp_path)


def test_a_missing_tokenizer_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.tokenizer=here/tokenizer\.json: there is no file"):
        identify("here/tokenizer.json", tmp_path)


def test_a_damaged_tokenizer_file_is_named_as_it_was_given_and_not_kept(tmp_path):
    path = tmp_path / "mine" / "tokenizer.json"
    path.parent.mkdir()
    path.write_text('{"version": "1.0", "mod')
    with pytest.raises(DataError, match=rf"{path} is not a tokenizer\.json"):
        identify(str(path), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


OWN = """
import numpy as np

class Own:
    name = "own"
    vocab_size = 128
    end_of_text = None
    ids = staticmethod(lambda text: [ord(c) for c in text])

    def encode(self, text): return self.ids(text)
    def encode_array(self, text): return np.array(self.ids(text))
    def decode(self, ids): return "".join(map(chr, ids))
    def token_bytes(self, token): return bytes([token])
    def describe(self): return {"name": "NAME:Own"}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A maker of configurations with an outside tokenizer, edited as often as asked."""
    import sys

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "x.txt").write_text("To be, or not: thou shalt BE. " * 9)

    def make(old: str = "", new: str = "", *, name: str = "own_tokenizer"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        code = OWN.replace("NAME", name)
        assert old in code
        (tmp_path / f"{name}.py").write_text(code.replace(old, new))
        importlib.invalidate_caches()
        settings = {"path": str(tmp_path / "x.txt"), "tokenizer": f"{name}:Own"}
        return DataConfig(cache_dir=str(tmp_path / "cache"), **settings)

    return make


def test_an_edited_outside_tokenizer_makes_its_tokens_anew(own):
    before = prepare(own())
    assert prepare(own()) == before
    after = prepare(own("ord(c) for c in text", "ord(c) for c in text.lower()"))
    assert after != before
    tokens = load_tokens(after, "train")
    assert not ((tokens >= ord("A")) & (tokens <= ord("Z"))).any()


def test_an_outside_tokenizer_that_says_something_else_makes_its_tokens_anew(own):
    said = '{"name": "NAME:Own", "of": 1}'.replace("NAME", "own_tokenizer")
    assert prepare(own()) != prepare(own('{"name": "own_tokenizer:Own"}', said))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "ord(c)",
            "ord(c) + 100",
            "gave the token 132 in the text that begins 'To be, ",
        ),
        ("ord(c)", "ord(c) - 50", "gave the token -18 in the text"),
        ("ord(c)", "float(ord(c))", "1-dimensional float64 .* one flat array of whole numbers"),
        ("[ord(c) for", "[[ord(c)] for", "2-dimensional int64"),
        ("ord(c) for", "{}[c] for", r"the tokenizer own failed \(KeyError: 'T'\) in the text"),
        ("vocab_size = 128", "vocab_size = None", "vocab_size=None must be an int"),
        ('{"name": "own_tokenizer:Own"}', "None", "must give .* not None"),
        ('"own_tokenizer:Own"}', '"own_tokenizer:Own", "x": {1}}', "values that JSON can hold"),
        ("def token_bytes", "def other", "has no token_bytes; a tokenizer needs name, vocab_size"),
        ('"own_tokenizer:Own"', '"own"', r"its describe\(\) must give .*'own_tokenizer:Own'"),
    ],
)
def test_an_outside_tokenizer_that_breaks_its_contract_is_refused(own, old, new, words):
    with pytest.raises(DataError, match=words):
        prepare(own(old, new))


def test_tokens_beyond_sixteen_bits_do_not_wrap(own):
    with pytest.raises(DataError, match="gave the token 65620"):
        prepare(own("ord(c)", "ord(c) + (65536 if c == 'T' else 0)"))


def test_an_outside_tokenizer_that_loses_text_is_counted(own):
    meta = load_metadata(prepare(own("ord(c) for c in text", "ord(c) for c in text.lower()")))
    assert meta.splits["train"].lost == 1
    assert meta.text_bytes("train") is None
    assert load_metadata(prepare(own())).splits["train"].lost == 0


def test_a_tokenizer_file_with_holes_has_room_for_its_largest_token(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "to": 5, "be": 900}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "x.txt").write_text("to be " * 30)
    settings = {"path": str(tmp_path / "x.txt"), "tokenizer": str(tmp_path / "tokenizer.json")}
    folder = prepare(DataConfig(cache_dir=str(tmp_path), **settings))
    assert load_metadata(folder).vocab_size == 901
    assert set(load_tokens(folder, "train").tolist()) == {5, 900}
    assert load_tokenizer(folder).decode([5, 17, 900]) == "to be"


def test_a_tokenizer_file_that_cannot_encode_is_one_line(tmp_path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"to": 0}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match=r"tokenizer\.json cannot encode 'be' \("):
        FileTokenizer(tmp_path / "tokenizer.json").encode("be")
