"""Makes a ledger's runs with what `compare` makes its runs with, and reads them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad.compare.arm import Arm, Compose, merge_words
from altgrad.compare.budget import spend_equally
from altgrad.compare.comparison import measure_arms, settle_arms
from altgrad.compare.identity import run_key
from altgrad.compare.launching import Launch, Report, Wanted, complete
from altgrad.compare.outcomes import Outcome, check_evaluations, read_outcome
from altgrad.compare.question import Question
from altgrad.compare.reads import refuse_unread_words
from altgrad.compare.registry import Registry
from altgrad.ideas.price import SHORTER
from altgrad.ideas.terms import Terms
from altgrad.runs import accept_code, code_versions
from altgrad.settings import ConfigError

Say = Callable[[str], None]
Outcomes = dict[str, dict[int, Outcome]]
"""Arm's name -> seed -> what became of its run."""

REPEATED = "again"
"""End of the name of the run that is made twice: no identity, so that nobody takes it for one."""

OWN_DATA = {"data.val_path": None, "data.val_fraction": 0.1, "data.share": 1.0, "data.shards": None}
"""Settings that a folder of tokens which are there already does not take."""


@dataclass
class Bench:
    """data: folder of the ledger's own tokens, with the held-out part cut off; None = the words'.

    Runs are placed by identity below `launch.runs`: what is there already is never run again.
    """

    terms: Terms
    compose: Compose
    launch: Launch
    data: Path | None = None
    report: Report | None = None

    def __post_init__(self) -> None:
        self.registry = Registry(self.launch.runs)
        self.hashes: dict[str, str] = {}

    def arms(self, named: Mapping[str, Sequence[str]]) -> list[Arm]:
        """Arms by name, the first one the control; settled by the machine and the data.

        named: name -> words beside the base's.

        Raises:
            ValueError: words that cannot be composed, or that nothing reads.
        """
        made = []
        for name, words in named.items():
            typed = merge_words(self.terms.base, words)
            config = self.compose(typed)
            accept_code(config.to_dict())
            made.append(self._at_home(Arm(name, tuple(typed), config)))
        refuse_unread_words(made, self.question(named))
        settled, hashes = settle_arms(made, elsewhere=self.launch.elsewhere)
        self.hashes |= hashes
        for arm in settled:
            check_evaluations(arm.config.to_dict(), self.question(named), arm.name)
        return settled

    def _at_home(self, arm: Arm) -> Arm:
        if self.data is None:
            return arm
        return arm.with_settings({**OWN_DATA, "data.path": str(self.data.absolute())})

    def question(self, named: Mapping[str, Sequence[str]]) -> Question:
        arms = {name: list(words) for name, words in named.items()}
        last, primary = self.terms.last, self.terms.primary
        return Question(
            arms=arms, base=self.terms.base, control=next(iter(arms)), last=last, primary=primary
        )

    def key(self, arm: Arm) -> str:
        """The identity of an arm, whatever its seed."""
        values = arm.at_seed(0).to_dict()
        return run_key(values, code_versions(values), self.hashes[arm.name])

    def spend_equally(self, arms: list[Arm], measured: dict[str, float]) -> list[Arm]:
        """The arms with the steps at which each spends what the first one does."""
        return spend_equally(arms, self.terms.budget, lambda arm: measured[arm.name])[0]

    def measure(self, arms: list[Arm], place: Path) -> dict[str, float]:
        """Arm -> seconds of a step, taken in turn under the same load."""
        return measure_arms(arms, self.launch, place)

    def shorter(self, arm: Arm) -> Arm | None:
        """The arm with fewer steps (`price.SHORTER`); None where it would not be evaluated."""
        steps = round(SHORTER * arm.config.max_steps)
        made = arm.with_settings({"max_steps": steps})
        try:
            check_evaluations(made.config.to_dict(), self.question({arm.name: ()}), arm.name)
        except ConfigError:
            return None
        return made if 0 < steps < arm.config.max_steps else None

    def run(self, arms: Sequence[Arm], seeds: Sequence[int]) -> Outcomes:
        """All arms on all seeds: made where they are not there yet, and read."""
        wanted = {(a.name, s): self._wanted(a, s) for s in seeds for a in arms}
        complete(list(wanted.values()), self.launch, self.report)
        return {
            a.name: {s: self._read(a.name, s, wanted[a.name, s].run) for s in seeds} for a in arms
        }

    def run_again(self, arm: Arm, seed: int) -> Outcome:
        """The run of `arm` at `seed` a second time, in a folder of its own: the machine's noise."""
        first = self._wanted(arm, seed)
        again = first.run.with_name(f"{first.run.name}-{REPEATED}")
        complete([Wanted(f"{first.label} again", first.config, again)], self.launch, self.report)
        return self._read(arm.name, seed, again)

    def _wanted(self, arm: Arm, seed: int) -> Wanted:
        config = arm.at_seed(seed)
        run = self.registry.place(config, self.hashes[arm.name], arm.name)
        return Wanted(f"{arm.name} seed {seed}", config, run)

    def _read(self, name: str, seed: int, run: Path) -> Outcome:
        return read_outcome(name, seed, run, self.question({name: ()}))


def costs_of(outcomes: Outcomes, known: set[str]) -> dict[str, float]:
    """Run's folder -> its seconds, for the runs that no entry names yet."""
    found = [o for row in outcomes.values() for o in row.values()]
    return {Path(o.run).name: o.train_s or 0.0 for o in found if Path(o.run).name not in known}


def finite(value: float) -> float | None:
    """As JSON can hold it."""
    return value if math.isfinite(value) else None


def plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: finite(v) if isinstance(v, float) else v for k, v in values.items()}
