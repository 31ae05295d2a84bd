"""What docs/howto/cloud.md deploys with can be read by its tools, and runs what is there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from altgrad.training.config import TrainConfig

HOUSE = Path(__file__).parents[1]
DEPLOY = HOUSE / "deploy"
TASK = yaml.safe_load((DEPLOY / "sky.yaml").read_text())
PAGE = (HOUSE / "docs" / "howto" / "cloud.md").read_text()
TOOLS = Path(sys.executable).parent


def test_the_linter_of_container_files_has_nothing_to_say():
    told = subprocess.run(
        [TOOLS / "hadolint", DEPLOY / "Containerfile"], capture_output=True, text=True
    )
    assert (told.returncode, told.stdout) == (0, "")


def builder() -> str | None:
    """A program that builds and runs containers here; a client without its service is none."""
    for name in ("docker", "podman"):
        asked = shutil.which(name) and subprocess.run([name, "info"], capture_output=True)
        if asked and asked.returncode == 0:
            return name
    return None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_container_is_built_and_says_what_a_run_would_use():
    """It fetches an image and torch; where nothing builds containers the linter has to do."""
    tool = builder()
    if tool is None:
        pytest.skip("no builder of containers answers here (docker, podman)")
    build = [tool, "build", "-f", "deploy/Containerfile", "-t", "altgrad-tried", "."]
    subprocess.run(build, cwd=HOUSE, check=True)
    doctor = [tool, "run", "--rm", "altgrad-tried", "doctor", "--offline"]
    told = subprocess.run(doctor, capture_output=True, text=True, check=True)
    assert "torch" in told.stdout


def test_what_the_container_copies_is_there_and_not_ignored():
    copied = re.findall(r"^COPY (.*) \S+$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    let_in = {n[1:] for n in (HOUSE / ".dockerignore").read_text().split() if n.startswith("!")}
    assert names == let_in
    assert {n for n in names if not (HOUSE / n).exists()} == set()


def test_the_extras_of_the_container_are_the_packages():
    import tomllib

    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", (DEPLOY / "Containerfile").read_text())
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_task_has_only_fields_of_skypilots_task_and_of_its_resources():
    assert set(TASK) <= {"name", "resources", "envs", "workdir", "file_mounts", "setup", "run"}
    assert set(TASK["resources"]) <= {"accelerators", "use_spot", "disk_size"}
    assert all(isinstance(value, str) for value in TASK["envs"].values())


def test_the_shell_can_read_the_tasks_scripts_and_every_variable_in_them_has_a_value():
    for script in (TASK["setup"], TASK["run"]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    named = set(re.findall(r"\$\{?([A-Z]+)", TASK["run"] + str(TASK["file_mounts"])))
    assert named == set(TASK["envs"])


def test_the_time_between_saves_that_the_page_names_is_the_default():
    assert f"`checkpoint_minutes` ({TrainConfig().checkpoint_minutes:.0f})" in PAGE
