"""What a release is made of agrees: one version everywhere, workflows that GitHub can read."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import altgrad

HOUSE = Path(__file__).parents[1]
WORKFLOWS = sorted((HOUSE / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((HOUSE / "CITATION.cff").read_text())


def test_the_version_is_the_same_everywhere():
    named = (PROJECT["version"], altgrad.__version__, CITATION["version"])
    assert named == (PROJECT["version"],) * 3


def test_the_citation_has_what_the_format_demands():
    assert set(CITATION) >= {"cff-version", "message", "title", "authors"}
    assert (CITATION["title"], CITATION["license"]) == (PROJECT["name"], PROJECT["license"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_every_job_runs_on_each_python_that_the_package_allows(path):
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    tried = [j["strategy"]["matrix"]["python"] for j in jobs if "strategy" in j]
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert tried == [[f"3.{minor}" for minor in range(int(low), int(high))]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_the_scripts_that_a_workflow_runs_are_there_and_can_be_read_by_the_shell(path):
    named = re.findall(r"run: (\.ci/\w+)", path.read_text())
    assert named
    for script in named:
        assert (HOUSE / script).stat().st_mode & 0o100
        subprocess.run(["bash", "-n", HOUSE / script], check=True)


def test_everything_the_package_reads_beside_its_code_is_in_the_wheel():
    """Folders without a `.py` file come along only if a pattern of package-data names them."""
    found = PATTERNS
    missing = [
        p.relative_to(HOUSE / "altgrad")
        for p in (HOUSE / "altgrad").rglob("*")
        if p.is_file() and p.suffix not in (".py", ".pyc")
        if not any(p in matches for matches in found)
    ]
    assert missing == []


PATTERNS = [
    set((HOUSE / "altgrad").glob(pattern))
    for pattern in tomllib.loads((HOUSE / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]["altgrad"]
]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_is_what_githubs_schema_says(path):
    subprocess.run([*SCHEMA, path], check=True, capture_output=True)


SCHEMA = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
