"""Makes a ledger's runs with what `compare` makes its runs with, and reads them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from altgrad.compare.arm import Arm, Compose, differences, merge_words
from altgrad.compare.budget import spend_equally
from altgrad.compare.comparison import measure_arms, settle_arms
from altgrad.compare.identity import run_key
from altgrad.compare.launching import Launch, Report, Wanted, complete
from altgrad.compare.outcomes import Outcome, check_evaluations, read_outcome
from altgrad.compare.question import Question
from altgrad.compare.reads import refuse_unread_words
from altgrad.compare.registry import Registry
from altgrad.ideas import heldout
from altgrad.ideas.admission import failure_of
from altgrad.ideas.idea import changes_of, refuse_typed
from altgrad.ideas.patches import KEY, patches_of, without_patches
from altgrad.ideas.price import SHORTER
from altgrad.ideas.terms import Terms
from altgrad.programs import PatchedCode, Tree, patched_code
from altgrad.runs import accept_code, code_versions
from altgrad.settings import ConfigError, require

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
    ledger: its folder, where patches lie.

    Runs are placed by identity below `launch.runs`: what is there already is never run again.
    """

    terms: Terms
    compose: Compose
    launch: Launch
    data: Path | None = None
    report: Report | None = None
    ledger: Path | None = None

    def __post_init__(self) -> None:
        self.registry = Registry(self.launch.runs)
        self.hashes: dict[str, str] = {}
        self._codes: dict[tuple[str, ...], PatchedCode] = {}
        self._trees: list[Tree] = []

    def arms(self, named: Mapping[str, Sequence[str]]) -> list[Arm]:
        """Arms by name, the first one the control; settled by the machine and the data.

        named: name -> words beside the base's.

        Raises:
            ValueError: words that cannot be composed, or that nothing reads.
        """
        made, question = [], self.question({n: without_patches(w) for n, w in named.items()})
        for name, words in named.items():
            typed = merge_words(self.terms.base, without_patches(words))
            config = self.compose(typed)
            accept_code(config.to_dict())
            made.append(self._at_home(Arm(name, tuple(typed), config)))
            self._code(words)
        refuse_unread_words(made, question)
        settled, hashes = settle_arms(made, elsewhere=self.launch.elsewhere)
        self.hashes |= hashes
        for arm in settled:
            check_evaluations(arm.config.to_dict(), question, arm.name)
        return [replace(a, words=(*a.words, *_patch_words(named[a.name]))) for a in settled]

    # -- patches ----------------------------------------------------------------------------------

    def _code(self, words: Sequence[str]) -> PatchedCode | None:
        """The altgrad that an arm of these words is run with, made once; None = this one.

        Raises:
            ValueError: a patch that does not apply, or that changes what is measured.
        """
        patches = patches_of(words, self.ledger)
        key = tuple(p.sha for p in patches)
        if patches and key not in self._codes:
            require(
                self.terms.budget == "tokens" and not self.launch.elsewhere,
                "what a step of patched code costs is not measured: patches need a ledger with "
                "budget=tokens, on this machine.",
            )
            self._codes[key], trees = patched_code(patches, self.launch.runs)
            self._trees += trees
        return self._codes.get(key)

    def release(self) -> None:
        """Copies of patched code are gone."""
        for tree in self._trees:
            tree.release()
        self._codes, self._trees = {}, []

    # -- what depends on what is run --------------------------------------------------------------

    def facts(self, arm: Arm) -> dict[str, Any]:
        """What the ledger's first entry says of the baseline beside the terms."""
        return {}

    def refuse(self, words: Sequence[str]) -> None:
        """Raises ConfigError for typed words that touch the measuring."""
        refuse_typed(words)

    def changes(self, champion: Arm, arm: Arm) -> dict[str, Any]:
        """What an idea changes. Raises ConfigError: nothing, or the measuring."""
        patched = _patch_words(champion.words) != _patch_words(arm.words)
        if patched and not differences(champion.config, arm.config):
            return {}
        return changes_of(champion, arm)

    def failure_of(self, champion: Arm, arm: Arm) -> str:
        """Why an idea may not run; empty if it may. Patched code is always verified."""
        changed = differences(champion.config, arm.config)
        return failure_of(arm, self.launch, self.terms, changed, self._code(arm.words))

    def measures(self, arms: Sequence[Arm]) -> bool:
        """Whether seconds of a step of all of them can be taken in turn, in one process."""
        return not any(_patch_words(arm.words) for arm in arms)

    def heldout_losses(
        self, runs: dict[str, dict[int, str]], arms: Mapping[str, Arm], folder: Path
    ) -> dict[str, dict[int, float]]:
        """Arm -> seed -> loss on the held-out part: of patched networks by their own code."""
        by_code: dict[PatchedCode | None, list[str]] = {}
        for name in runs:
            by_code.setdefault(self._code(arms[name].words), []).append(name)
        found: dict[str, dict[int, float]] = {}
        for code, names in by_code.items():
            found |= heldout.losses_apart({n: runs[n] for n in names}, folder, code)
        return found

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
        return run_key(values, code_versions(values), self._inputs(arm))

    def _inputs(self, arm: Arm) -> str:
        """Of a run's identity what its settings do not say: its data, and its patches."""
        return " ".join([self.hashes[arm.name], *(keys_of(_patch_words(arm.words)))])

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
        wanted = Wanted(f"{first.label} again", first.config, again, first.code)
        complete([wanted], self.launch, self.report)
        return self._read(arm.name, seed, again)

    def _wanted(self, arm: Arm, seed: int) -> Wanted:
        config = arm.at_seed(seed)
        run = self.registry.place(config, self._inputs(arm), arm.name)
        return Wanted(f"{arm.name} seed {seed}", config, run, self._code(arm.words))

    def _read(self, name: str, seed: int, run: Path) -> Outcome:
        return read_outcome(name, seed, run, self.question({name: ()}))


def _patch_words(words: Sequence[str]) -> list[str]:
    return [word for word in words if word.startswith(KEY)]


def keys_of(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[0] for word in words]


def costs_of(outcomes: Outcomes, known: set[str]) -> dict[str, float]:
    """Run's folder -> its seconds, for the runs that no entry names yet."""
    found = [o for row in outcomes.values() for o in row.values()]
    return {Path(o.run).name: o.train_s or 0.0 for o in found if Path(o.run).name not in known}


def finite(value: float) -> float | None:
    """As JSON can hold it."""
    return value if math.isfinite(value) else None


def plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: finite(v) if isinstance(v, float) else v for k, v in values.items()}
