"""A part of the two batteries in every run of the tests; all of them with `-m slow`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.battery import COMMANDS, FAULTS

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the shim is for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler for the shim"),
]


def ran(script: str, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    typed = [sys.executable, str(HERE / script), *words]
    done = subprocess.run(typed, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(rows: list, commands: list[str]) -> None:
    assert [row[:2] for row in rows] == [[c, f] for c in commands for f in FAULTS]
    for command, fault, tally in rows:
        assert not tally["wrong"]
        assert tally["cases"] == tally["went_on"] + tally["one_line"] > 0
        assert tally["calls"] >= 10, f"{command}, {fault}: the shim sees too little"


def test_after_a_failed_call_work_goes_on_or_says_one_line():
    commands = ["train", "eval", "import", "prepare"]
    check(json.loads(ran("battery.py", *commands, "--sample", "3", "--json")), commands)


def test_damaged_files_end_no_command_in_a_traceback():
    said = ran("damage.py", "--sample", "40")
    assert re.search(r"^40 cases: \{'well': 40\}$", said, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_call_may_fail(command):
    check(json.loads(ran("battery.py", command, "--json")), [command])


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_file_may_be_damaged_in_every_way():
    assert "'well'" in ran("damage.py")
