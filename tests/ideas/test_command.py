"""`altgrad ideas` as a person, or a program, types it. Runs are made up."""

import json
import math
import re
from pathlib import Path

import pytest

from altgrad.cli import main
from altgrad.ideas.bench import Bench
from tests.ideas import conftest


@pytest.fixture
def words(data_dir, made_up):
    tiny = "model=gpt2 model.n_layer=1 model.n_head=1 model.n_embd=8 model.block_size=8"
    run = "model.vocab_size=13 data.batch_size=2 max_steps=4 eval_interval=2 device=cpu"
    more = "compile=false precision=fp32 optim.lr=0.001 delta=0.001"
    return [*tiny.split(), *run.split(), *more.split(), f"data.path={data_dir}"]


@pytest.fixture
def typed(words, capsys):
    """`typed("try fast optim.lr=0.03")`: exit code, stdout, stderr; a ledger `fast` is begun."""
    assert main(["ideas", "new", "fast", *words]) == 0

    def call(line: str, *more: str):
        capsys.readouterr()
        code = main(["ideas", *line.split(), *more])
        return code, *capsys.readouterr()

    return call


def test_a_ledger_is_used_from_its_beginning_to_its_findings(typed):
    assert typed("try fast optim.weight_decay=0.3")[0] in (10, 11)
    code, out, _ = typed("try fast optim.lr=0.03", "--why", "larger steps")
    assert (code, "i1 optim.lr=0.03: nominated" in out) == (0, True)
    assert typed("try fast seed=3")[0] == 2
    assert typed("show fast")[0] == 11  # a change waits for a reckoning
    code, out, _ = typed("reckon fast")
    assert (code, "i1: finding" in out) == (0, True)
    code, out, _ = typed("show fast")
    assert code == 0
    assert "champion against baseline: +0.0" in out
    assert "smallest gain that can be seen, by pairs: 1: " in out
    assert Path("runs/ideas/fast/ideas.png").stat().st_size > 10_000
    assert "i1  optim.lr=0.03" in out


def test_programs_read_json_and_people_the_rest(typed):
    code, out, err = typed("try fast optim.lr=0.03 --json")
    entry = json.loads(out)
    assert (code, entry["verdict"], entry["id"]) == (0, "nominated", "i0")
    assert "i0 optim.lr=0.03: begun" in err
    shown = json.loads(typed("show fast --json")[1])
    assert shown["champion"] == [{"id": "i0", "name": "optim.lr=0.03", "gear": "provisional"}]
    assert shown["rows"][0]["verdict"] == "nominated"
    assert json.loads(typed("reckon fast --json")[1])["found"] == ["i0"]


def test_a_queue_and_an_earlier_loop_are_taken_from_files(typed, tmp_path):
    Path("q.yaml").write_text("- optim.lr=0.03\n")
    assert typed("run fast q.yaml")[0] == 0
    Path("results.tsv").write_text("val_bpb\tstatus\tdescription\n0.9\tkeep\tdeeper\n")
    code, out, _ = typed("import fast results.tsv")
    assert (code, "1 rows of an earlier loop, unproven" in out) == (0, True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("try nothing optim.lr=0.03", "is no ledger; begin one: altgrad ideas new"),
        ("try fast", "needs at least one KEY=VALUE"),
        ("try fast lr", "is not KEY=VALUE"),
        ("run fast", "one file with the ideas"),
        ("reckon fast", "nothing to reckon"),
        ("new fast delta=-1", "delta=-1"),
        ("new ../x", "plain name"),
        ("new other guarantee=sure", "guarantee"),
        ("import fast none.tsv", "cannot be read"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(typed, line, said):
    code, _, err = typed(line)
    assert (code, said in err, err.count("\n")) == (2, True, 1)


def test_the_page_needs_no_network(typed):
    pytest.importorskip("altair")
    typed("try fast optim.lr=0.03")
    typed("reckon fast")
    typed("show fast")
    page = Path("runs/ideas/fast/report.html").read_text()
    assert "Which of these ideas really help?" in page
    assert 'src="http' not in page


# -- for programs ---------------------------------------------------------------------------------


@pytest.fixture
def outcome(monkeypatch):
    """`outcome("lost")`: what the next idea's screening, or its smoke run, says."""
    from altgrad.ideas import bench

    def ends(verdict: str) -> None:
        if verdict == "crashed":
            monkeypatch.setattr(bench, "failure_of", lambda *_: "the loss is nan at step 1")
        gain = {"nominated": 0.5, "no gain": -0.5, "lost": math.nan, "parked": 0.0}.get(verdict, 0)
        monkeypatch.setitem(conftest.LOSS, "optim.lr=0.03", -gain)

    return ends


@pytest.mark.parametrize(
    ("verdict", "code"),
    [("nominated", 0), ("no gain", 10), ("parked", 11), ("lost", 12), ("crashed", 12)],
)
def test_the_exit_code_of_a_try_is_its_verdict(typed, outcome, verdict, code):
    outcome(verdict)
    assert typed("try fast optim.lr=0.03 --json")[0] == code
    (row,) = json.loads(typed("show fast --json")[1])["rows"]
    assert row["verdict"] == verdict


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left on device"), 1), (KeyboardInterrupt(), 130)]
)
@pytest.mark.parametrize("line", ["try fast optim.lr=0.03", "run fast q.yaml", "reckon fast"])
def test_a_machine_that_fails_and_an_interrupt_are_no_outcome(
    typed, monkeypatch, outcome, line, error, code
):
    Path("q.yaml").write_text("- optim.lr=0.03\n")
    if line.startswith("reckon"):
        outcome("nominated")
        typed("try fast optim.lr=0.03")
    before = json.loads(typed("show fast --json")[1])["rows"]

    def fails(*_):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(Bench, "run", fails)
        assert typed(line)[0] == code
    assert json.loads(typed("show fast --json")[1])["rows"] == before
    assert typed(line)[0] in (0, 10)  # asked again, it goes on


def test_the_exit_codes_of_a_queue(typed, words):
    Path("q.yaml").write_text("- optim.lr=0.03\n- optim.grad_clip=0.5\n")
    assert typed("run fast q.yaml")[0] == 0
    assert typed("run fast missing.yaml")[0] == 2
    main(["ideas", "new", "short", *words, "hours=0.0001"])
    assert typed("run short q.yaml")[0] == 13


def test_the_exit_codes_of_a_reckoning_and_of_show(typed, outcome):
    assert typed("reckon fast")[0] == 2
    assert typed("show nothing")[0] == 2
    assert typed("show fast")[0] == 0
    outcome("nominated")
    typed("try fast optim.lr=0.03")
    assert typed("show fast")[0] == 11
    outcome("no gain")  # it was luck
    assert typed("reckon fast")[0] == 10
    assert typed("show fast")[0] == 0
    outcome("nominated")
    typed("try fast optim.lr=0.03")
    assert typed("reckon fast")[0] == 0


def test_every_action_answers_with_one_json_document(typed, words):
    Path("q.yaml").write_text("- optim.lr=0.03\n")
    Path("results.tsv").write_text("val_bpb\tdescription\n0.9\tdeeper\n")
    kinds = {
        "try fast optim.grad_clip=0.5": dict,
        "run fast q.yaml": list,
        "show fast": dict,
        "import fast results.tsv": dict,
    }
    for line, kind in kinds.items():
        assert isinstance(json.loads(typed(f"{line} --json")[1]), kind)
    assert json.loads(typed(f"new other --json {' '.join(words)}")[1])["delta"] == 0.001


def test_the_page_names_what_there_is(typed):
    """Every field of a try and of a reckoning that docs/howto/ideas.md names, in Python, too."""
    from altgrad.ideas.loop import Ledger

    made = Ledger.open("runs/ideas/fast", compose=None)
    typed("try fast optim.lr=0.03")
    typed("reckon fast")
    entries = {e["kind"]: e for e in made.state().entries}
    for field in fields_of_a_try():
        assert field in entries["try"]
    for field in documented("Fields of a `reckon`"):
        assert field in entries["reckon"]
    for field in documented("An effect has"):
        assert field in entries["reckon"]["effects"][0]
    assert [c.id for c in made.state().champion] == ["i0"]


def fields_of_a_try() -> list[str]:
    """The first column of the table, without what only a tuned idea has."""
    page = (Path(__file__).parents[2] / "docs" / "howto" / "ideas.md").read_text(encoding="utf-8")
    table = page.partition("Fields of a `try`:\n")[2].partition("Fields of a `reckon`")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert len(names) > 15
    return names


def documented(start: str) -> list[str]:
    """The names in code of the sentence that begins so."""
    page = (Path(__file__).parents[2] / "docs" / "howto" / "ideas.md").read_text(encoding="utf-8")
    sentence = " ".join(page.split()).partition(start)[2].partition(". ")[0]
    names = re.findall(r"`(\w+)`", sentence)
    assert names, f"docs/howto/ideas.md has no sentence that begins with {start!r}"
    return names
