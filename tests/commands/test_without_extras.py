"""What `make setup` alone gives: every command works, or says in one line which extra it needs."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from altgrad.commands.failures import EXTRAS
from tests.commands.all_commands import COMMANDS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NEEDS = {
    "export with tokenizer": "hf",
    "lora": "lora",
    "serve": "serve",
    "studio": "serve",
    "tokenizer": "hf",
    "parquet": "hf",
    "zst": "hf",
    "core": "eval",
    "ray": "cluster",
    "hub": "hf",
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> dict[str, tuple[int, str]]:
    folder = tmp_path_factory.mktemp("bare")
    absent = {m for modules in EXTRAS.values() for m in modules} | {"transformers"}
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE / "no_extras"), str(ROOT)]),
        "ALTGRAD_WITHOUT": ",".join(absent),
        "ALTGRAD_CACHE": str(folder / "cache"),
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    script = str(HERE / "all_commands.py")
    words = [sys.executable, script]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_without_extras_a_command_works_or_names_its_extra_in_one_line(ended, name):
    code, said = ended[name]
    assert "Traceback" not in said
    if name not in NEEDS:
        assert code == 0, said
        return
    assert code == 2
    assert said.count("altgrad: ") == 1
    assert f"altgrad[{NEEDS[name]}]" in said


def test_without_the_extra_report_a_comparison_still_ends_well(ended):
    code, said = ended["compare"]
    assert code == 0
    assert "report.md" in said
    assert "altgrad[report]" in said


def test_every_extra_is_known_where_a_missing_module_is_told():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {n: v for n, v in declared["optional-dependencies"].items() if n != "dev"}
    assert set(EXTRAS) == set(extras)
    for extra, packages in extras.items():
        names = {re.split("[>=<]", p)[0].replace("-python", "").replace("-", "_") for p in packages}
        assert names == set(EXTRAS[extra])


def test_readme_says_which_extra_gives_what():
    readme = (ROOT / "README.md").read_text()
    assert all(f"`{extra}`" in readme for extra in EXTRAS)
