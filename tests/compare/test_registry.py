"""Finding runs costs a listing of their folder, not a listing for every run."""

import os
from pathlib import Path

import pytest

from altgrad.compare import registry
from altgrad.compare.registry import Registry
from altgrad.training.config import TrainConfig


@pytest.fixture
def listings(monkeypatch) -> list[str]:
    """The folders that are read, whichever way Python reads them."""
    read: list[str] = []
    for name in ("scandir", "listdir"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path=".", real=real: read.append(str(path)) or real(path)
        )
    return read


@pytest.fixture
def keyed(monkeypatch):
    """The key is the data's: what is told apart here is names."""
    monkeypatch.setattr(registry, "_key", lambda config, data: data)


def _reads(listings: list[str], base: Path) -> int:
    return sum(Path(path) == base for path in listings)


@pytest.mark.parametrize("runs", [10, 200])
def test_the_folder_is_read_as_often_for_many_runs_as_for_few(tmp_path, listings, keyed, runs):
    for i in range(runs):
        (tmp_path / f"a-seed1-{i:012x}").mkdir()
    found = Registry(tmp_path)
    for i in range(runs):
        assert found.place(TrainConfig(seed=1), f"{i:012x}", "a").name == f"a-seed1-{i:012x}"
    assert _reads(listings, tmp_path) == 1


def test_a_run_made_since_the_listing_is_found(tmp_path, keyed):
    found = Registry(tmp_path)
    found.place(TrainConfig(seed=1), "0" * 12, "a")
    (tmp_path / f"other-seed1-{1:012x}").mkdir()
    os.utime(tmp_path, ns=(0, 1))
    assert found.place(TrainConfig(seed=1), f"{1:012x}", "a").name == f"other-seed1-{1:012x}"


def test_of_several_with_the_same_key_the_first_by_name(tmp_path, keyed):
    for label in ("c", "b", "d"):
        (tmp_path / f"{label}-seed1-{0:012x}").mkdir()
    assert Registry(tmp_path).place(TrainConfig(seed=1), "0" * 12, "c").name.startswith("b-")
