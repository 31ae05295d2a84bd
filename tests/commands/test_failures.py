"""What reaches a person when something fails: one line, and an exit code that means something."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from altgrad.cli import main
from altgrad.commands import failures
from altgrad.commands.failures import MACHINE_FAILED, USER_MISTAKE, exit_code, tell
from altgrad.runs.printable import printable
from tests.commands.all_commands import TINY

TEXT = "To be, or not to be, that is the question.\n" * 20


def os_error(number: int, *names: str) -> OSError:
    return OSError(number, os.strerror(number), *names)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a finished run, made once."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ALTGRAD_CACHE", str(folder / "cache"))
        Path("my.txt").write_text(TEXT)
        assert main(["train", *TINY, "run_dir=runs/a"]) == 0
    return folder


@pytest.fixture
def run(made) -> Path:
    shutil.copytree(made, Path.cwd(), dirs_exist_ok=True, symlinks=True)
    return Path("runs/a")


def said_once(capsys, error: Exception) -> str:
    tell(error)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("altgrad: ")
    return said


@pytest.mark.parametrize(
    ("number", "code"),
    [
        *((n, MACHINE_FAILED) for n in (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EMFILE)),
        *((n, USER_MISTAKE) for n in (errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)),
        *((n, USER_MISTAKE) for n in (errno.ENAMETOOLONG, errno.EEXIST, errno.ELOOP)),
    ],
)
def test_an_error_of_the_system_names_its_file_in_one_line(capsys, number, code):
    said = said_once(capsys, os_error(number, "runs/a/config.yaml"))
    assert "runs/a/config.yaml" in said
    assert os.strerror(number) in said
    assert exit_code(os_error(number)) == code


def test_a_full_disk_stays_the_machines_failure_in_other_words():
    def refuse() -> None:
        try:
            raise os_error(errno.ENOSPC)
        except OSError:
            raise ValueError("cannot make the run folder") from None

    with pytest.raises(ValueError) as caught:
        refuse()
    assert exit_code(caught.value) == MACHINE_FAILED
    assert exit_code(ValueError("max_steps=0")) == USER_MISTAKE


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("x: can't allocate memory: y")])
def test_no_memory_is_one_line_with_what_needs_less(capsys, error):
    assert "data.batch_size" in said_once(capsys, error)
    assert exit_code(error) == MACHINE_FAILED


def test_a_mistake_of_ours_shows_its_traceback_and_asks_to_be_reported(capsys):
    assert tell(KeyError("model")) == MACHINE_FAILED
    said = capsys.readouterr().err
    assert "KeyError: 'model'" in said
    assert "report" in said.splitlines()[-1]


def test_everything_is_shown_to_whoever_asks(capsys, monkeypatch):
    monkeypatch.setenv("ALTGRAD_TRACEBACK", "1")
    assert tell(ValueError("no such run")) == USER_MISTAKE
    said = capsys.readouterr().err
    assert "ValueError: no such run\n" in said
    assert "altgrad: no such run\n" in said


def test_output_that_nobody_can_keep_is_a_failure():
    words = [sys.executable, "-m", "altgrad.cli", "completion"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == MACHINE_FAILED
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1


# -- eval -----------------------------------------------------------------------------------------


def test_eval_prints_what_it_measured_when_the_disk_fills_up_meanwhile(run, capsys, monkeypatch):
    def full(path, text):
        raise os_error(errno.ENOSPC, str(path))

    monkeypatch.setattr("altgrad.evaluate.view.check_place", lambda folder: None)
    monkeypatch.setattr("altgrad.evaluate.run.write_atomically", full)
    capsys.readouterr()
    assert main(["eval", "runs/a"]) == MACHINE_FAILED
    out, err = capsys.readouterr()
    assert "bits/byte" in out
    assert "could not be kept" in err
    assert main(["eval", "runs/a", "--json"]) == MACHINE_FAILED
    assert json.loads(capsys.readouterr().out)["corpora"]


def test_eval_measures_nothing_that_it_cannot_keep(run, capsys, monkeypatch):
    (run / "evaluations").write_text("a file where the folder belongs")
    monkeypatch.setattr("altgrad.evaluate.view.evaluate_run", lambda *_: pytest.fail("measured"))
    assert main(["eval", "runs/a"]) == USER_MISTAKE
    assert "--keep=no" in capsys.readouterr().err


def test_eval_of_a_run_that_cannot_be_written_needs_only_a_word(run, capsys):
    (run / "evaluations").write_text("a file where the folder belongs")
    assert main(["eval", "runs/a", "--keep=no"]) == 0
    assert "bits/byte" in capsys.readouterr().out


# -- a stranger's names, texts and sizes ----------------------------------------------------------

ESCAPE = "\x1b]0;owned\x07\x1b[31m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\x9b31mb", "a\\x9b31mb"),
        ("safe\u202eevas", "safe\\u202eevas"),
        ("\ud800", "\\ud800"),
        ("over\rwritten", "over\\rwritten"),
        ("\x7f\x00\x08", "\\x7f\\x00\\x08"),
        ("lines\r\nand\ttabs\n", "lines\r\nand\ttabs\n"),
        ("é 日本 😀 שלום", "é 日本 😀 שלום"),
    ],
)
def test_control_characters_are_spelled_out(text, shown):
    assert printable(text) == shown


def test_no_command_lets_a_run_drive_the_terminal(run, capsys):
    odd = run.rename(run.with_name(f"x{ESCAPE}[bold]"))
    line = {"time": 1, "event": f"note{ESCAPE}", "step": 2, "text": ESCAPE}
    with (odd / "events.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    name = str(odd)
    for words in (["show"], ["show", name], ["watch", name], ["plot", name], ["gc", name]):
        assert main(words) == 0
    assert main(["resume", name, f"max_steps={ESCAPE}"]) == USER_MISTAKE
    assert main(["sample", f"none{ESCAPE}"]) == USER_MISTAKE
    assert main(["sample", name, "--tokens", "1", "--prompt", "to be"]) == 0
    said = "".join(capsys.readouterr())
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "\\x1b" in said
    assert "[bold]" in said


def test_a_sample_with_escapes_is_shown_spelled_out(capsys):
    Path("my.txt").write_text("a\x1b[31mb\n" * 100)
    assert main(["train", *TINY, "run_dir=runs/a", "data.tokenizer=byte"]) == 0
    assert main(["sample", "runs/a", "--prompt", ESCAPE, "--tokens", "4"]) == 0
    assert "\x1b" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["$x^$", "_hidden", "$\\frac$", "a{b"])
def test_a_runs_name_is_no_formula_in_a_plot(run, name):
    odd = run.rename(run.with_name(name))
    assert main(["plot", str(odd), "--out", "x.png"]) == 0


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", ".hidden", "a\x00b"])
def test_a_comparison_stays_below_its_folder(name, capsys):
    Path("my.txt").write_text(TEXT)
    words = ["compare", "optim=adamw,sgd", "seeds=2", f"name={name}", *TINY, "--dry-run"]
    assert main(words) == USER_MISTAKE
    assert "plain name" in capsys.readouterr().err
    assert sorted(p.name for p in Path().iterdir()) in (["cache", "my.txt"], ["my.txt"])


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_layer": 10**9},
        {"n_layer": 1000},
        {"n_embd": 2**20},
        {"vocab_size": 10**12},
        {"block_size": 10**12},
        {"n_inner": 2**40},
        {"head_dim": 2**40},
    ],
)
@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", ["sample", "resume"])
def test_sizes_that_the_files_tensors_cannot_hold_are_refused(run, capsys, sizes, command):
    path = run / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["model"] |= sizes
    settings["max_steps"] = 4 if command == "resume" else 2
    path.write_text(yaml.safe_dump(settings))
    (run / "events.jsonl").write_text("")
    assert main([command, str(run)]) in (USER_MISTAKE, MACHINE_FAILED)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said


@pytest.mark.timeout(60)
def test_an_import_builds_no_more_than_its_file_holds(run, capsys):
    assert main(["export", "runs/a", "--out", "hf", "--no-tokenizer"]) == 0
    path = Path("hf/config.json")
    config = json.loads(path.read_text())
    config["altgrad"]["model"]["n_layer"] = 10**9
    path.write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["import", "hf", "--out", "runs/b", "--tokenizer", "byte"]) == USER_MISTAKE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "do not belong together" in said


def test_the_line_of_a_missing_module_names_its_extra(capsys):
    assert "altgrad[hf]" in said_once(capsys, ModuleNotFoundError("x", name="tokenizers.models"))
    assert failures.one_line(ModuleNotFoundError("x", name="altgrad.typo")) is None
