"""One idea: a change of anything but the measuring."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from altgrad.compare.arm import Arm, differences, last_words
from altgrad.compare.identity import WITHOUT_EFFECT, covers
from altgrad.compare.question import full_name
from altgrad.compare.reads import read_differences
from altgrad.programs import Patch
from altgrad.settings import ConfigError, get_setting, require

MEASURING = {
    "seed": "the ledger gives every run its seed, idea and champion the same",
    "max_steps": "the ledger's budget says how many steps an idea gets",
    "eval_interval": "it is part of how everything in the ledger is evaluated",
    "eval_tokens": "it is part of how everything in the ledger is evaluated",
    "log_interval": "it is part of how everything in the ledger is measured",
    "model.block_size": "it is the length in which everything in the ledger is evaluated",
    "model.vocab_size": "it follows the data, which stay",
    "devices": "the ledger's machine stays",
    "device": "the ledger's machine stays",
    "strategy": "the ledger's machine stays",
    "init_from": "everything in the ledger starts from new weights",
    "faults": "they break a run on purpose",
    "guards": "they decide when a run counts as diverged",
    "data": "idea and champion read the same data in the same order",
}
"""Setting or group that no idea may touch -> why."""

FREE = ("data.batch_size",)
"""Settings of such a group that change the training alone: the budget makes up for them."""


@dataclass(frozen=True)
class Idea:
    """words: as typed. why: for people. patch: of code, until the ledger keeps it (`patches`)."""

    words: tuple[str, ...] = ()
    why: str = ""
    patch: Patch | None = None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return " ".join(w if len(w) <= 60 else f"{w[:57]}..." for w in self.words)


def read_idea(words: Sequence[str], *, why: str = "", patched: bool = False) -> Idea:
    """An idea from what was typed; with a patch it may be without words. Arguments of a program
    (`--lr=0.1`) stay as they are.

    Raises:
        ConfigError: nothing is changed, or a word is no KEY=VALUE.
    """
    for word in words:
        known = "=" in word or word.startswith("-")
        require(known, f"{word!r} is not KEY=VALUE, such as optim.lr=0.02.")
    require(bool(words) or patched, "an idea needs at least one KEY=VALUE, or a --patch.")
    full = [w if w.startswith("-") else _full(w) for w in words]
    return Idea(tuple(last_words(full)), why)


def _full(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{full_name(key)}={value}"


def refuse_typed(words: Sequence[str]) -> None:
    """Refuse a word that sets the measuring, whatever value it gives.

    Raises:
        ConfigError: naming the word, and why.
    """
    for word in words:
        _refuse(word.partition("=")[0], word)


def changes_of(champion: Arm, idea: Arm) -> dict[str, tuple[Any, Any]]:
    """Settings that the idea changes: name -> (champion's value, its value).

    Raises:
        ConfigError: it touches the measuring (also by a preset), or changes nothing that is read.
    """
    found = differences(champion.config, idea.config)
    found = {n: v for n, v in found.items() if not covers(WITHOUT_EFFECT, n)}
    for name in found:
        _refuse(name, f"{name}={get_setting(idea.config, name)}")
    read = read_differences(found, champion, idea)
    if not read:
        unread = f": nothing reads {', '.join(found)}" if found else ""
        raise ConfigError(f"it changes nothing against the champion{unread}")
    return read


def _refuse(name: str, word: str) -> None:
    for group, why in MEASURING.items():
        if covers([group], name) and name not in FREE:
            raise ConfigError(f"{word} touches the measuring: {why}")
