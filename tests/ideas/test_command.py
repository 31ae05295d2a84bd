"""`altgrad ideas` as a person, or a program, types it. Runs are made up."""

import json
from pathlib import Path

import pytest

from altgrad.cli import main


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
