"""A ledger's noise for a comparison: `altgrad compare … seeds=auto spread=LEDGER`."""

from pathlib import Path

from altgrad.compare.arm import Compose
from altgrad.compare.question import KnownSpread
from altgrad.compare.spread import freedom_of, size_of
from altgrad.ideas.ledger import Entry, LedgerFile
from altgrad.ideas.noise import ENOUGH
from altgrad.ideas.screening import NOMINATED
from altgrad.ideas.state import read_state


def spread_of_ledger(folder: Path, compose: Compose) -> KnownSpread:
    """What the ledger judges its ideas with.

    Ideas tried under one champion share its runs, and count for less than their number.

    Raises:
        ConfigError: no ledger, or one whose baseline has not been measured.
    """
    entries = LedgerFile(folder).entries()
    state = read_state(entries)
    noise = state.known_noise()
    freedom = sum(freedom_of(block) for block in _blocks(entries))
    if sum(map(sum, _blocks(entries))) < ENOUGH:
        freedom += noise.freedom if not freedom else 1  # the baseline's seeds, as in noise.pool
    size = size_of(compose(state.terms.base).to_dict())
    size |= {"primary": state.terms.primary, "last": state.terms.last}
    return KnownSpread(str(folder), noise.spread, freedom, size)


def _blocks(entries: list[Entry]) -> list[list[int]]:
    """Degrees of freedom of every row of differences, those from one champion's runs together."""
    blocks: list[list[int]] = [[]]
    for entry in entries:
        if entry.get("gains"):
            blocks[-1].append(len(entry["gains"]) - 1)
        if entry["kind"] == "reckon":
            rows = [[h for h in row if h is not None] for row in entry["harms"].values()]
            blocks += [[len(row) - 1 for row in rows if len(row) > 1], []]
        elif entry.get("verdict") == NOMINATED:
            blocks.append([])
    return [[n for n in block if n > 0] for block in blocks]
