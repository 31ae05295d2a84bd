import errno
import json

import numpy as np
import pytest

from altgrad.data import (
    DataConfig,
    DataError,
    load_metadata,
    load_tokenizer,
    load_tokens,
    prepare,
    readers,
)
from altgrad.data.files import sha256_of
from altgrad.data.tokenizers import ByteTokenizer


@pytest.fixture
def config(text_file, tmp_path):
    return DataConfig(path=str(text_file), cache_dir=str(tmp_path / "cache"))


def own(tmp_path, content: bytes, **settings) -> DataConfig:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    return DataConfig(path=str(path), cache_dir=str(tmp_path / "cache"), **settings)


def test_characters_are_cut_and_numbered_as_nanogpt_does(config, text):
    folder = prepare(config)
    number = {char: i for i, char in enumerate(sorted(set(text)))}
    train, val = text[: int(len(text) * 0.9)], text[int(len(text) * 0.9) :]
    assert load_tokens(folder, "train").tolist() == [number[c] for c in train]
    assert load_tokens(folder, "val").tolist() == [number[c] for c in val]


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_the_tokens_decode_to_the_text(config, text, tokenizer):
    config.tokenizer = tokenizer
    folder = prepare(config)
    ids = np.concatenate([load_tokens(folder, "train"), load_tokens(folder, "val")])
    assert load_tokenizer(folder).decode(ids.tolist()) == text


def test_the_description_says_what_was_done(config, text, text_file):
    folder = prepare(config)
    meta = load_metadata(folder)
    assert meta.corpus == "own"
    digest = sha256_of(text_file)
    assert meta.sources == [{"file": "own.txt", "sha256": digest, "url": None, "split": "whole"}]
    assert meta.vocab_size == len(set(text))
    assert meta.splits["train"].sha256 == sha256_of(folder / "train.bin")
    assert sum(info.bytes for info in meta.splits.values()) == len(text.encode())
    assert sum(info.characters for info in meta.splits.values()) == len(text)
    val = text[int(len(text) * 0.9) :]
    assert meta.bytes_per_token("val") == len(val.encode()) / len(val)


def test_a_second_call_encodes_nothing(config, monkeypatch):
    folder = prepare(config)
    monkeypatch.setattr("altgrad.data.encode.encode_in_order", None)
    assert prepare(config) == folder


@pytest.mark.parametrize("change", [{"tokenizer": "byte"}, {"val_fraction": 0.2}])
def test_another_recipe_has_another_folder(config, text_file, tmp_path, change):
    other = DataConfig(path=str(text_file), cache_dir=str(tmp_path / "cache"), **change)
    assert prepare(other) != prepare(config)


def test_another_text_of_the_same_name_has_another_folder(config, text_file):
    before = prepare(config)
    text_file.write_text(text_file.read_text() + "One line more.\n")
    assert prepare(config) != before


def test_progress_ends_at_the_whole(config, text):
    seen = []
    prepare(config, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2 * len(text.encode()), 2 * len(text.encode()))
    assert seen == sorted(seen)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data\.path=missing\.txt: there is no such file"):
        prepare(DataConfig(path="missing.txt", cache_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        ("caf\u00e9s".encode("latin1"), r"not UTF-8 \(byte 0xe9 at offset 3\); .*iconv"),
        ("Hamlet".encode("utf-16"), "begins as UTF-16; convert it: iconv -f utf-16"),
        (b"abc\0def", "NUL byte at offset 3"),
        (b"cut in a char \xf0\x9f\x99", r"offset 14, where it ends: was it cut off\?"),
    ],
)
def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path, content, words):
    with pytest.raises(DataError, match=words) as caught:
        prepare(own(tmp_path, content))
    assert str(tmp_path / "bad.txt") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("length", "split"), [(20, "train"), (100, "val")])
def test_a_split_shorter_than_one_block_is_refused(tmp_path, length, split):
    config = own(tmp_path, b"abcd" * (length // 4))
    with pytest.raises(DataError, match=rf"the {split} split of bad .* fewer than the 33"):
        prepare(config, block_size=32)


def test_a_split_of_exactly_one_block_serves(tmp_path):
    prepare(own(tmp_path, b"abcd" * 10, val_fraction=0.5), block_size=19)
    with pytest.raises(DataError, match="fewer than the 21"):
        prepare(own(tmp_path, b"abcd" * 10, val_fraction=0.5), block_size=20)


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DataError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_an_interrupted_preparation_leaves_nothing(config, tmp_path, monkeypatch, failure, raised):
    def fail(self, text):
        raise failure

    config.tokenizer = "byte"
    monkeypatch.setattr(ByteTokenizer, "encode_array", fail)
    with pytest.raises(raised):
        prepare(config)
    assert list((tmp_path / "cache").rglob("*.bin")) == []
    assert [p.suffix for p in (tmp_path / "cache" / "tokens").iterdir()] == [".lock"]


def test_a_full_disk_is_one_line_with_a_cure(config, monkeypatch):
    def fail(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    config.tokenizer = "byte"
    monkeypatch.setattr(ByteTokenizer, "encode_array", fail)
    with pytest.raises(DataError, match=r"No space left on device; free some space, or set data"):
        prepare(config)


def test_a_folder_as_nanogpt_makes_it_is_taken_as_it_is(tmp_path):
    for split, count in (("train", 90), ("val", 10)):
        np.arange(count, dtype=np.uint16).tofile(tmp_path / f"{split}.bin")
    folder = prepare(DataConfig(path=str(tmp_path)), block_size=8)
    assert load_tokens(folder, "val").tolist() == list(range(10))


def test_an_unknown_corpus_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(DataError, match=r"'shakespear' \(did you mean 'shakespeare'\?\)"):
        prepare(DataConfig(name="shakespear", cache_dir=str(tmp_path)))


def test_the_corpus_comes_from_its_recipe(tmp_path, text_file, monkeypatch, server):
    from altgrad.data import corpora
    from altgrad.data.download.published import PublishedFile
    from altgrad.data.download.routes import Url

    content = text_file.read_bytes()
    url = server.serve("/plays.txt", content)
    file = PublishedFile("plays.txt", sha256_of(text_file), len(content), (Url(url),))
    corpus = corpora.Corpus("plays", "Plays", "public domain", "", "small", file)
    monkeypatch.setitem(corpora.CORPORA, "plays", corpus)
    meta = load_metadata(prepare(DataConfig(name="plays", cache_dir=str(tmp_path / "cache"))))
    assert meta.sources[0]["sha256"] == file.sha256
    assert meta.sources[0]["url"] == f"URL {url}"
    assert (meta.corpus, meta.licence) == ("plays", "public domain")


def test_a_damaged_description_is_refused(config):
    folder = prepare(config)
    (folder / "meta.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        load_metadata(folder)


def test_a_newer_description_is_refused(config):
    folder = prepare(config)
    content = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**content, "format_version": 99}))
    with pytest.raises(DataError, match="format version 99, this altgrad reads 1"):
        load_metadata(folder)


def test_a_text_that_is_edited_while_it_is_read_is_not_kept(config, text_file, tmp_path):
    config.tokenizer = "byte"

    def edit(done, total):
        if done == total:
            text_file.write_text(text_file.read_text() + ".")

    with pytest.raises(DataError, match=r"own\.txt was changed while it was read; start again"):
        prepare(config, progress=edit)
    assert list((tmp_path / "cache").rglob("*.bin")) == []


def test_a_cache_that_cannot_be_is_one_line(config, text_file):
    config.cache_dir = str(text_file)
    with pytest.raises(DataError, match=r"cannot make the folder .*set data\.cache_dir"):
        prepare(config)


def test_a_text_that_cannot_be_read_is_one_line(config, monkeypatch):
    def fail(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("altgrad.data.sources.sha256_of", fail)
    with pytest.raises(DataError, match=r"data\.path=.*own\.txt: Permission denied"):
        prepare(config)


def test_a_disk_that_fails_while_the_text_is_read_is_one_line(config, monkeypatch):
    def fail(path, text_field):
        raise OSError(errno.EIO, "Input/output error")
        yield

    monkeypatch.setitem(readers.READERS, "text", fail)
    with pytest.raises(DataError, match=r"own\.txt cannot be read: Input/output error"):
        prepare(config)


def test_the_command_takes_a_path_in_place_of_a_preset(text_file, tmp_path, capsys):
    from altgrad.cli import main

    words = [f"data.path={text_file}", f"data.cache_dir={tmp_path / 'cache'}"]
    assert main(["data", "prepare", *words]) in (0, None)
    made = DataConfig(path=str(text_file), cache_dir=str(tmp_path / "cache"))
    assert capsys.readouterr().out.strip() == str(prepare(made))
