"""What a browser is told while it looks: server-sent events, one a change."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from altgrad.runs import json_text
from altgrad.studio.index import Index

EVERY_S = 0.5
ALIVE_S = 15.0
"""A quiet connection says so this often: what lies between would close it otherwise."""
MOST_NAMES = 300


def others_state(base: Path) -> float:
    """Grows when a comparison or a ledger changes."""
    found = [0]
    for folder, file in (("compare", "record.json"), ("ideas", "ledger.jsonl")):
        for path in (base / folder).glob(f"*/{file}"):
            try:
                found.append(os.stat(path).st_mtime_ns)
            except OSError:
                continue
    return max(found)


async def changes(
    index: Index, gone: Callable[[], Awaitable[bool]], *, every_s: float = EVERY_S
) -> AsyncIterator[str]:
    """`data: {"runs": [names], "all": …, "others": …, "total": …}` whenever something is new.

    all: more may have changed than is named. others: grows with comparisons and ledgers.
    """
    version, others, quiet = -1, -1.0, 0.0
    while not await gone():
        now = await asyncio.to_thread(others_state, index.base)
        if index.version != version or now != others:
            first, seen = version < 0, index.version  # before the names: none falls in between
            names = [] if first else index.changed_since(version)
            version, others, quiet = seen, now, 0.0
            missed = first or len(names) > MOST_NAMES
            told = {"runs": names[:MOST_NAMES], "all": missed, "others": others}
            yield event({**told, **index.counts()})
        elif (quiet := quiet + every_s) >= ALIVE_S:
            quiet = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(every_s)


def event(content: Any) -> str:
    return f"data: {json_text(content)}\n\n"
