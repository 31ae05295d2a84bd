"""A comparison over sizes, from its question to finished runs: one ordinary comparison a rung.

Fairness, tuning, budgets and reuse are each rung's own, since arms are compared at equal size only.
Stopped, it goes on where it was: the same question has the same folders.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

from altgrad.compare.arm import Compose
from altgrad.compare.comparison import Comparison, Say, nobody
from altgrad.compare.launching import LAUNCHERS, Launch, Report
from altgrad.compare.question import Question
from altgrad.compare.record import Record, comparison_folder, write_record
from altgrad.compare.scaling.plan import Rung, plan_rungs, plan_target, question_of


class ScalingComparison:
    """Makes the runs of all rungs, smallest first. `run()` may be called again after any stop."""

    def __init__(
        self,
        question: Question,
        compose: Compose,
        *,
        launch: Launch | None = None,
        say: Say = nobody,
        report: Report | None = None,
        command: str = "",
    ) -> None:
        self.question = question.complete()
        launch = launch or Launch()
        launch.check(list(LAUNCHERS))
        self.say = say
        self.folder = comparison_folder(self.question, launch.runs)
        elsewhere = launch.elsewhere
        self.rungs = plan_rungs(self.question, compose, self.folder.name, elsewhere=elsewhere)
        target = plan_target(self.question, compose, self.rungs, elsewhere=elsewhere)
        self.record = Record(command, self.question.control)
        self.record.ladder = {
            "rungs": [asdict(rung) for rung in self.rungs],
            "target": asdict(target),
        }
        make = partial(Comparison, launch=launch, report=report, command=command)
        self.parts = [
            make(self._question_of(r), compose, say=partial(_said, say, r)) for r in self.rungs
        ]

    def run(self) -> Path:
        """All runs of all rungs. Returns the comparison's folder.

        Raises:
            ConfigError: refused, before any run was started.
            KeyboardInterrupt: stopped by the user; everything so far is kept.
        """
        self.prepare()
        write_record(self.folder, self.question, self.record)
        for part in self.parts:
            part.run()
        # Once more, so that the whole is newer than its rungs: `altgrad report` shows the latest.
        write_record(self.folder, self.question, self.record)
        return self.folder

    def prepare(self) -> None:
        """Fair and affordable on every rung? Everything that can be refused is refused here."""
        self.say(self.question.question)
        for rung, part in zip(self.rungs, self.parts, strict=True):
            loud, part.say = part.say, nobody
            part.prepare()
            part.say = loud
            self.say(
                f"{rung.name:>8}  {rung.parameters:,} parameters, {rung.steps:,} steps, "
                f"{rung.tokens:,} tokens ({rung.epochs:.2g} epochs), {rung.flops:.3g} FLOPs"
            )

    def _question_of(self, rung: Rung) -> Question:
        return question_of(self.question, rung.name, rung.words, rung.folder)


def _said(say: Say, rung: Rung, text: str) -> None:
    say(text if text.startswith(rung.name) else f"{rung.name}  {text}")
