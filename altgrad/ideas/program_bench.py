"""A bench whose runs are somebody's program: ideas are its arguments, openings, and patches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad import trust
from altgrad.compare.launching import Wanted
from altgrad.compare.program_arms import (
    ProgramArm,
    ProgramArms,
    differing_facts,
    merge_program_words,
)
from altgrad.ideas.bench import Bench
from altgrad.ideas.ledger import FILE
from altgrad.ideas.patches import patches_of, without_patches
from altgrad.programs import KEYS, key_of_word
from altgrad.settings import ConfigError, require


@dataclass
class ProgramBench(Bench):
    """version: of the folder when the ledger was begun; empty = it is just being begun."""

    version: str = ""
    make: ProgramArms = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.make = ProgramArms(self.launch.runs, self.terms.primary)
        if self.ledger is not None and self.version:
            trust.said_by(self.ledger / FILE, self.terms.base)

    def arms(self, named: Mapping[str, Sequence[str]]) -> list[Any]:
        """Arms by name. Raises ValueError for words that no program has, patches that do not apply,
        and a folder that is not what it was."""
        return [self._arm(name, words) for name, words in named.items()]

    def _arm(self, name: str, words: Sequence[str]) -> ProgramArm:
        typed = merge_program_words(self.terms.base, without_patches(words))
        arm = self.make.arm(name, typed, patches_of(words, self.ledger))
        now = arm.tree.source.version([])
        require(
            not self.version or now == self.version,
            f"{arm.program.cwd} has changed since the ledger was begun, and its runs with it: put "
            "it back (a change of it is an idea: --patch), or begin another ledger.",
        )
        return arm

    def facts(self, arm: Any) -> dict[str, Any]:
        return {"version": arm.tree.source.version([])}

    def refuse(self, words: Sequence[str]) -> None:
        for word in without_patches(words):
            key = key_of_word(word)
            require(
                key not in KEYS,
                f"{word} touches the measuring: what is run and how it is measured was said at "
                "`new`; an idea is an argument (--lr=0.1), an opening, or a --patch.",
            )

    def changes(self, champion: Any, arm: Any) -> dict[str, Any]:
        found = differing_facts(champion, arm)
        if not found:
            raise ConfigError("it changes nothing against the champion")
        return found

    def failure_of(self, champion: Any, arm: Any) -> str:
        """None is known beforehand: a crash shows in its first run, at the price of that run."""
        return ""

    def key(self, arm: Any) -> str:
        return str(arm.at_seed(0).key)

    def spend_equally(self, arms: list[Any], measured: dict[str, float]) -> list[Any]:
        return arms

    def measures(self, arms: Sequence[Any]) -> bool:
        return False

    def shorter(self, arm: Any) -> None:
        return None

    def _wanted(self, arm: Any, seed: int) -> Wanted:
        config = arm.at_seed(seed)
        run = self.registry.place(config, "", arm.name)
        return Wanted(f"{arm.name} seed {seed}", config, run)

    def heldout_losses(
        self, runs: dict[str, dict[int, str]], arms: Mapping[str, Any], folder: Path
    ) -> dict[str, dict[int, float]]:
        raise NotImplementedError("a program's validation data are its own")

    def release(self) -> None:
        super().release()
        self.make.release()
