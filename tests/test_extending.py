"""docs/howto/add-*.md are true: their examples, put into a copy of the package, do as they say."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
HOWTO = HOUSE / "docs" / "howto"
INDEX = (HOWTO / "extending.md").read_text()
PAGES = {path.name: path.read_text() for path in sorted(HOWTO.glob("add-*.md"))}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SECTIONS = {name: body for page in PAGES.values() for name, body in SECTION.findall(page)}
TABLES = {
    "A scaling": ("altgrad/quantization/scaling.py", "SCALINGS"),
    "A metric": ("altgrad/training/instruments/panel.py", "INSTRUMENTS"),
}
"""Sections whose table is not there yet: they wait for it."""
TEXT = "".join(f"To be, or not to be, that is the question number {n}.\n" for n in range(60))

PLAY = """
import json, os, subprocess, sys
import pytest
import altgrad.commands.train, altgrad.evaluate.run, altgrad.training.build, matplotlib.pyplot
from altgrad.cli import main

def play(words):
    print("$", *words, flush=True)
    if words[0] == "altgrad":
        return main(words[1:])
    if words[0] == "pytest":
        quiet = ["-n", "0", "-p", "no:cacheprovider", "-W", "ignore:Module already imported"]
        return pytest.main(["-q", *quiet, *words[1:]])
    return subprocess.run(words).returncode

def play_all(commands):
    code = 0
    for words in commands:
        code = code or int(play(words))
    return code

failed = []
for section, commands in json.loads(sys.argv[1]).items():
    print("==", section, flush=True)
    child = os.fork()
    if not child:
        code = 1
        try:
            code = play_all(commands)
        finally:
            sys.stdout.flush()
            os._exit(code)
    failed += [section] * bool(os.waitpid(child, 0)[1])
sys.exit(f"not as the page says: {failed}" if failed else 0)
"""
"""One process has loaded torch and forks one for each section."""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the package and its tests, with a text; what it says stays in it."""
    for name in ("altgrad", "docs", "tests"):
        shutil.copytree(HOUSE / name, tmp_path / name)
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


@pytest.mark.timeout(900)
def test_every_example_works_as_written(house):
    ready = {name: text for name, text in SECTIONS.items() if _is_ready(name, house)}
    _play({name: _put_in_place(text, house) for name, text in ready.items()}, house)


def _is_ready(section: str, house: Path) -> bool:
    path, table = TABLES.get(section, ("pyproject.toml", ""))
    return table in (house / path).read_text()


def _put_in_place(section: str, house: Path) -> list[list[str]]:
    """Write a section's files and additions; returns its commands."""
    commands = []
    for kind, block in FENCE.findall(section):
        name, _, body = block.partition("\n")
        path = house / name.removeprefix("# ")
        if kind == "sh":
            commands += [shlex.split(line) for line in _filled(block).splitlines()]
        elif kind == "diff":
            path.write_text(_with_additions(path.read_text(), body))
        else:
            assert not path.exists(), f"{path} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
    return commands


def _filled(block: str) -> str:
    """The commands with the variables that every page sets at its top, alike."""
    (settings,) = {tuple(re.findall(r'^([A-Z]+)="(.*)"$', p, re.MULTILINE)) for p in PAGES.values()}
    values: dict[str, str] = {}
    for name, value in settings:
        values[name] = value.replace(f"${name}", values.get(name, ""))
    for name, value in values.items():
        block = block.replace(f"${name}", value)
    return block


def _with_additions(text: str, diff: str) -> str:
    """Each run of `+` lines, put below the lines without `+` above it."""
    place, before, added = 0, "", ""
    for line in [*diff.splitlines(), ""]:
        if line.startswith("+"):
            added += line[1:] + "\n"
            continue
        if added:
            found = text.find(before, place)
            assert found >= 0, f"not there any more:\n{before}"
            place = found + len(before)
            text = text[:place] + added + text[place:]
            place, before, added = place + len(added), "", ""
        before += line[1:] + "\n"
    return text


def _play(commands: dict[str, list[list[str]]], house: Path) -> None:
    inside = {"PYTHONPATH": house, "ALTGRAD_CACHE": house / "cache", "XDG_CONFIG_HOME": house}
    done = subprocess.run(
        [sys.executable, "-c", PLAY, json.dumps(commands)],
        cwd=house,
        env={**os.environ, **{name: str(path) for name, path in inside.items()}},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_every_kind_in_the_table_has_its_section():
    linked = re.findall(r"\((add-[\w-]+\.md)#([\w-]+)\)", INDEX)
    there = [
        (page, re.sub(r"[^\w -]", "", name).lower().replace(" ", "-"))
        for page, text in PAGES.items()
        for name, _ in SECTION.findall(text)
    ]
    assert sorted(linked) == sorted(there)
    assert len(linked) == 9
