"""One comparison, from its question to finished runs.

The same question has the same folder (`record.py`), so asking it again goes on where it stopped.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from altgrad.compare.arm import Arm, Compose, compose_arms
from altgrad.compare.between import plan_ablation
from altgrad.compare.budget import Spending, spend_as_declared, spend_equally
from altgrad.compare.fairness import check_arms
from altgrad.compare.identity import covers
from altgrad.compare.launching import LAUNCHERS, Launch, Report, Wanted, as_task, complete, server
from altgrad.compare.outcomes import check_evaluations, read_outcome
from altgrad.compare.question import Question
from altgrad.compare.reads import refuse_unread_words
from altgrad.compare.record import Record, comparison_folder, read_record, write_record
from altgrad.compare.registry import Registry
from altgrad.compare.spread import refuse_other_size
from altgrad.compare.tuning import Tuned, tune
from altgrad.settings import require

Say = Callable[[str], None]


def nobody(_: str) -> None:
    """The default `say`: nobody is watching."""


class Comparison:
    """Makes the runs of one question. `run()` may be called again after any interruption."""

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
        self.launch = launch or Launch()
        self.launch.check(list(LAUNCHERS))
        self.question = plan_ablation(question, compose, self.launch.runs).complete()
        self.say, self.report = say, report
        self.folder = comparison_folder(self.question, self.launch.runs)
        self.registry = Registry(self.launch.runs)
        self.record = Record(command, self.question.control)
        self._compose(self.question, compose)

    def _compose(self, question: Question, compose: Compose) -> None:
        arms = compose_arms(question, compose)
        refuse_unread_words(arms, question)
        outcome = {"primary": question.primary, "last": question.last}
        refuse_other_size(question.spread, arms[0], outcome)
        self.arms, self.data = settle_arms(arms, elsewhere=self.launch.elsewhere)

    def run(self) -> Path:
        """All runs, in order: measured, tuned, tested. Returns the comparison's folder.

        Raises:
            ConfigError: refused, before any run was started.
            KeyboardInterrupt: stopped by the user; everything so far is kept.
        """
        self.prepare()
        if self.question.tuning.setting:
            self._tune()
        self._check()
        self._test(self.question.seed_list())
        return self.folder

    def prepare(self) -> None:
        """Fair and affordable? Everything that can be refused is refused here."""
        self._check(budgeted=False)
        self._restore_measurements()
        budget = self.question.budget
        require(
            budget != "time" or not self.launch.elsewhere,
            "budget=time is measured on one machine, this one; use launcher=local.",
        )
        declared = covers([*self.question.axis, *self.question.allow], "max_steps")
        spend = spend_as_declared if declared else spend_equally
        self.arms, spending = spend(self.arms, budget, self._measure_s)
        self.record.spending = [{**asdict(s), "total": s.total} for s in spending]
        for arm in self.arms:
            check_evaluations(arm.config.to_dict(), self.question, arm.name)
        self._check()
        self._announce(spending)

    # -- the parts, in order --------------------------------------------------------------------

    def _check(self, *, budgeted: bool = True) -> None:
        differing = check_arms(self.arms, self.question, budgeted=budgeted)
        for arm in self.arms:
            found = differing.get(arm.name, {})
            self.record.arms[arm.name] = {
                "words": list(arm.words),
                "max_steps": arm.config.max_steps,
                "differs": {name: list(values) for name, values in found.items()},
            }

    def _restore_measurements(self) -> None:
        """Times measured before an interruption stay: measuring again would change the runs."""
        path = self.folder / "record.json"
        if path.is_file():
            self.record.step_s = read_record(self.folder)[1].step_s

    def _measure_s(self, arm: Arm) -> float:
        if arm.name not in self.record.step_s:
            self._measure_all()
        return self.record.step_s[arm.name]

    def _measure_all(self) -> None:
        self.say(f"measuring a step of {', '.join(arm.name for arm in self.arms)}, in turn")
        self.record.step_s = measure_arms(self.arms, self.launch, self.folder / "measured")
        self._write()

    def _announce(self, spending: list[Spending]) -> None:
        self.say(f"{self.question.question}")
        for arm, spent in zip(self.arms, spending, strict=True):
            role = "control" if arm.name == self.question.control else "arm"
            cost = f"{spent.steps:,} steps, {spent.total:.4g} {spent.unit} a run"
            self.say(f"{role:>8}  {arm.name}: {cost}")
        self.say(f"{'seeds':>8}  {self._seeds_in_words()}")

    def _seeds_in_words(self) -> str:
        seeds = len(self.question.seed_list())
        more = f", up to {self.question.max_seeds}" if self.question.until_decided else ""
        return f"{seeds}{more}; runs below {self.launch.runs}/"

    def _tune(self) -> None:
        self.say(f"tuning {self.question.tuning.setting} on seeds {self.question.tuning_seeds()}")
        self.arms, tuned = tune(self.arms, self.question, self._score)
        self.record.tuning = [t.to_dict() for t in tuned]
        for result in tuned:
            self.say(describe_tuned(result))

    def _score(self, points: list[tuple[Arm, float]]) -> list[list[float]]:
        seeds = self.question.tuning_seeds()
        setting = self.question.tuning.setting
        wanted = [
            [self._wanted(arm, seed, f" {setting}={value:g}") for seed in seeds]
            for arm, value in points
        ]
        complete([w for row in wanted for w in row], self.launch, self.report)
        self.record.tuning_runs += [w.run.name for row in wanted for w in row]
        self._write()
        return [
            [
                read_outcome("", s, w.run, self.question).outcome
                for s, w in zip(seeds, row, strict=True)
            ]
            for row in wanted
        ]

    def _wanted(self, arm: Arm, seed: int, suffix: str = "") -> Wanted:
        config = arm.at_seed(seed)
        run = self.registry.place(config, self.data[arm.name], arm.name)
        return Wanted(f"{arm.name}{suffix} seed {seed}", config, run)

    def _test(self, seeds: list[int]) -> None:
        """The test seeds; "as you go" adds one at a time, to the arms that still need it."""
        from altgrad.compare.conclusion import conclude

        everything = self.question.all_seeds()
        rows = dict.fromkeys(self._arm_names(), seeds)
        for count in range(len(seeds), len(everything) + 1):
            self._complete_seeds(rows)
            if count == len(everything):
                return
            needed = conclude(self.folder).needed()
            if not needed:
                return
            undecided = dict.fromkeys(name for names in needed.values() for name in names)
            self.say(f"not decided after {count} seeds: {', '.join(undecided)}")
            rows |= dict.fromkeys(needed, everything[: count + 1])

    def _complete_seeds(self, rows: dict[str, list[int]]) -> None:
        """rows: arm -> its seeds."""
        # Seed by seed, not arm by arm: a comparison that is stopped has whole pairs.
        seeds = max(rows.values(), key=len)
        names = [name for name in self._arm_names() if name in rows]
        wanted = {
            (name, s): self._wanted_run(name, s) for s in seeds for name in names if s in rows[name]
        }
        for name, row in rows.items():
            self.record.runs[name] = {str(s): wanted[name, s].run.name for s in row}
        self.record.reused = sorted(path.name for path in self.registry.reused)
        self._write()
        complete(list(wanted.values()), self.launch, self.report)

    def _arm_names(self) -> list[str]:
        return [arm.name for arm in self.arms]

    def _wanted_run(self, name: str, seed: int) -> Wanted:
        return self._wanted(next(a for a in self.arms if a.name == name), seed)

    def _write(self) -> None:
        write_record(self.folder, self.question, self.record)


def measure_arms(arms: list[Arm], launch: Launch, place: Path) -> dict[str, float]:
    """Arm -> seconds of a step, taken in turn under the same load, in a process of its own."""
    threads = launch.threads_each(len(launch.slots(arms[0].config.device)))
    tasks = [as_task(Wanted(arm.name, arm.config, place), threads) for arm in arms]
    with ProcessPoolExecutor(1, mp_context=server()) as pool:
        seconds = pool.submit(_measure, tasks).result()
    return dict(zip((arm.name for arm in arms), seconds, strict=True))


def settle_arms(arms: list[Arm], *, elsewhere: bool = False) -> tuple[list[Arm], dict[str, str]]:
    """What the machine and the data decide, decided for every arm; and the hash of each one's data.

    Raises:
        ValueError: the machine or the data does not allow an arm.
    """
    from altgrad.compare.settle import settle

    settled, data = [], {}
    for arm in same_arithmetic(arms):
        config, data[arm.name] = settle(arm.config, elsewhere=elsewhere)
        settled.append(Arm(arm.name, arm.words, config))
    return same_compile(settled, open_=[arm.config.compile is None for arm in arms]), data


def same_arithmetic(arms: list[Arm]) -> list[Arm]:
    """Where `precision.compute` is left open (`auto`) it is what the other arms compute in.

    So `precision=bf16,e5m2` compares the rounding alone, whatever the machine would choose.
    """
    asked = {arm.config.precision.compute for arm in arms} - {"auto"}
    if len(asked) != 1:
        return arms
    (compute,) = asked
    change = {"precision.compute": compute}
    return [a.with_settings(change) if a.config.precision.compute == "auto" else a for a in arms]


def same_compile(arms: list[Arm], *, open_: list[bool]) -> list[Arm]:
    """Where `compile` was left open, all arms run eagerly if one of them cannot be compiled
    (four-bit bases): else the compiler would be a second thing that differs."""
    if not any(free and not arm.config.compile for arm, free in zip(arms, open_, strict=True)):
        return arms
    eager = {"compile": False}
    return [a.with_settings(eager) if f else a for a, f in zip(arms, open_, strict=True)]


def _measure(tasks: list[Any]) -> list[float]:
    from altgrad.compare.launching.worker import measure_steps_s

    return measure_steps_s(tasks)


def describe_tuned(result: Tuned) -> str:
    """`muon: optim.lr=0.03`, and whether the grid was too narrow."""
    edge = f" (the {result.edge} value tried: the grid may be too narrow)" if result.edge else ""
    return f"{result.arm}: {result.setting}={result.value:g}{edge}"
