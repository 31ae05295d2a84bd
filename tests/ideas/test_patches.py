"""A change of code as an idea: kept by hash, run in copies, judged by code it cannot change."""

import difflib
import re
from itertools import pairwise
from pathlib import Path

import pytest

import altgrad
from altgrad import trust
from altgrad.compare.launching import Wanted, as_task
from altgrad.compare.launching.worker import run_task
from altgrad.ideas.idea import Idea
from altgrad.ideas.loop import Ledger, ledger_folder
from altgrad.ideas.patches import keep, patches_of, with_patch
from altgrad.ideas.reckoning import depending
from altgrad.ideas.state import Change
from altgrad.ideas.terms import read_terms
from altgrad.model import GPT
from altgrad.programs import Patch, call, patched_code
from altgrad.runs import RunFolder, read_metrics
from altgrad.settings import ConfigError
from altgrad.training.evaluation import Evaluator, judge_by_logits
from tests.programs.conftest import METRIC, git, script

__all__ = ["script"]

HOUSE = Path(altgrad.__file__).parents[1]


def patch(file: str, old: str, new: str) -> Patch:
    """As `git diff` would write it, between texts that need not lie in a repository."""
    text = (HOUSE / file).read_text()
    assert text.count(old) == 1
    lines = [t.splitlines(keepends=True) for t in (text, text.replace(old, new))]
    return Patch("x.diff", "".join(difflib.unified_diff(*lines, f"a/{file}", f"b/{file}")))


def test_the_copies_alone_are_patched_and_go_away(tmp_path):
    change = patch("altgrad/model/mlp.py", "F.relu(x).square()", "F.relu(x)")
    code, trees = patched_code([change], tmp_path)
    path = Path(code.path[0])
    assert "F.relu(x).square()" not in (path / "altgrad/model/mlp.py").read_text()
    assert "F.relu(x).square()" in (HOUSE / "altgrad/model/mlp.py").read_text()
    assert call(code, "altgrad.programs.program:key_of_word", "a=1") == "a"
    for tree in trees:
        tree.release()
    assert not path.exists()


def test_patched_code_that_cannot_be_imported_is_told_in_a_line(tmp_path):
    change = patch("altgrad/model/mlp.py", "class GELU(MLP):", "class GELU(MLP:")
    code, trees = patched_code([change], tmp_path)
    with pytest.raises(ConfigError, match=r"^SyntaxError: .*\(mlp\.py, line \d+\)$"):
        call(code, "altgrad.model.mlp:SwiGLU")
    for tree in trees:
        tree.release()


@pytest.mark.parametrize(
    "file", ["altgrad/training/evaluation.py", "altgrad/data/batches.py", "altgrad/ideas/idea.py"]
)
def test_a_patch_of_the_measuring_is_refused_by_file(tmp_path, file):
    first = (HOUSE / file).read_text().splitlines(keepends=True)[0]
    with pytest.raises(ConfigError, match=re.escape(f"changes {file}, which is part of the meas")):
        patched_code([patch(file, first, f"{first}# changed\n")], tmp_path)


def val_losses(run: Path) -> list[float]:
    return [m["val_loss"] for m in read_metrics(RunFolder(run).metrics) if "val_loss" in m]


def test_what_logits_say_is_what_the_network_itself_says(tmp_path, compose, monkeypatch):
    """Bit for bit, where it does not lie; and where it does, it is not asked."""
    monkeypatch.setattr(Evaluator, "_loss_of", Evaluator._loss_of)  # put back at the end
    run_task(as_task(Wanted("plain", compose([]), tmp_path / "plain"), 1))
    judge_by_logits()
    true = GPT.forward

    def lying(self, idx, targets=None, *rest, **named):
        logits, loss = true(self, idx, targets, *rest, **named)
        return logits, loss if loss is None or self.training else loss * 0

    monkeypatch.setattr(GPT, "forward", lying)
    run_task(as_task(Wanted("lie", compose([]), tmp_path / "lie"), 1))
    assert val_losses(tmp_path / "lie") == val_losses(tmp_path / "plain")
    assert val_losses(tmp_path / "plain")[0] > 1


@pytest.mark.slow
def test_a_network_that_lies_about_its_loss_is_judged_by_its_logits(tmp_path, compose):
    """The same network, trained the same; only its loss in evaluation is a lie."""
    lie = patch(
        "altgrad/model/gpt.py",
        "        return logits, loss\n",
        "        return logits, loss if self.training else loss * 0\n",
    )
    code, trees = patched_code([lie], tmp_path)
    losses = {}
    for name, used in (("plain", None), ("lie", code)):
        run = tmp_path / name
        run_task(as_task(Wanted(name, compose([]), run, used), 1))
        losses[name] = [
            m["val_loss"] for m in read_metrics(RunFolder(run).metrics) if "val_loss" in m
        ]
    for tree in trees:
        tree.release()
    assert losses["lie"] == losses["plain"]
    assert losses["plain"][0] > 1


def test_a_patch_of_an_edited_ledger_is_not_taken(tmp_path):
    file = tmp_path / "idea.diff"
    file.write_text(patch("altgrad/model/mlp.py", "F.relu(x).square()", "F.relu(x)").text)
    idea = keep(with_patch(Idea(), file), tmp_path)
    (found,) = patches_of(idea.words, tmp_path)
    assert found.text == file.read_text()
    kept = next((tmp_path / "patches").iterdir())
    kept.write_text(kept.read_text().replace("F.relu(x)", "F.gelu(x)"))
    with pytest.raises(ConfigError, match="is not the patch that was kept there"):
        patches_of(idea.words, tmp_path)


def test_a_patch_that_a_file_names_is_not_run_unasked(tmp_path):
    file = tmp_path / "idea.diff"
    file.write_text(patch("altgrad/model/mlp.py", "F.relu(x).square()", "F.relu(x)").text)
    trust.said_by("queue.yaml", {"patch": str(file)})
    with pytest.raises(ValueError, match=r"stands in queue.yaml.*--trust"):
        with_patch(Idea(), file)


@pytest.fixture
def theirs(script, here):
    """A ledger of the script."""
    made = Ledger(ledger_folder("theirs"))
    words = ["program={python} train.py", "cwd=theirs", f"metric={METRIC}", "seed_by=torch"]
    trust.allow(trust.names_in(words))
    made.new(read_terms([*words, "delta=0.01"]))
    return made


def test_a_program_in_a_ledger_takes_patches_and_arguments(theirs, script):
    worse = theirs.try_(patch="idea.diff", why="far off")
    assert worse["verdict"] == "no gain"
    better = theirs.try_(["--steps=400"])
    assert better["verdict"] == "nominated"
    assert [c.words for c in theirs.state().champion] == [("--steps=400",)]
    again = theirs.try_(["--steps=400"])
    assert (again["verdict"], again["reason"]) == (
        "refused",
        "it changes nothing against the champion",
    )
    assert theirs.try_(["metric=(.)"])["reason"].startswith("metric=(.) touches the measuring")
    assert theirs.try_(["--fail=crash"])["verdict"] == "lost"
    assert theirs.reckon()["found"] == [better["id"]]
    assert git(script, "status", "--short") == ""


def test_a_folder_that_changed_under_its_ledger_is_told(theirs, script):
    text = (script / "train.py").read_text()
    (script / "train.py").write_text(text + "# edited\n")
    assert "has changed since the ledger was begun" in theirs.try_(["--lr=0.2"])["reason"]


def test_patches_that_need_each_other_are_taken_out_together(theirs, script):
    text = (script / "train.py").read_text()
    steps = [text, text.replace("SMOOTHING = 0.1", "SMOOTHING = 0.05")]
    steps.append(steps[1].replace("SMOOTHING = 0.05", "SMOOTHING = 0.01"))
    changes = []
    for number, (a, b) in enumerate(pairwise(steps)):
        (script / "train.py").write_text(a)
        git(script, "add", ".")
        (script / "train.py").write_text(b)
        Path(f"{number}.diff").write_text(git(script, "diff"))
        idea = keep(with_patch(Idea(), f"{number}.diff"), theirs.folder)
        changes.append(Change(f"i{number}", idea.words, ""))
    git(script, "reset", "-q", "--hard")
    bench = theirs._bench(theirs.state())
    assert depending(bench, changes, "i0") == ["i0", "i1"]
    assert depending(bench, changes, "i1") == ["i1"]
    bench.release()
