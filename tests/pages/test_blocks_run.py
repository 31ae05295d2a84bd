"""Every command block of README and docs runs as written, or says why it does not."""

from collections import Counter
from itertools import groupby

import pytest

from tests.pages.blocks import ELSEWHERE, HOUSE, PAGES, all_blocks, unmarked_commands
from tests.pages.world import World, is_outcome

BLOCKS = all_blocks()


def test_a_block_of_commands_says_that_it_is_one():
    found = {str(p.relative_to(HOUSE)): unmarked_commands(p) for p in PAGES}
    assert {page: lines for page, lines in found.items() if lines} == {}


def test_a_block_that_is_not_run_says_why():
    assert [block.place for block in BLOCKS if block.mark and len(block.reason) < 6] == []


def test_most_blocks_are_run():
    count = Counter(block.mark for block in BLOCKS if block.page not in ELSEWHERE)
    assert count[""] + count["slow"] > count["not run"]
    assert count[""] >= 20


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("w")) as made:
        yield made


def failures(world: World, marks: set[str]) -> list[str]:
    """What fails, page by page: a page's blocks are typed one after the other in one folder."""
    found = []
    for page, group in groupby(BLOCKS, key=lambda block: block.page):
        blocks = [block for block in group if block.mark in marks and page not in ELSEWHERE]
        folder = world.page(page) if blocks else None
        for block in blocks:
            failed = world.run(block.text, folder, 3600 if block.mark else 120)
            found += [f"{block.place}\n" + "\n".join(failed)] if failed else []
    return found


@pytest.mark.timeout(600)
def test_every_block_without_a_mark_runs_as_written(world):
    """A minute of processor time: some eighty commands, which nothing else types so."""
    found = failures(world, {""})
    assert not found, "\n\n".join(found)


ASKED_ONLY = """
altgrad() {
    case $1 in
        compare) command altgrad compare --dry-run "${@:2}" ;;
        new) command altgrad "$@" ;;
    esac
}
"""
"""A shell in which a comparison says what it would run, and a part is written; no run is made."""


@pytest.mark.timeout(300)
def test_every_slow_comparison_is_a_question_that_is_taken(world):
    """Half a minute: what would be noticed only when the slow blocks are run is noticed here."""
    failed = []
    for page, group in groupby(BLOCKS, key=lambda block: block.page):
        text = "".join(b.text for b in group if b.mark != "not run")
        if "altgrad compare" in text and page not in ELSEWHERE:
            failed += world.run(ASKED_ONLY + text, world.page(f"asked-{page}"))
    assert not failed, "\n".join(failed)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_every_slow_block_runs_as_written(world):
    found = failures(world, {"", "slow"})
    assert not found, "\n\n".join(found)


def test_a_block_that_fails_is_noticed(tmp_path):
    """Wherever in the block it fails; a ledger's answer (`no gain`) is no failure."""
    block = "true\nls /not/there\nfalse\nls . > /dev/null\n"
    *failed, said = World(tmp_path).run(block, tmp_path)
    assert [line.partition(" ")[2] for line in failed] == [
        "ls /not/there",
        "false",
    ]
    assert said
    assert is_outcome("10 altgrad ideas try fast optim.lr=0.02")
    assert not is_outcome("10 altgrad train")
    assert not is_outcome("2 altgrad ideas try fast optim.lr=0.02")


def test_a_block_that_does_not_end_is_stopped(tmp_path):
    (failed,) = World(tmp_path).run("sleep 60\n", tmp_path, limit_s=0.5)
    assert failed.startswith("longer than 0.5 s: sleep 60")
