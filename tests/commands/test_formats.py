"""`altgrad formats`."""

import pytest

from altgrad.cli import main


def test_the_catalogue_is_printed(capsys):
    assert main(["formats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("e4m3fn "))
    assert {"448", "0.015625", "254", "0x7f"} <= set(row.split())


def test_any_split_can_be_asked_for(capsys):
    assert main(["formats", "e6m9", "--sources"]) == 0
    assert "P3109" in capsys.readouterr().out


def test_a_plot_is_written_where_it_is_wanted(capsys, tmp_path):
    target = tmp_path / "two.png"
    assert main(["formats", "e4m3", "e5m2", "--plot", "--out", str(target)]) == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.strip() == str(target)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["e9m9"], "e9m9 has 19 bits"),
        (["e4m3nf"], "unknown number format 'e4m3nf'"),
        (["e4m3", "--out", "x.png"], "add --plot"),
        (["bf16", "--plot"], "up to 10 bits"),
    ],
)
def test_nonsense_is_refused_in_one_line(capsys, words, reason):
    assert main(["formats", *words]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
