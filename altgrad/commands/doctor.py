"""`altgrad doctor`: what a run would use on this machine, and what to do about what is missing."""

import argparse
from collections.abc import Callable
from typing import Any

from altgrad.commands.words import say
from altgrad.runs import json_text

DOCTOR_HELP = """\
marks: ✓ as it should be, – missing, but a run works without it, ✗ what a run would fail for
Exit code 1 where there is a ✗.
"""
MARKS = {"good": "✓", "missing": "–", "bad": "✗"}


def add_doctor_command(commands: Any, add_command: Callable[..., argparse.ArgumentParser]) -> None:
    summary = "say what a run would use here, and what to do about what is missing"
    parser = add_command(commands, "doctor", doctor, summary)
    parser.epilog = DOCTOR_HELP
    parser.add_argument("--offline", action="store_true", help="do not try the network")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def doctor(arguments: argparse.Namespace) -> int:
    from altgrad.training.doctor import examine

    found = []
    for fact in examine(network=not arguments.offline):
        found.append(fact)
        if not arguments.json:
            say(f"{MARKS[fact.state]} {fact.what:12} {fact.found}")
            if fact.advice:
                say(f"  {'':12} -> {fact.advice}")
    if arguments.json:
        print(json_text([fact.to_dict() for fact in found], indent=2))
    return int(any(fact.state == "bad" for fact in found))
