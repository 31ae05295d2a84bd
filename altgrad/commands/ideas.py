"""`altgrad ideas`: words -> calls of `altgrad.ideas`."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from altgrad.commands import words
from altgrad.runs import json_text

AddCommand = Callable[..., argparse.ArgumentParser]
Compose = Callable[..., Any]

CODES = {
    "nominated": 0,
    "refused": 2,
    "no gain": 10,
    "parked": 11,
    "lost": 12,
    "crashed": 12,
}
NOTHING_FOUND, WAITS, BUDGET_SPENT = 10, 11, 13

WHERE = "where it runs: jobs=2 launcher=local"
HELP = """\
  new NAME [FILE] KEY=VALUE …   begin: the settings of the baseline, and
      delta=0.003 budget=tokens|flops|time hours=8 guarantee=fdr|fwer heldout=0.25 memory_gb=4
      reckon_at=12 primary=val_loss last=1
  try NAME KEY=VALUE … --why 'because'    one idea against the champion
  try NAME --patch idea.diff    the same: a change of the code (git diff > idea.diff)
  run NAME ideas.yaml           a queue of them; stops when the hours are spent
  reckon NAME                   test which of the kept changes really help
  show NAME [--json]            the table and the picture
  import NAME results.tsv       a table of an earlier loop, as unproven history
A ledger of somebody's program: new NAME program='python train.py' cwd=DIR metric='loss ([0-9.]+)'
  seed_by=torch; ideas are its arguments (try NAME -- --lr=0.1), openings and patches.
Where it runs, as for `altgrad compare`: jobs=2 threads=1 launcher=local runs=runs
exit codes: 0 nominated, found, or done; 2 refused; 10 no gain, nothing found; 11 parked, or
  changes wait for a reckoning (show); 12 crashed or lost; 13 the hours are spent
"""


def add_ideas_command(commands: Any, add_command: AddCommand, compose: Compose) -> None:
    """Add `ideas` with its actions; `compose(words, config_dir)` makes settings of words."""
    summary = "many ideas, one after another, and which of them really help"
    parser = add_command(commands, "ideas", _help, summary)
    parser.epilog = HELP
    parser.set_defaults(parser=parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    for name, call, told, takes in (
        ("new", new, "begin a ledger", "settings of the baseline and of the ledger"),
        ("try", try_, "try one idea against the champion", "the idea, as settings"),
        ("run", run, "try the ideas of a file, one after another", "the file of ideas"),
        ("reckon", reckon, "test which of the kept changes really help", WHERE),
        ("show", show, "print the table of ideas and draw the picture", "nothing more"),
        ("import", import_, "take over a table of an earlier loop", "the table, as TSV"),
    ):
        action = add_command(actions, name, partial(_stoppable, call, compose), told)
        action.add_argument("name", help="the ledger: a folder below runs/ideas")
        action.add_argument("words", nargs="*", metavar="FILE|KEY=VALUE", help=takes)
        action.add_argument("--json", action="store_true", help="print JSON, for programs")
        action.add_argument("--config-dir", metavar="DIR", help="folder with further presets")
        words.add_trust(action)
        if name == "try":
            action.add_argument("--why", default="", help="the reason, kept in the ledger")
            action.add_argument(
                "--patch", metavar="FILE", help="a change of the code, as `git diff` writes it"
            )


def _help(arguments: argparse.Namespace) -> None:
    arguments.parser.print_help()


def _stoppable(call: Callable[..., int], compose: Compose, arguments: argparse.Namespace) -> int:
    try:
        return call(compose, arguments)
    except KeyboardInterrupt:
        said = "stopped; everything so far is kept: the same command again goes on with it"
        words.say(said, file=sys.stderr)
        raise


def new(compose: Compose, arguments: argparse.Namespace) -> int:
    from altgrad.ideas.table import head, to_dict
    from altgrad.ideas.terms import read_terms

    ledger, typed, say = _ledger(compose, arguments)
    terms = read_terms(typed)
    state = ledger.new(terms)
    for line in head(state):
        say(line)
    return _answer(arguments, to_dict(state), 0)


def try_(compose: Compose, arguments: argparse.Namespace) -> int:
    ledger, typed, _ = _ledger(compose, arguments)
    entry = ledger.try_(typed, why=arguments.why, patch=arguments.patch)
    return _answer(arguments, entry, CODES[entry["verdict"]])


def run(compose: Compose, arguments: argparse.Namespace) -> int:
    from altgrad.ideas.queue import read_queue, spent, work_off
    from altgrad.settings import require

    ledger, typed, say = _ledger(compose, arguments)
    require(len(typed) == 1, "altgrad ideas run NAME ideas.yaml: one file with the ideas.")
    items = read_queue(Path(typed[0]))
    entries = list(work_off(ledger, items))
    state = ledger.state()
    waiting = [item for item, _ in items if item not in state.done()]
    if waiting and spent(state):
        say(f"the hours are spent; {len(waiting)} ideas wait. Reckon: altgrad ideas reckon NAME")
    code = BUDGET_SPENT if spent(state) and (waiting or state.provisional) else 0
    return _answer(arguments, entries, code)


def reckon(compose: Compose, arguments: argparse.Namespace) -> int:
    ledger, _, _ = _ledger(compose, arguments)
    entry = ledger.reckon()
    return _answer(arguments, entry, 0 if entry["found"] else NOTHING_FOUND)


def show(compose: Compose, arguments: argparse.Namespace) -> int:
    from altgrad.ideas.picture import chart_lines
    from altgrad.ideas.show import write_pictures
    from altgrad.ideas.table import lines, to_dict

    ledger, _, say = _ledger(compose, arguments)
    state = ledger.state()
    for line in [*lines(state), "", *chart_lines(state)]:
        say(line)
    for path in write_pictures(state, ledger.folder):
        say(f"picture: {path}")
    waits = bool(state.provisional) or state.plan is not None
    return _answer(arguments, to_dict(state), WAITS if waits else 0)


def import_(compose: Compose, arguments: argparse.Namespace) -> int:
    from altgrad.ideas.history import read_history
    from altgrad.settings import require

    ledger, typed, say = _ledger(compose, arguments)
    require(len(typed) == 1, "altgrad ideas import NAME results.tsv: one table.")
    entry = ledger.take_over(typed[0], read_history(Path(typed[0])))
    say(f"{len(entry['rows'])} rows of an earlier loop, unproven: none of them is in the champion")
    return _answer(arguments, entry, 0)


def _ledger(compose: Compose, arguments: argparse.Namespace) -> tuple[Any, list[str], Any]:
    """The ledger, the words that are not about where it runs, and whom to tell."""
    from altgrad.compare.launching import take_launch_words
    from altgrad.ideas.loop import Ledger, ledger_folder

    say = partial(words.say, file=sys.stderr if arguments.json else sys.stdout)
    launch, typed = take_launch_words(arguments.words)
    remark = words.once(say)
    ledger = Ledger(
        ledger_folder(arguments.name, launch.runs),
        compose=lambda found: compose(found, arguments.config_dir, remark=remark),
        launch=launch,
        say=say,
        report=lambda done, total, label, state: say(f"  [{done}/{total}] {label}: {state}"),
    )
    return ledger, typed, say


def _answer(arguments: argparse.Namespace, content: Any, code: int) -> int:
    if arguments.json:
        print(json_text(content, indent=1, ensure_ascii=False))
    return code
