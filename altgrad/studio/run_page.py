"""One run: what it is, what happened to it, what it wrote, and how to make it again."""

import shlex
from pathlib import Path
from typing import Any

from altgrad.runs import RunFolder, checkpoint_folder, read_events, read_json, read_settings
from altgrad.runs.printable import printable
from altgrad.runs.summary import summarise_run
from altgrad.studio.card import Card
from altgrad.studio.places import NotHereError, leads_out, read_text, require_inside
from altgrad.studio.plain import finite
from altgrad.studio.query import row_of

MOST_SAMPLES = 40
FACTS = ("python", "torch", "platform", "cpu", "cores", "threads", "gpus", "cuda")


def run_page(card: Card, base: Path) -> dict[str, Any]:
    """Everything but curves and heat maps.

    Raises:
        ValueError: the folder cannot be read.
    """
    if leads_out(card.path, base):
        raise NotHereError(f"a file of {card.name} is a link out of {base}")
    summary = summarise_run(card.path).to_dict()
    del summary["path"]
    return {
        "row": {**row_of(card, None), "status": summary["status"]},
        "summary": summary,
        "settings": card.settings(),
        "events": [_event(e) for e in read_events(RunFolder(card.path).events)],
        "samples": samples(card.path, base),
        "environment": environment(card.path),
        "checkpoints": checkpoints(card.path, base),
        "commands": commands(card.path, summary["status"]),
    }


def _event(event: dict[str, Any]) -> dict[str, Any]:
    """Without the hashes that no person reads."""
    return {k: v for k, v in event.items() if k not in ("metrics", "weights")}


def samples(run: Path, base: Path) -> list[dict[str, Any]]:
    """`step`, `text` of each evaluation, the newest first."""
    found = []
    for path in sorted(RunFolder(run).samples.glob("step_*.txt"), reverse=True)[:MOST_SAMPLES]:
        step = path.stem.removeprefix("step_")
        if step.isdigit():
            found.append({"step": int(step), "text": read_text(path, base)})
    return found


def environment(run: Path) -> dict[str, Any]:
    """What machine and code made it; empty where the folder does not say."""
    try:
        known = read_json(RunFolder(run).environment)
    except ValueError:
        return {}
    git = known.get("git")
    git = git if isinstance(git, dict) else {}
    facts = {name: known[name] for name in FACTS if known.get(name) not in (None, [])}
    return {
        **facts,
        "commit": git.get("commit"),
        "changed since": "yes" if git.get("dirty_diff") else "no",
        "command": known.get("command"),
    }


def checkpoints(run: Path, base: Path) -> dict[str, Any]:
    """Each saved step, its size, its loss, and whether its files have the size they were written
    with. Whether every byte is right takes reading them all: `heavy.checked_checkpoints`."""
    folder = checkpoint_folder(run, read_settings(RunFolder(run).config))
    try:
        found = [_checkpoint(p, base) for p in sorted(folder.glob("step_*")) if p.is_dir()]
    except NotHereError:
        return {"elsewhere": str(folder), "saved": []}
    return {"elsewhere": "", "saved": found}


def _checkpoint(path: Path, base: Path) -> dict[str, Any]:
    require_inside(path, base)
    line: dict[str, Any] = {"name": path.name, "bytes": 0, "val_loss": None}
    try:
        manifest = read_json(require_inside(path / "manifest.json", base))
        files = {name: int(facts["bytes"]) for name, facts in manifest["files"].items()}
        wrong = [n for n, size in files.items() if _size(path / Path(n).name) != size]
        state = f"damaged: {', '.join(wrong)}" if wrong else "there"
        loss = finite(manifest.get("val_loss"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {**line, "state": f"damaged: {error}"}
    return {**line, "bytes": sum(files.values()), "val_loss": loss, "state": state}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def commands(run: Path, status: str) -> dict[str, str]:
    """What to type to go on with it, and to make it again."""
    name = shlex.quote(printable(run))
    found = {"make it again": f"altgrad reproduce {name}"}
    if status in ("interrupted", "failed"):
        found = {"go on": f"altgrad resume {name}", **found}
    return {
        **found,
        "write with it": f"altgrad sample {name}",
        "follow it": f"altgrad watch {name}",
    }
