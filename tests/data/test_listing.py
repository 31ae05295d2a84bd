import pytest

from altgrad.data import DataConfig, prepare
from altgrad.data.corpora import CORPORA
from altgrad.data.listing import info_rows, list_rows
from altgrad.data.prepare import prepared_folder


@pytest.fixture
def config(tmp_path, server, text_file, monkeypatch):
    from altgrad.data.corpora import Corpus
    from altgrad.data.download.published import PublishedFile
    from altgrad.data.download.routes import Url
    from altgrad.data.files import sha256_of

    content = text_file.read_bytes()
    route = Url(server.serve("/plays.txt", content))
    file = PublishedFile("plays.txt", sha256_of(text_file), len(content), (route,))
    monkeypatch.setitem(CORPORA, "plays", Corpus("plays", "Plays", "free", "me", "40 kB", file))
    return DataConfig(name="plays", cache_dir=str(tmp_path / "cache"))


def test_the_list_says_what_is_prepared_without_any_download(config, server):
    assert list_rows({"mine": config}) == [("mine", "Plays", "40 kB", "free", "no")]
    assert server.requests == []
    prepare(config)
    assert list_rows({"mine": config})[0][-1] == "yes"


def test_the_info_names_licence_route_and_hash(config):
    rows = dict(info_rows("mine", config))
    assert rows["licence"] == "free"
    assert rows["route 1"].startswith("URL http://127.0.0.1")
    assert rows["sha256"] == CORPORA["plays"].file.sha256
    assert rows["prepared"] == "no; altgrad data prepare mine"


def test_the_info_counts_the_tokens_once_prepared(config, text):
    folder = prepare(config)
    rows = dict(info_rows("mine", config))
    val = text[int(len(text) * 0.9) :]
    ratio = len(val.encode()) / len(val)
    assert rows["prepared"] == str(folder)
    assert rows["val"] == f"{len(val):,} tokens, 1 document, {ratio:.3f} bytes per token"


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_can_be_told_about_without_a_network(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    config = DataConfig(name=name, cache_dir=str(tmp_path))
    assert prepared_folder(config) is None
    assert dict(info_rows(name, config))["licence"] == CORPORA[name].licence
