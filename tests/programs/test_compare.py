"""`compare` of somebody's script: fair, repeatable, and nobody's folder touched."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from altgrad.compare.conclusion import conclude
from altgrad.compare.program_fairness import correlation
from altgrad.compare.question import read_question
from altgrad.compare.regroup import compare_runs
from altgrad.compare.report import write_reports
from altgrad.runs import RunFolder, read_events, read_metrics, run_status, summarise_run
from altgrad.runs.plots import plot_runs
from altgrad.settings import ConfigError
from tests.programs.conftest import git

STEP = r"step=iter (\d+)"


def test_a_patch_is_an_arm_and_the_folder_is_not_touched(finished, script):
    before = git(script, "status", "--short", "--ignored"), (script / "train.py").read_bytes()
    found = finished("patch=none,idea.diff", "seed_by=torch", "seeds=3", STEP)
    (evidence,) = found.evidence
    assert (evidence.arm, evidence.control, evidence.pairs) == ("idea.diff", "none", 3)
    assert evidence.mean > 0.1  # weights that begin far off
    after = git(script, "status", "--short", "--ignored"), (script / "train.py").read_bytes()
    assert after == before
    assert len(git(script, "worktree", "list").splitlines()) == 1
    note = next(n for n in found.fairness.notes if "correlate" in n)
    assert "cannot be known" in note


def test_a_run_folder_says_everything(finished):
    found = finished("--lr=0.1,0.5", "seed_by=torch", "seeds=1", STEP)
    run = found.runs["--lr=0.1"][1]
    settings = yaml.safe_load((run / "config.yaml").read_text())
    environment = json.loads((run / "environment.json").read_text())
    (ended,) = [e for e in read_events(run / "events.jsonl") if e["event"] == "finished"]
    assert settings["args"] == ["--lr=0.1"]
    assert environment["git"]["commit"]
    assert environment["packages"]["torch"]
    assert ended["exit_status"] == 0
    assert 5 << 20 < ended["peak_memory_bytes"] < 100 << 20  # a small Python's, not this one's
    assert "iter 40: train loss" in (run / "output.log").read_text()
    assert [m["step"] for m in read_metrics(RunFolder(run).metrics)] == [10, 20, 30, 40]


def test_what_shows_runs_shows_these(finished, tmp_path):
    found = finished("--lr=0.1,0.5", "seed_by=torch", "seeds=2", STEP)
    runs = [run for row in found.runs.values() for run in row.values()]
    summary = summarise_run(runs[0])
    assert (summary.status, summary.step, summary.program.split()[-1]) == (
        "finished",
        40,
        "--lr=0.1",
    )
    assert plot_runs(runs, tmp_path / "a.png").is_file()
    text = next(p for p in write_reports(found) if p.suffix == ".md").read_text()
    assert "Each arm spends what its command says" in text
    again = conclude(compare_runs(runs, axis="args"))
    assert again.evidence[0].mean == found.evidence[0].mean


def test_commands_and_folders_are_axes_and_a_comma_stays_in_its_command(script):
    words = ["program=python a.py --b=1,2", "program=python c.py", "cwd=x,y", "metric=(.)"]
    question = read_question(words)
    assert question.axes == {
        "program": ["python a.py --b=1,2", "python c.py"],
        "cwd": ["x", "y"],
    }


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(finished):
    found = finished("--every=5,10", "seed_by=torch", "seeds=2", "allow=[--every]")
    five, ten = ([o.outcome for o in found.outcomes[f"--every={n}"]] for n in (5, 10))
    assert five == ten  # how often it looks changes nothing
    assert five[0] != five[1]


def test_a_seed_in_the_command_and_one_in_a_variable(finished):
    by_option = finished("--lr=0.1,0.5", "seeds=2", program="{python} train.py --seed={seed}")
    assert len({o.outcome for o in by_option.outcomes["--lr=0.1"]}) == 2
    run = finished("--lr=0.1,0.5", "seeds=1", "seed_by=env:NOTE", metric=r"note (\d+)").runs
    assert "note 1" in (run["--lr=0.1"][1] / "output.log").read_text()


def test_a_seed_that_does_not_arrive_is_refused(finished):
    with pytest.raises(ConfigError, match="the seed does not reach the program"):
        finished("--lr=0.1,0.5", "seeds=2", "seed_by=env:NOBODY_READS_THIS")


def test_a_file_can_hold_the_metric_and_one_that_lay_there_does_not_count(finished, script):
    (script / "log.jsonl").write_text('{"step": 1, "eval": {"loss": 99}}\n')
    metric = "log.jsonl:eval.loss"
    found = finished(
        "--lr=0.1,0.5",
        "seeds=1",
        "seed_by=torch",
        program="{python} train.py --log=log.jsonl",
        metric=metric,
    )
    assert max(o.outcome for row in found.outcomes.values() for o in row) < 10
    lost = finished("--lr=0.1,0.5", "seeds=1", "seed_by=torch", metric=metric)
    assert "did not write log.jsonl" in lost.outcomes["--lr=0.1"][0].error


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("crash", "exit status 1; its last lines: .*the loss went out for a walk"),
        ("hang", "stopped after timeout=1 s; its last lines: .*val loss"),
        ("silent", "matched nothing; its last lines: python 3"),
        ("nan", ""),
    ],
)
def test_a_lost_run_has_the_last_lines_as_its_cause(finished, how, said):
    found = finished(
        "--steps=40,41",
        "seeds=1",
        "seed_by=torch",
        "timeout=1",
        program=f"{{python}} train.py --fail={how}",
    )
    (outcome,) = found.outcomes["--steps=40"]
    assert outcome.lost
    assert re.search(said, outcome.error)


def test_nothing_is_run_twice_and_an_edit_of_the_folder_is_another_run(ask, script):
    first = ask("--lr=0.1,0.5", "seeds=1", "seed_by=torch")
    folder = first.run()
    times = {p: p.stat().st_mtime_ns for p in Path("runs").glob("*-seed*/metrics.jsonl")}
    ask("--lr=0.1,0.5", "seeds=1", "seed_by=torch").run()
    assert {p: p.stat().st_mtime_ns for p in Path("runs").glob("*-seed*/metrics.jsonl")} == times
    text = (script / "train.py").read_text()
    (script / "train.py").write_text(text.replace("SMOOTHING = 0.1", "SMOOTHING = 0.2"))
    ask("--lr=0.1,0.5", "seeds=1", "seed_by=torch").run()
    assert len(list(Path("runs").glob("*-seed*/metrics.jsonl"))) == 2 * len(times)
    diff = json.loads(
        (max(Path("runs").glob("*/environment.json"), key=os.path.getmtime)).read_text()
    )
    assert "SMOOTHING = 0.2" in diff["git"]["dirty_diff"]
    assert folder.is_dir()


def test_a_folder_without_a_repository_is_copied(finished, script):
    shutil.rmtree(script / ".git")
    found = finished("patch=none,idea.diff", "seed_by=torch", "seeds=1")
    assert found.outcomes["idea.diff"][0].state == "finished"


def test_what_git_ignores_comes_along_and_links_are_links(finished, script):
    (script / ".gitignore").write_text("data\n")
    (script / "data").mkdir()
    (script / "data" / "x.txt").write_text("here")
    text = (script / "train.py").read_text()
    read = "print('data', open('data/x.txt').read(), os.path.islink('data'))\nmain()\n"
    (script / "train.py").write_text(text.replace("\nmain()\n", "\n" + read))
    for word, seen in (("leave_out=none", "data here False"), ("link=data", "data here True")):
        run = finished("--lr=0.1,0.5", "seed_by=torch", "seeds=1", word).runs["--lr=0.1"][1]
        assert seen in (run / "output.log").read_text()


@pytest.mark.parametrize(
    ("words", "how", "said"),
    [
        (["cwd=nowhere", "--lr=1,2"], {}, "no such folder"),
        (["patch=none,none.diff"], {}, "none.diff"),
        (["--lr=1,2"], {"program": "no-such-command x"}, "there is no command"),
        (["--lr=1,2"], {"program": "{python} train.py {sed}"}, "Did you mean 'seed'"),
        (["--lr=1,2"], {"program": "{python} train.py | tee x"}, "is for a shell"),
        (["--lr=1,2", "steps=5"], {}, "read by nobody"),
        (["--lr=1,2", "seed_bi=torch"], {}, "Did you mean 'seed_by'"),
        (["--lr=1,2", "--steps=1,2"], {}, "design=crossed"),
        (["--lr=1,2", "budget=time"], {}, "budget=time"),
        (["--lr=1,1"], {}, "at least two arms"),
    ],
)
def test_mistakes_are_told_before_anything_is_run(ask, words, how, said):
    with pytest.raises(ConfigError, match=said):
        ask("seed_by=torch", *words, **how)
    assert not list(Path("runs").glob("*/config.yaml"))


def test_a_patch_that_does_not_fit_is_told_by_file_and_line(ask, script):
    text = Path("idea.diff").read_text()
    Path("bad.diff").write_text(text.replace("-SMOOTHING = 0.1", "-SMOOTHING = 0.7"))
    with pytest.raises(
        ConfigError, match=r"bad.diff does not apply: train.py: .* line \d+ does not fit"
    ):
        ask("patch=none,bad.diff", "seed_by=torch")


def test_a_file_does_not_run_what_nobody_typed(script, here):
    from altgrad.compare.launching import Launch
    from altgrad.compare.program_comparison import ProgramComparison

    words = ["program={python} train.py", "cwd=theirs", "metric=val loss (.*)", "seed_by=torch"]
    Path("q.yaml").write_text(
        yaml.safe_dump({"base": words, "axes": {"patch": ["none", "idea.diff"]}})
    )
    with pytest.raises(ValueError, match=re.escape("--trust 'program={python} train.py'")):
        ProgramComparison(read_question(["q.yaml"]), None, launch=Launch())
    assert not Path("runs").exists() or not list(Path("runs").glob("*/config.yaml"))


def test_ctrl_c_takes_the_program_and_its_children_along(script, tmp_path):
    """In a process of its own: it is the one that gets the signal."""
    (script / "train.py").write_text(
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('child', p.pid, 'val loss 1', flush=True)\ntime.sleep(60)\n"
    )
    made = (
        "from altgrad.programs import read_program, ProgramRun, Tree, read_source, run_program\n"
        "from pathlib import Path\n"
        "p = read_program(['program={python} train.py', 'cwd=theirs', 'metric=loss (.)',"
        " 'seed_by=torch'], primary='val_loss')\n"
        "t = Tree(read_source(p.cwd, runs='runs'), [], 'runs').hold()\n"
        "r = ProgramRun(p, 1, t.version, str(t.path))\n"
        "print(run_program(r.to_dict(), Path('runs/x'), threads=1))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", made], cwd=tmp_path, stdout=subprocess.PIPE)
    log = tmp_path / "runs" / "x" / "output.log"
    while not (log.is_file() and "child" in log.read_text()):
        time.sleep(0.05)
    child = int(log.read_text().split()[1])
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert said.decode().split() == ["interrupted"]
    assert run_status(tmp_path / "runs" / "x") == "interrupted"
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text():
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the program's child lives on")


def test_the_correlation_is_numpys():
    a, b = np.array([1.0, 2.0, 4.0, np.nan]), np.array([2.0, 1.0, 5.0, 3.0])
    assert correlation(a, b) == pytest.approx(np.corrcoef(a[:3], b[:3])[0, 1])
    assert correlation(a[:2], b[:2]) is None
