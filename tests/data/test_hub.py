"""A dataset on the hub, played by the local server: its API, its redirect, its range requests."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from altgrad.data import DataConfig, DataError, load_metadata, load_tokenizer, load_tokens, prepare
from altgrad.data.corpora import CORPORA, Corpus
from altgrad.data.download.hub import HubDataset

from .test_readers import write_parquet

COMMIT = "c0ffee" * 6
TRAIN = [f"Article {i}. Member States shall ensure that {i} is notified." for i in range(40)]
VAL = ["Whereas the Commission has adopted this.", "Article 1. This Regulation applies."]


class Hub:
    """Files under a commit of one repository, listed two to a page and served by redirect."""

    def __init__(self, server, repository, files):
        self.server, self.repository = server, repository
        self.files = files
        base = f"/api/datasets/{repository}"
        server.serve(f"{base}/revision/main", json.dumps({"sha": COMMIT}).encode())
        entries = [{"path": "README.md", "type": "file", "size": 10, "oid": "0"}]
        for path, content in files.items():
            digest = hashlib.sha256(content).hexdigest()
            lfs = {"oid": digest, "size": len(content), "pointerSize": 134}
            entries.append({"path": path, "type": "file", "size": len(content), "lfs": lfs})
            there = server.serve(f"/cdn/{path}", content)
            server.serve(self.path_of(path), there)
        pages = [entries[i : i + 2] for i in range(0, len(entries), 2)]
        for i, page in enumerate(pages):
            cursor = f"&cursor={i}" if i else ""
            following = f"{server.url}{base}/tree/{COMMIT}?recursive=true&cursor={i + 1}"
            headers = {"Link": f'<{following}>; rel="next"'} if i + 1 < len(pages) else {}
            path = f"{base}/tree/{COMMIT}?recursive=true{cursor}"
            server.serve(path, json.dumps(page).encode())
            server.headers[path] = headers

    def path_of(self, path):
        return f"/datasets/{self.repository}/resolve/{COMMIT}/{path}"


@pytest.fixture
def parquet(tmp_path):
    def make(documents):
        return write_parquet(tmp_path / "made.parquet", documents).read_bytes()

    return make


@pytest.fixture
def eurlex(server, monkeypatch, parquet):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr("altgrad.data.download.http.PAUSES_S", (0.01, 0.01))
    files = {
        "eurlex/train-00000-of-00001.parquet": parquet(TRAIN),
        "eurlex/validation-00000-of-00001.parquet": parquet(VAL),
        "eurlex/test-00000-of-00001.parquet": parquet(["never fetched"]),
        "scotus/train-00000-of-00001.parquet": parquet(["never fetched either"]),
    }
    return Hub(server, "coastalcph/lex_glue", files)


@pytest.fixture
def config(tmp_path):
    return DataConfig(name="eurlex", tokenizer="byte", cache_dir=str(tmp_path / "cache"))


def texts_of(folder, split):
    return load_tokenizer(folder).decode(load_tokens(folder, split).tolist()).split("\0")


def test_a_corpus_keeps_its_own_splits_with_end_of_text_between(eurlex, config):
    folder = prepare(config)
    assert texts_of(folder, "train") == TRAIN
    assert texts_of(folder, "val") == VAL
    meta = load_metadata(folder)
    assert meta.split_rule == "the corpus' own splits"
    assert meta.splits["train"].documents == 40
    train = eurlex.files["eurlex/train-00000-of-00001.parquet"]
    assert meta.sources[0]["sha256"] == hashlib.sha256(train).hexdigest()
    assert meta.sources[0]["url"].endswith(eurlex.path_of("eurlex/train-00000-of-00001.parquet"))


def test_the_door_of_earlier_scripts_puts_the_files_where_they_are_asked_for(
    eurlex, config, tmp_path, monkeypatch
):
    from altgrad.training import get_batch, prepare_eurlex

    monkeypatch.setenv("ALTGRAD_CACHE", str(tmp_path / "cache"))
    folder = prepare_eurlex(tmp_path / "here", 0.1, tokenizer="byte")
    assert folder == tmp_path / "here"
    assert texts_of(folder, "train") == TRAIN[9::10]
    assert get_batch("val", folder, 4, 2)[0].shape == (2, 4)
    assert prepare_eurlex(folder, tokenizer="byte") == folder
    assert texts_of(folder, "train") == TRAIN


def test_every_document_may_end_with_end_of_text_and_the_metadata_say_so(eurlex, config):
    between = prepare(config)
    config.end_of_text = "after"
    after = prepare(config)
    assert after != between
    for split in ("train", "val"):
        ids = load_tokens(between, split).tolist()
        assert load_tokens(after, split).tolist() == [*ids, 0]
        infos = [load_metadata(folder).splits[split] for folder in (between, after)]
        assert infos[1].documents == infos[0].documents
        assert infos[1].bytes == infos[0].bytes
    assert load_metadata(after).split_rule.endswith(
        "every document ends with the end-of-text token"
    )


def test_only_what_is_needed_is_fetched(eurlex, config, server):
    prepare(config)
    assert sorted(path for path in server.requests if path.startswith("/cdn/")) == [
        "/cdn/eurlex/train-00000-of-00001.parquet",
        "/cdn/eurlex/validation-00000-of-00001.parquet",
    ]


def test_a_prepared_corpus_needs_no_network(eurlex, config, server, monkeypatch):
    folder = prepare(config)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert prepare(config) == folder


def test_a_share_is_spread_evenly_and_leaves_validation_whole(eurlex, config):
    config.share = 0.1
    folder = prepare(config)
    assert texts_of(folder, "train") == TRAIN[9::10]
    assert texts_of(folder, "val") == VAL
    assert load_metadata(folder).split_rule.endswith("0.1 of the training documents")


@pytest.mark.parametrize("trouble", [500, "cut", 403, b"<html>log in</html>"])
def test_a_download_that_fails_leaves_no_file_and_says_which(eurlex, config, server, trouble):
    server.serve("/cdn/eurlex/train-00000-of-00001.parquet", trouble)
    with pytest.raises(DataError, match=r"cannot get .*train-00000.*by hand"):
        prepare(config)
    cache = config.cache_dir
    found = {p.name for p in __import__("pathlib").Path(cache).rglob("train-*.parquet")}
    assert found == set()


def test_a_cut_off_download_goes_on_where_it_stopped(eurlex, config, server):
    content = eurlex.files["eurlex/train-00000-of-00001.parquet"]
    server.serve("/cdn/eurlex/train-00000-of-00001.parquet", ("first", 100, content), content)
    assert texts_of(prepare(config), "train") == TRAIN
    assert server.ranges["/cdn/eurlex/train-00000-of-00001.parquet"] == [None, "bytes=100-"]


def test_a_beginning_of_another_file_is_thrown_away(eurlex, config, tmp_path):
    folder = tmp_path / "cache" / "corpora" / "eurlex" / "eurlex"
    folder.mkdir(parents=True)
    (folder / "train-00000-of-00001.parquet.part").write_bytes(b"something else")
    assert texts_of(prepare(config), "train") == TRAIN


def test_a_file_put_there_by_hand_is_used(eurlex, config, server, tmp_path):
    folder = tmp_path / "cache" / "corpora" / "eurlex" / "eurlex"
    folder.mkdir(parents=True)
    for name, content in eurlex.files.items():
        if name.startswith("eurlex"):
            (folder / name.split("/")[1]).write_bytes(content)
    prepare(config)
    assert [path for path in server.requests if path.startswith("/cdn/")] == []


def test_a_closed_network_is_one_error_about_the_manifest(config, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(
        DataError, match=r"files of coastalcph/lex_glue: no connection.*data\.path="
    ):
        prepare(config)


def test_download_progress_reaches_the_whole(eurlex, config):
    seen = []
    prepare(config, progress=lambda done, total: seen.append((done, total)))
    sizes = [len(c) for name, c in eurlex.files.items() if "train-" in name and "eur" in name]
    assert any(done == total >= sizes[0] for done, total in seen)


@pytest.fixture
def sharded(server, monkeypatch, parquet):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    files = {
        f"shard_{i:05d}.parquet": parquet([f"shard {i} doc {j}" for j in (0, 1)]) for i in range(5)
    }
    Hub(server, "us/shards", files)
    hub = HubDataset(
        "us/shards", "main", r"shard_(?!00004)\d{5}\.parquet", r"shard_00004\.parquet", 2
    )
    monkeypatch.setitem(CORPORA, "web", Corpus("web", "Web", "ODC-By", "", "small", hub=hub))


@pytest.mark.parametrize(("asked", "numbers"), [(None, [0, 1]), (3, [0, 1, 2])])
def test_shards_come_by_number_and_validation_by_name(sharded, config, asked, numbers):
    config.name, config.shards = "web", asked
    folder = prepare(config)
    assert texts_of(folder, "train") == [f"shard {i} doc {j}" for i in numbers for j in (0, 1)]
    assert texts_of(folder, "val") == ["shard 4 doc 0", "shard 4 doc 1"]


def test_more_shards_than_there_are_is_refused(sharded, config):
    config.name, config.shards = "web", 5
    with pytest.raises(DataError, match=r"data\.shards=5: web has 4 training shards"):
        prepare(config)


@pytest.mark.parametrize("name", ["fineweb_edu", "climbmix"])
def test_the_validation_shard_of_a_corpus_is_no_training_shard(name):
    import re

    hub = CORPORA[name].hub
    last = {"fineweb_edu": 1822, "climbmix": 6542}[name]
    assert re.fullmatch(hub.val, f"shard_{last:05d}.parquet")
    matches = [n for n in range(last + 1) if re.fullmatch(hub.train, f"shard_{n:05d}.parquet")]
    assert matches == list(range(last))


def test_labels_of_the_schema_do_not_reach_the_tokens(eurlex, config):
    assert load_metadata(prepare(config)).splits["train"].bytes == sum(map(len, TRAIN))


def test_a_corpus_of_the_hub_is_trained_on_in_eight_bits(eurlex, tmp_path):
    from altgrad.cli import main

    small = ["n_layer=1", "n_head=2", "n_kv_head=1", "n_embd=16", "block_size=8"]
    words = ["data=eurlex", "data.tokenizer=byte", "data.batch_size=2", "precision=e5m2"]
    words += ["model=nanochat", *(f"model.{word}" for word in small)]
    words += ["max_steps=3", "eval_interval=3", "device=cpu", "compile=false", "run_dir=run"]
    assert main(["train", *words]) == 0
    losses = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(losses[-1])["val_loss"] > 0
    assert json.loads((tmp_path / "run" / "data.json").read_text())["corpus"] == "eurlex"


def test_the_pages_loop_with_the_names_of_earlier_scripts_runs_as_written(
    eurlex, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    page = (Path(__file__).parents[2] / "docs" / "howto" / "own-loop.md").read_text()
    (script,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    found: dict[str, object] = {}
    exec(compile(script, "own-loop.md", "exec"), found)
    assert found["step"] == 10
    assert found["quantization"] == {"format": "e4m3"}
    assert [path.name for path in found["manager"].all()][-1] == "step_00000010"
    assert 0.9 < float(capsys.readouterr().out.split()[-1]) <= 1.0
    rows = re.findall(r"^\| (?:its )?`(\w+)", page, re.MULTILINE)
    assert [name for name in rows if name not in script] == []
