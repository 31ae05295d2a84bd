import io
import json
import sys

import pytest

from altgrad.data import DataConfig, DataError, load_metadata, load_tokenizer, load_tokens, prepare
from altgrad.data.sources import keep_stdin

FILES = {
    "b.txt": "Second in the alphabet.",
    "a/one.jsonl": '{"text": "first line"}\n{"text": "second line"}\n',
    "c.md": "third file",
    ".hidden/x.txt": "not looked at",
    "notes.log": "of no known kind",
}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "texts"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.fixture
def prepared(tmp_path):
    def make(**settings):
        settings = {"tokenizer": "byte", "val_fraction": 0.3, **settings}
        return prepare(DataConfig(cache_dir=str(tmp_path / "cache"), **settings))

    return make


def texts_of(folder):
    tokenizer = load_tokenizer(folder)
    return {
        s: tokenizer.decode(load_tokens(folder, s).tolist()).split("\0") for s in ("train", "val")
    }


def test_the_files_of_a_folder_come_sorted_one_document_each(folder, prepared):
    assert texts_of(prepared(path=str(folder))) == {
        "train": ["first line", "second line", "Second in the alphabet."],
        "val": ["third file"],
    }


def test_a_glob_picks_files(folder, prepared):
    found = texts_of(prepared(path=str(folder / "*.[mt]*")))
    assert found == {"train": ["Second in the alphabet."], "val": ["third file"]}


def test_validation_can_be_files_of_its_own(folder, prepared):
    made = prepared(path=str(folder / "a"), val_path=str(folder / "b.txt"))
    assert texts_of(made) == {
        "train": ["first line", "second line"],
        "val": ["Second in the alphabet."],
    }
    assert load_metadata(made).split_rule == "split by file"


def test_the_standard_input_is_a_text(prepared, monkeypatch):
    text = "through the pipe " * 9
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    made = prepared(path="-")
    assert "".join(t for ts in texts_of(made).values() for t in ts) == text
    assert load_metadata(made).corpus == "stdin"


def test_the_same_file_twice_is_refused(folder, prepared):
    (folder / "copy.txt").write_text(FILES["b.txt"])
    with pytest.raises(DataError, match=r"copy\.txt and .*b\.txt have the same content"):
        prepared(path=str(folder))


def test_validation_text_that_is_the_training_text_is_refused(folder, prepared):
    with pytest.raises(DataError, match="have the same content"):
        prepared(path=str(folder / "b.txt"), val_path=str(folder / "b.txt"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": "nowhere/*.txt"}, r"data\.path=nowhere/\*\.txt: no file matches"),
        ({"path": "FOLDER/b.txt", "val_path": "x.txt"}, r"data\.val_path=x\.txt: there is no such"),
        ({"path": "FOLDER/b.txt", "shards": 2}, r"data\.shards=2 goes with a sharded corpus"),
        ({"path": "FOLDER/b.txt", "share": 0.5}, r"data\.share=0\.5 takes whole documents"),
    ],
)
def test_what_cannot_be_is_refused(folder, prepared, settings, words):
    settings = {
        k: str(v).replace("FOLDER", str(folder)) if k.endswith("path") else v
        for k, v in settings.items()
    }
    with pytest.raises(DataError, match=words):
        prepared(**settings)


def test_a_folder_without_any_text_is_refused(tmp_path, prepared):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no file of these kinds: \.txt"):
        prepared(path=str(tmp_path / "empty"))


def test_documents_without_text_leave_no_trace(tmp_path, prepared):
    path = tmp_path / "x.jsonl"
    lines = ["", "one", "", "", "two", "three", ""]
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in lines))
    assert texts_of(prepared(path=str(path), val_fraction=0.5)) == {
        "train": ["one", "two"],
        "val": ["three"],
    }


def test_only_empty_documents_are_refused(tmp_path, prepared):
    (tmp_path / "x.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(DataError, match="x holds no text at all"):
        prepared(path=str(tmp_path / "x.jsonl"))


def test_characters_of_several_documents_have_an_end_of_text(folder, prepared):
    made = prepared(path=str(folder), tokenizer="char")
    meta = load_metadata(made)
    assert meta.tokenizer["vocabulary"][0] == "\0"
    assert meta.splits["train"].documents == 3
    assert (load_tokens(made, "train") == 0).sum() == 2


def test_a_nul_in_a_document_is_refused_where_it_means_end_of_text(tmp_path, prepared):
    (tmp_path / "x.jsonl").write_text('{"text": "a\\u0000b"}\n{"text": "c"}\n')
    with pytest.raises(DataError, match="NUL character in a text, which is the end-of-text"):
        prepared(path=str(tmp_path / "x.jsonl"))


def test_linked_folders_are_read_and_loops_lead_nowhere(tmp_path, prepared):
    root, elsewhere = tmp_path / "texts", tmp_path / "disk"
    for folder in (root / "a", elsewhere / "deep"):
        folder.mkdir(parents=True)
    (root / "a" / "one.txt").write_text("one " * 9)
    (elsewhere / "deep" / "two.txt").write_text("two " * 9)
    (root / "b").symlink_to(elsewhere)
    (root / "a" / "up").symlink_to(root)
    (elsewhere / "self").symlink_to(elsewhere)
    meta = load_metadata(prepared(path=str(root), val_fraction=0.5))
    assert [source["file"] for source in meta.sources] == ["one.txt", "two.txt"]


def test_a_link_to_nothing_is_named(tmp_path, prepared):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "x.txt").symlink_to("gone.txt")
    with pytest.raises(DataError, match=r"x\.txt is a link to gone\.txt, which is not there"):
        prepared(path=str(tmp_path / "texts"))


def test_the_standard_input_can_be_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"to be or not " * 9)))
    config = DataConfig(path="-", tokenizer="byte", cache_dir=str(tmp_path))
    first = prepare(config)
    assert prepare(config) == first
    keep_stdin(config)
    assert config.path != "-"
    assert prepare(config) == first


def test_an_empty_standard_input_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(DataError, match="the standard input is empty; pipe a text"):
        prepare(DataConfig(path="-", cache_dir=str(tmp_path)))
    with pytest.raises(DataError, match="cannot both be the standard input"):
        prepare(DataConfig(path="-", val_path="-", cache_dir=str(tmp_path)))


def test_a_split_that_no_document_begins_in_says_so(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("short\n")
    (folder / "b.txt").write_text("much longer than the rest of the folder\n" * 50)
    with pytest.raises(DataError, match="documents are not cut"):
        prepare(DataConfig(path=str(folder), cache_dir=str(tmp_path / "cache")))
