"""Every file of a run and of a comparison damaged in every way, and every command that reads it.

    python tests/faults/damage.py                 everything, the table
    python tests/faults/damage.py --sample 60     a random part, for the tests

A command goes on or says one line; a traceback, a hang or an odd exit code is a fault of ours.
torch is imported once; each case is a fork in a fresh copy.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.faults import battery

RUN = Path("runs/a")
QUESTION = ["compare", "optim=adamw,sgd", "seeds=2", "name=q", *battery.ARMS, "max_steps=3"]
COMMANDS = {
    "show": ["show"],
    "show RUN": ["show", "a"],
    "show --json": ["show", "--json"],
    "plot": ["plot", "runs/a"],
    "watch": ["watch", "a"],
    "gc": ["gc", "a"],
    "sample": ["sample", "a", "--tokens", "3"],
    "eval": ["eval", "a"],
    "export": ["export", "a", "--no-tokenizer"],
    "resume": ["resume", "a"],
    "more steps": ["resume", "a", "max_steps=7", "resume.allow=[max_steps]"],
    "reproduce": ["reproduce", "a", "--out", "runs/again"],
    "init_from": ["train", *battery.TINY, "init_from=runs/a", "run_dir=runs/b"],
    "report": ["report", "q"],
    "compare": QUESTION,
    "baseline": ["baseline", "freeze", "base", "runs/a"],
}
OF_RUN = [c for c in COMMANDS if c not in ("report", "compare")]
OF_COMPARISON = ["report", "compare"]


def change_leaves(tree: Any, new: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {k: change_leaves(v, new) for k, v in tree.items()}
    return [change_leaves(v, new) for v in tree] if isinstance(tree, list) else new(tree)


def _rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """The file with its content changed, in its own format."""
    text = path.read_text(errors="replace")
    if path.suffix == ".jsonl":
        path.write_text(
            "".join(json.dumps(change(json.loads(x))) + "\n" for x in text.splitlines())
        )
    elif path.suffix == ".json":
        path.write_text(json.dumps(change(json.loads(text))))
    elif path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(change(yaml.safe_load(text))))
    else:
        path.write_bytes(path.read_bytes()[::-1])


def _top(tree: Any, value: Any) -> Any:
    return dict.fromkeys(tree, value) if isinstance(tree, dict) else value


def _replace(path: Path, make: Callable[[], object]) -> None:
    path.unlink()
    make()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": lambda p: p.unlink(),
    "empty": lambda p: p.write_bytes(b""),
    "half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "binary": lambda p: p.write_bytes(bytes(range(256)) * 4),
    "zeros": lambda p: p.write_bytes(bytes(p.stat().st_size)),
    "nested without end": lambda p: p.write_bytes(b"[" * 100_000),
    "a number": lambda p: p.write_text("17\n"),
    "a list": lambda p: p.write_text('["a", 1]\n'),
    "other keys": lambda p: p.write_text('{"a": 1}\n'),
    "texts for values": lambda p: _rewrite(p, lambda t: change_leaves(t, lambda v: "x")),
    "numbers for values": lambda p: _rewrite(p, lambda t: change_leaves(t, lambda v: 7)),
    "huge numbers": lambda p: _rewrite(p, lambda t: change_leaves(t, lambda v: 10**30)),
    "null for values": lambda p: _rewrite(p, lambda t: change_leaves(t, lambda v: None)),
    "lists for keys": lambda p: _rewrite(p, lambda t: _top(t, [1])),
    "null for keys": lambda p: _rewrite(p, lambda t: _top(t, None)),
    "escapes": lambda p: _rewrite(
        p, lambda t: change_leaves(t, lambda v: f"\x1b[31m{v}" if isinstance(v, str) else v)
    ),
    "a folder": lambda p: _replace(p, p.mkdir),
    "a link to itself": lambda p: _replace(p, lambda: p.symlink_to(p.name)),
    "a pipe": lambda p: _replace(p, lambda: os.mkfifo(p)),
}


def sign_again(folder: Path) -> None:
    """The manifest of a checkpoint that somebody forged: every sum is right."""
    from altgrad.training.checkpoints.manifest import FILES, MANIFEST, Manifest

    old = json.loads((folder / MANIFEST).read_text())
    files = {}
    for name in FILES:
        content = (folder / name).read_bytes()
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    made = Manifest(old["step"], old["val_loss"], old["run"], files)
    (folder / MANIFEST).write_bytes(made.to_bytes())


def files() -> list[tuple[Path, list[str]]]:
    """Each file, and the commands that may read it."""
    newest = max((RUN / "checkpoints").glob("step_*"))
    names = ("config.yaml", "data.json", "environment.json", "metrics.jsonl", "events.jsonl")
    found = [(RUN / n, OF_RUN) for n in names]
    found += [(p, OF_RUN) for p in sorted(newest.iterdir())]
    place = Path("runs/compare/q")
    found += [(place / n, OF_COMPARISON) for n in ("question.yaml", "record.json", "verdict.json")]
    member = next(p for p in Path("runs").iterdir() if p.name.startswith("sgd-seed2"))
    return found + [(member / n, OF_COMPARISON) for n in names]


def make_template() -> None:
    battery.write_text()
    battery.run_quietly(["train", *battery.TINY, "run_dir=runs/a", "sample_tokens=2"])
    battery.run_quietly(QUESTION)


def cases() -> list[tuple[Path, str, bool, str]]:
    """`file, damage, signed again, command`."""
    found = []
    for path, commands in files():
        forgeable = path.parent.name.startswith("step_") and path.name != "manifest.json"
        for signed in (False, True) if forgeable else (False,):
            found += [(path, d, signed, c) for d in DAMAGES for c in commands]
    return found


def wrong(path: Path, damage: str, signed: bool, command: str) -> tuple[str, str]:
    """Empty where all is well; and what was said."""
    try:
        DAMAGES[damage](path)
        if signed:
            sign_again(path.parent)
    except (OSError, ValueError):  # this damage cannot be done to this file
        return "", ""
    code, said = battery.in_child(COMMANDS[command], lambda: None)
    if "Traceback" in said:
        return "traceback", said
    if code not in (0, 1, 2, 130):
        return f"exit code {code}", said
    return "a raw escape" if "\x1b" in said else "", said


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    battery.PATIENCE_S = 30
    with tempfile.TemporaryDirectory() as work:
        os.environ |= {"FAULTS_OUT": work, "HOME": work, "ALTGRAD_CACHE": f"{work}/cache"}
        battery.prepare_process()
        template, case = Path(work, "template"), Path(work, "case")
        template.mkdir()
        os.chdir(template)
        make_template()
        chosen = cases()
        if arguments.sample:
            chosen = random.Random(arguments.seed).sample(chosen, arguments.sample)
        tally: Counter[str] = Counter()
        for what in chosen:
            os.chdir(work)
            shutil.rmtree(case, ignore_errors=True)
            shutil.copytree(template, case, symlinks=True)
            os.chdir(case)
            found, said = wrong(*what)
            tally[found or "well"] += 1
            if found:
                print(
                    f"{what[0]}, {what[1]}{' (signed)' * what[2]}, {what[3]}: {found}", flush=True
                )
                if os.environ.get("FAULTS_SHOW"):
                    print(said[-1500:], flush=True)
        os.chdir("/")
    print(f"{sum(tally.values())} cases: {dict(tally)}")
    return int(set(tally) != {"well"})


if __name__ == "__main__":
    raise SystemExit(main())
