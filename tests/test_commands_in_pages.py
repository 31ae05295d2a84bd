"""Every `altgrad …` line in the pages' command blocks is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest

from altgrad.cli import parse_words

HOUSE = Path(__file__).parents[1]
PAGES = [*sorted((HOUSE / "docs").rglob("*.md")), HOUSE / "README.md"]
BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> list[list[str]]:
    """The words after `altgrad` of each line that begins with it."""
    blocks = "\n".join(BLOCK.findall(page.read_text())).replace("\\\n", " ")
    lines = [line.strip() for line in blocks.splitlines()]
    split = [shlex.split(line, comments=True) for line in lines if line.startswith("altgrad ")]
    return [words[1:] for words in split]


COMMANDS = [(page.stem, words) for page in PAGES for words in commands_of(page)]


def test_the_pages_hold_commands():
    assert len(COMMANDS) > 60


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=lambda x: x if isinstance(x, str) else "")
def test_a_command_of_a_page_parses(page, words):
    parse_words(words)
