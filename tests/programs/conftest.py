"""Comparisons of a script that is not altgrad's, in a repository of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from altgrad import trust
from altgrad.compare.conclusion import conclude
from altgrad.compare.launching import take_launch_words
from altgrad.compare.program_comparison import ProgramComparison
from altgrad.compare.question import read_question
from tests.compare.conftest import compose, here

__all__ = ["compose", "here"]

METRIC = "val loss ([0-9.]+)"


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def script(tmp_path, monkeypatch) -> Path:
    """The working directory has `theirs/`, a repository with one script, and `idea.diff`."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    shutil.copyfile(Path(__file__).with_name("script.py"), folder / "train.py")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "theirs")
    text = (folder / "train.py").read_text()
    (folder / "train.py").write_text(text.replace("SMOOTHING = 0.1", "SMOOTHING = 2.0"))
    (tmp_path / "idea.diff").write_text(git(folder, "diff"))
    (folder / "train.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def ask(script, here):
    """`ask("--lr=0.1,0.5", "seeds=2")`: a comparison of the script, not yet run."""

    def make(*words: str, program: str = "{python} train.py", metric: str = METRIC):
        typed = [f"program={program}", "cwd=theirs", f"metric={metric}", *words]
        trust.allow(trust.names_in(typed))
        launch, rest = take_launch_words(["threads=1", "retries=0", *typed])
        return ProgramComparison(read_question(rest), None, launch=launch, command="altgrad …")

    return make


@pytest.fixture
def finished(ask):
    return lambda *words, **how: conclude(ask(*words, **how).run())
