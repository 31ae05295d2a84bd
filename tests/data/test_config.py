import subprocess
import sys
from pathlib import Path

import pytest

from altgrad.data import DataConfig, DataError
from altgrad.data.config import cache_root


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"val_fraction": 0}, {"val_fraction": 1}])
def test_impossible_settings_are_refused(settings):
    (name,) = settings
    with pytest.raises(DataError, match=f"data.{name}="):
        DataConfig(**settings)


def test_the_cache_is_where_it_was_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ALTGRAD_CACHE", raising=False)
    assert cache_root(DataConfig()) == tmp_path / ".cache" / "altgrad"
    monkeypatch.setenv("ALTGRAD_CACHE", str(tmp_path / "env"))
    assert cache_root(DataConfig()) == tmp_path / "env"
    assert cache_root(DataConfig(cache_dir="~/set")) == tmp_path / "set"


def test_omegaconf_takes_the_settings_as_a_schema():
    from omegaconf import OmegaConf

    schema = OmegaConf.structured(DataConfig)
    merged = OmegaConf.to_object(OmegaConf.merge(schema, {"path": "my.txt", "batch_size": 3}))
    assert merged == DataConfig(path="my.txt", batch_size=3)


def test_importing_the_room_loads_nothing_of_weight():
    program = (
        "import sys; import altgrad.data; "
        "print(sorted({'numpy', 'torch', 'tiktoken', 'pyarrow'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"


def test_preparing_is_a_function_also_after_its_module_was_imported():
    import altgrad.data

    assert callable(altgrad.data.prepare)
