"""A comparison whose arms are programs: the same question, record, runs and report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from altgrad.compare.comparison import Comparison
from altgrad.compare.launching import Wanted
from altgrad.compare.program_arms import (
    ProgramArm,
    ProgramArms,
    differing_facts,
    program_arms,
    refuse_question,
)
from altgrad.compare.question import Question
from altgrad.compare.state import failure_of, state_of


class ProgramComparison(Comparison):
    """`run()` as of any comparison; the trees are removed at its end."""

    def _compose(self, question: Question, _: Any) -> None:
        refuse_question(question)
        self.make = ProgramArms(self.launch.runs, question.primary)
        try:
            self.programs: Sequence[ProgramArm] = program_arms(question, self.make)
        except BaseException:
            self.make.release()
            raise

    def run(self) -> Path:
        try:
            folder = super().run()
        finally:
            self.make.release()
        self._say_lost()
        return folder

    def _say_lost(self) -> None:
        """Why each lost run was lost: most often it is the command, not the idea."""
        for arm, by_seed in self.record.runs.items():
            for seed, name in by_seed.items():
                run = self.folder.parent.parent / name
                if state_of(run) == "failed":
                    self.say(f"{arm} seed {seed} is lost: {failure_of(run)}")

    def prepare(self) -> None:
        self._check()
        self.say(self.question.question)
        for arm in self.programs:
            role = "control" if arm.name == self.question.control else "arm"
            self.say(f"{role:>8}  {arm.name}: {' '.join([arm.program.command, *arm.program.args])}")
            patches = "".join(f", with {p.name}" for p in arm.program.patches)
            self.say(f"{'':>8}  in {arm.tree.kind} of {arm.tree.source.root}{patches}")
        self.say(f"{'seeds':>8}  {self._seeds_in_words()}")

    def _check(self, *, budgeted: bool = True) -> None:
        control = self.programs[0]
        for arm in self.programs:
            found = differing_facts(control, arm)
            self.record.arms[arm.name] = {
                "words": list(arm.words),
                "max_steps": arm.program.steps or 0,
                "differs": {name: list(values) for name, values in found.items()},
            }

    def _arm_names(self) -> list[str]:
        return [arm.name for arm in self.programs]

    def _wanted_run(self, name: str, seed: int) -> Wanted:
        arm = next(a for a in self.programs if a.name == name)
        config = arm.at_seed(seed)
        run = self.registry.place(config, "", arm.name)
        return Wanted(f"{arm.name} seed {seed}", config, run)
