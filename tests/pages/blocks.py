"""The command blocks of README and docs, with the marks that say why one is not run at once.

    <!-- not run: why -->      nobody runs it here: a network, hardware, a server, hours
    <!-- slow: why -->         run with `-m slow`

A mark stands directly above its block. A page whose blocks another test runs stands in ELSEWHERE.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).parents[2]
PAGES = [HOUSE / "README.md", *sorted((HOUSE / "docs").rglob("*.md"))]
EXTENDING = sorted((HOUSE / "docs" / "howto").glob("add-*.md"))
ELSEWHERE = {str(page.relative_to(HOUSE)): "tests/test_extending.py" for page in EXTENDING}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (not run|slow):\s*(.*?)\s*-->\s*\Z")
COMMAND = re.compile(r"(altgrad|python|make|pip|git|curl|docker|ssh|export) ")
TIMED = re.compile(r"\s{2,}[\d.]+ s\b")
"""A line of a benchmark's output, which may begin with a command."""


@dataclass(frozen=True)
class Block:
    """page: from the repository's root. line: of its first command. mark: none, not run or slow."""

    page: str
    line: int
    text: str
    mark: str = ""
    reason: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(path: Path) -> Iterator[Block]:
    """The blocks that are marked as commands (`sh`)."""
    text = path.read_text(encoding="utf-8")
    for fence in FENCE.finditer(text):
        if fence[1] in ("sh", "bash"):
            line = text.count("\n", 0, fence.start()) + 2
            mark = MARK.search(text[: fence.start()].rstrip())
            said = (mark[1], mark[2]) if mark else ("", "")
            yield Block(str(path.relative_to(HOUSE)), line, fence[2], *said)


def all_blocks() -> list[Block]:
    return [block for path in PAGES for block in blocks_of(path)]


def unmarked_commands(path: Path) -> list[str]:
    """First lines of blocks that look like commands and are in no language."""
    fences = FENCE.findall(path.read_text(encoding="utf-8"))
    firsts = [body.partition("\n")[0] for language, body in fences if not language]
    return [line for line in firsts if COMMAND.match(line) and not TIMED.search(line)]
