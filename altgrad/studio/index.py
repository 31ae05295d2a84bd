"""Every run folder below one place, read newest first, then followed where it grows.

Names are there at once; what the folders hold is read in the background. A look goes to the runs
that are training, those that somebody looks at, and some of the others in turn, so that ten
thousand finished runs cost next to nothing.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from altgrad.runs.printable import printable
from altgrad.studio.card import Card, Settings

LOOK_EVERY_S = 0.7
PIECE_S = 0.1
"""The first reading lets go of the index this often."""
IN_TURN = 300
"""Runs that neither train nor are looked at, of which each look takes this many."""
WATCHED_S = 20.0


class Index:
    """Thread-safe. `version` grows with every change; `changed_since` says what it was.

    Attributes:
        base: the runs' folder.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.version = 0
        self._cards: dict[str, Card] = {}
        self._folders = Folders(base)
        self._settings = Settings()
        self._lock = threading.RLock()
        self._changes: dict[str, int] = {}
        self._watched: dict[str, float] = {}
        self._unread: list[str] = []
        self._turn = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="altgrad-index", daemon=True)

    # -- for those who ask ------------------------------------------------------------------------

    def open(self) -> "Index":
        """List the folders and begin to read them."""
        self.list_folders()
        self._thread.start()
        return self

    def close(self) -> None:
        self._stopped.set()

    def cards(self) -> list[Card]:
        with self._lock:
            return list(self._cards.values())

    def counts(self) -> dict[str, int]:
        """Runs, how many of them have been read, and how many train."""
        cards = self.cards()
        return {
            "total": len(cards),
            "read": sum(card.is_read for card in cards),
            "running": sum(card.status == "running" for card in cards),
        }

    def get(self, name: str) -> Card | None:
        """The run of that name, read by now."""
        with self._lock:
            card = self._cards.get(name)
        if card:
            self.look_at([card])
        return card

    def look_at(self, cards: Iterable[Card]) -> None:
        """Somebody is shown these: read them now, and follow them for a while."""
        until = time.monotonic() + WATCHED_S
        for card in cards:
            self._watched[card.name] = until
            with self._lock:
                if not card.is_read:
                    card.read(self._settings, self.base)

    def changed_since(self, version: int) -> list[str]:
        with self._lock:
            return [name for name, at in self._changes.items() if at > version]

    # -- the look ---------------------------------------------------------------------------------

    def list_folders(self) -> None:
        """Runs that are new, and those that are gone; nothing is listed twice for nothing."""
        if not self._folders.have_changed():
            return
        found = self._folders.runs()
        with self._lock:
            for name in set(self._cards) - set(found):
                del self._cards[name]
                self._note(name)
            fresh = [name for name in found if name not in self._cards]
            for name in sorted(fresh, key=lambda n: found[n]):
                self._cards[name] = Card(self.base / name, found[name])
                self._unread.append(name)
                self._note(name)

    def look(self) -> None:
        """Once around: new folders, what grows, what is watched, some of the others."""
        self.list_folders()
        self._read_unread()
        now = time.monotonic()
        self._watched = {n: until for n, until in self._watched.items() if until > now}
        cards = self.cards()
        near = [c for c in cards if c.status == "running" or c.name in self._watched]
        some = cards[self._turn : self._turn + IN_TURN]
        self._turn = self._turn + IN_TURN if self._turn + IN_TURN < len(cards) else 0
        self._each({c.name: c for c in [*near, *some]}.values(), Card.follow)
        unchecked = [c for c in [*near, *some] if not c.checked and c.status == "finished"]
        self._each(unchecked, Card.check)

    def _each(self, cards: Iterable[Card], do: Callable[[Card], bool]) -> None:
        for card in cards:
            if self._stopped.is_set():
                return
            with self._lock:
                if card.is_read and _safely(card, do):
                    self._note(card.name)

    def _read_unread(self) -> None:
        """Newest first, in pieces, so that others get their turn."""
        began = time.monotonic()
        while self._unread and not self._stopped.is_set():
            with self._lock:
                card = self._cards.get(self._unread.pop())
                if card and not card.is_read:
                    card.read(self._settings, self.base)
            if time.monotonic() - began > PIECE_S:
                began = time.monotonic()
                self.version += 1
                time.sleep(0.005)

    def _note(self, name: str) -> None:
        self.version += 1
        self._changes[name] = self.version

    def _work(self) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            self.look()
            took = time.monotonic() - began
            self._stopped.wait(max(LOOK_EVERY_S, 4 * took))


def _safely(card: Card, do: Callable[[Card], bool]) -> bool:
    """A folder that vanishes or breaks while it is read stays in the table, and says so."""
    try:
        return do(card)
    except (OSError, ValueError) as error:
        card.status, card.trouble = "damaged", printable(" ".join(str(error).split()))
        return True


class Folders:
    """The folders right below `base`: a folder is a run once it has settings."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._listed = -1
        self._waiting: list[str] = []

    def have_changed(self) -> bool:
        """Whether a folder came or went, or one that was none has become a run."""
        try:
            listed = os.stat(self.base).st_mtime_ns
        except OSError:
            listed = -1
        return listed != self._listed or any(
            os.path.exists(self.base / name / "config.yaml") for name in self._waiting
        )

    def runs(self) -> dict[str, float]:
        """Name -> when its settings were written."""
        found: dict[str, float] = {}
        self._waiting = []
        try:
            self._listed = os.stat(self.base).st_mtime_ns
            entries = list(os.scandir(self.base))
        except OSError:
            return found
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                continue
            try:
                found[entry.name] = os.stat(f"{entry.path}/config.yaml").st_mtime
            except OSError:
                self._waiting.append(entry.name)
        return found
