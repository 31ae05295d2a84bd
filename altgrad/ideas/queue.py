"""A queue of ideas, worked off unattended: from a YAML file, until it or the budget ends."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from altgrad.ideas.idea import Idea, read_idea
from altgrad.ideas.ledger import Entry
from altgrad.ideas.loop import Ledger, ReckoningOpenError
from altgrad.ideas.patches import with_patch
from altgrad.ideas.screening import NOMINATED
from altgrad.ideas.state import State
from altgrad.settings import ConfigError, require
from altgrad.trust import said_by

KEYS = ("settings", "why", "patch")
EARLIER = {"words": "settings"}
"""What a queue written before calls a key; a ledger knows its ideas by the file's own text."""


def read_queue(path: Path) -> list[tuple[str, Idea]]:
    """(item, idea) of each entry. Its item is a hash of what it says and how often it was said
    before, so that ideas may be added to the file later.

    The file is a list: each a text of settings, or a mapping of `settings`, `why` and `patch` (a
    file).

    Raises:
        ConfigError: the file, or the entry, that cannot be read.
    """
    try:
        content = said_by(path, yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no readable queue of ideas: {error}") from None
    if isinstance(content, dict):
        content = content.get("ideas")
    require(
        isinstance(content, list), f"{path} must be a list of ideas, or have `ideas:` with one."
    )
    seen: Counter[str] = Counter()
    items = []
    for place, entry in enumerate(content, 1):
        idea = _idea(entry, f"{path}, idea {place}")
        text = json.dumps(entry, sort_keys=True, default=str)
        text += idea.patch.sha if idea.patch else ""  # another content is another idea
        seen[text] += 1
        item = hashlib.sha256(f"{text} {seen[text]}".encode()).hexdigest()[:12]
        items.append((item, idea))
    return items


def _idea(entry: Any, where: str) -> Idea:
    entry = {"settings": entry} if isinstance(entry, str) else entry
    said = f"{where}: {entry!r} is neither a text of settings nor a mapping."
    require(isinstance(entry, dict), said)
    require(
        not ({"words", "settings"} <= entry.keys()), f"{where}: `words` is `settings`; say one."
    )
    entry = {EARLIER.get(key, key): value for key, value in entry.items()}
    strange = [key for key in entry if key not in KEYS]
    require(not strange, f"{where}: unknown {strange}; there are {', '.join(KEYS)}.")
    words = entry.get("settings") or []
    words = words.split() if isinstance(words, str) else [str(w) for w in words]
    patch = entry.get("patch")
    try:
        idea = read_idea(words, why=str(entry.get("why") or ""), patched=patch is not None)
        return idea if patch is None else with_patch(idea, str(patch))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def work_off(ledger: Ledger, items: list[tuple[str, Idea]]) -> Iterator[Entry]:
    """Try what has no entry yet, and reckon when `reckon_at` changes wait, and at the end.

    Yields every new entry; ends early where the budget of hours is spent. A reckoning that had
    begun is ended first.
    """
    for item, idea in items:
        while item not in (state := ledger.state()).done():
            if state.plan is None and spent(state):
                return
            try:
                yield (entry := ledger.try_idea(idea, item=item))
            except ReckoningOpenError:  # begun by a process that was killed
                yield from _reckon(ledger, lambda _: False)
                continue
            if entry["verdict"] == NOMINATED:
                yield from _reckon(ledger, _due)
    yield from _reckon(ledger, lambda state: bool(state.provisional) and not spent(state))


def _reckon(ledger: Ledger, due: Callable[[State], bool]) -> Iterator[Entry]:
    entry = ledger.reckon_if(due)
    if entry is not None:
        yield entry


def spent(state: State) -> bool:
    """Whether the hours of the ledger are used up."""
    return state.terms.hours is not None and state.spent_s() >= 3600 * state.terms.hours


def _due(state: State) -> bool:
    return len(state.provisional) >= state.terms.reckon_at
