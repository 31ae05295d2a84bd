"""docs/reference is what the code says: made anew, the pages are the same."""

import argparse
import importlib
import sys
from pathlib import Path

import pytest

from altgrad.training.config import all_setting_names

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generator():
    """docs/generate_reference.py, imported by its name."""
    path = sys.path.copy()
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("generate_reference")
    sys.path[:] = path


def test_every_generated_block_stands_on_a_page(generator):
    text = "".join((DOCS / page).read_text() for page in generator.PAGES)
    assert [n for n in generator.BLOCKS if f"<!-- generated: {n} -->" not in text] == []


PAGES = (
    *(
        f"reference/{name}.md"
        for name in ("settings", "command-line", "presets", "metrics", "formats")
    ),
    "reference/run-folder.md",
    "explanation/number-formats.md",
)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_the_generator_makes_of_it(generator, page):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert generator.render(text) == text, "run `python docs/generate_reference.py`"


def test_the_pages_compared_are_those_that_are_generated(generator):
    assert set(PAGES) == set(generator.PAGES)


def test_every_setting_has_a_row_that_says_what_it_is(generator):
    rows = importlib.import_module("reference_tables.settings").setting_rows()
    assert list(rows) == all_setting_names()
    assert len(rows) > 150
    assert [name for name, row in rows.items() if not all(row)] == []


def test_a_setting_that_only_a_variant_reads_says_which(generator):
    rows = importlib.import_module("reference_tables.settings").setting_rows()
    assert rows["optim.momentum"][-1].startswith("`optim.name=")
    assert rows["sample_prompts"][-1] == "`sample_tokens=80`"
    assert rows["max_steps"][-1] == "every run"


def test_every_flag_of_every_parser_is_on_the_page(generator):
    from altgrad.cli import build_parser

    listed = importlib.import_module("reference_tables.command_line")
    page = (DOCS / "reference" / "command-line.md").read_text()
    for parser in listed.commands(build_parser()):
        section = page.partition(f"## {parser.prog}\n")[2].partition("\n## ")[0]
        flags = {s for a in parser._actions for s in a.option_strings} - {"-h", "--help"}
        assert [flag for flag in flags if flag not in section] == [], parser.prog


def test_every_argument_says_what_it_is(generator):
    from altgrad.cli import build_parser

    listed = importlib.import_module("reference_tables.command_line")
    silent = [
        f"{parser.prog} {action.dest}"
        for parser in listed.commands(build_parser())
        for action in parser._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert silent == []


def test_every_preset_is_on_the_page(generator):
    conf = DOCS.parent / "altgrad" / "conf"
    page = (DOCS / "reference" / "presets.md").read_text()
    sections = {part.partition("=`")[0]: part for part in page.split("\n## `")}
    named = [(path.parent.name, path.stem) for path in conf.glob("*/*.yaml")]
    assert len(named) > 50
    assert [n for n in named if f"\n| `{n[1]}`" not in sections[n[0]]] == []


def test_a_field_without_a_meaning_is_an_error(generator, monkeypatch):
    tables = importlib.import_module("reference_tables.run_folder")
    monkeypatch.delitem(tables.FIELDS["weights.json"], "from")
    with pytest.raises(LookupError, match="from"):
        tables.fields()


def test_a_kind_of_event_without_a_meaning_is_an_error(generator, monkeypatch):
    tables = importlib.import_module("reference_tables.run_folder")
    assert {"started", "trouble", "gave_up"} <= tables.event_kinds()
    monkeypatch.delitem(tables.EVENTS, "gave_up")
    with pytest.raises(LookupError, match="gave_up"):
        tables.events()
