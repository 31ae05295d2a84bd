"""A run says which code made it."""

import json
from importlib.metadata import version

from altgrad.training import Trainer
from altgrad.training.sources import code_versions, package_version


def test_the_package_has_one_version_until_a_file_changes():
    assert code_versions({"model": {"n_layer": 2}, "device": "cuda:0"}) == {
        "altgrad": package_version(),
        "torch": version("torch"),
    }


def test_a_part_from_outside_has_its_own_version(tmp_path, monkeypatch):
    (tmp_path / "mine_for_sources.py").write_text("class Attention: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"model": {"attention": "mine_for_sources:Attention"}}
    before = code_versions(settings)["mine_for_sources:Attention"]
    (tmp_path / "mine_for_sources.py").write_text("class Attention: x = 1\n")
    assert code_versions(settings)["mine_for_sources:Attention"] != before


def test_the_run_folder_holds_code_and_data_hashes(make_config, make_model, data_dir):
    config = make_config()
    trainer = Trainer(config, make_model(config), data_dir, "cpu")
    trainer.train()
    folder = trainer.recorder.folder
    assert json.loads(folder.environment.read_text())["code"]["altgrad"] == package_version()
    hashes = json.loads(folder.data.read_text())["sha256"]
    assert {name: len(digest) for name, digest in hashes.items()} == {"train": 64, "val": 64}
