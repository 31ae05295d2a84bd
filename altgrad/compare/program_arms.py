"""Arms that are programs: words -> programs -> the states of their folders, set apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad import trust
from altgrad.compare.question import Question
from altgrad.programs import (
    KEYS,
    Patch,
    Program,
    ProgramRun,
    Source,
    Tree,
    key_of_word,
    read_program,
    read_source,
    versions_of,
)
from altgrad.settings import require

MEASURING = ("metric", "step", "seed_by", "timeout")
"""Words that all arms must share: they say how an arm is measured."""


@dataclass(frozen=True)
class ProgramArm:
    """words: as typed, those of all arms included. tree: where its state lies."""

    name: str
    words: tuple[str, ...]
    program: Program
    tree: Tree
    code: dict[str, str]

    def at_seed(self, seed: int) -> ProgramRun:
        path, below = str(self.tree.path), self.tree.source.below
        return ProgramRun(self.program, seed, self.tree.version, path, below, self.code)

    @property
    def config(self) -> ProgramRun:
        """Of a run, but for its seed."""
        return self.at_seed(0)

    @property
    def facts(self) -> dict[str, Any]:
        """What may differ between arms: word -> value, patches and folders by what is in them."""
        p = self.program
        args = {key_of_word(a): a.partition("=")[2] or a for a in p.args}
        return {
            "program": p.command,
            "cwd": f"{p.cwd} ({self.tree.source.version([])[:8]})",
            "patch": "+".join(f"{x.name} ({x.sha})" for x in p.patches) or "none",
            "metric": p.metric.text,
            "step": p.metric.step,
            "seed_by": p.seed_by,
            "steps": p.steps,
            "timeout": p.timeout_s,
            **p.fill,
            **args,
        }


class ProgramArms:
    """Makes arms of words; a folder is read once, and all trees are held until `release`."""

    def __init__(self, runs: str | Path, primary: str) -> None:
        self.runs, self.primary = runs, primary
        self._sources: dict[Any, Source] = {}
        self._trees: dict[str, Tree] = {}

    def arm(
        self, name: str, words: Sequence[str], patches: Sequence[Patch] | None = None
    ) -> ProgramArm:
        """patches: instead of those that the words name.

        Raises:
            ValueError: the words make no program, a file brought them and nobody typed them, or a
                patch does not apply.
        """
        program = read_program(words, primary=self.primary, patches=patches)
        _accept(words, program)
        tree = self._tree(program)
        return ProgramArm(name, tuple(words), program, tree, versions_of(program.executable()))

    def _tree(self, program: Program) -> Tree:
        place = (program.cwd, program.link, program.leave_out)
        if place not in self._sources:
            self._sources[place] = read_source(
                program.cwd, runs=self.runs, link=program.link, leave_out=program.leave_out
            )
        made = Tree(self._sources[place], program.patches, self.runs)
        return self._trees.setdefault(made.version, made).hold()

    def release(self) -> None:
        for tree in self._trees.values():
            tree.release()


def _accept(words: Sequence[str], program: Program) -> None:
    """Nothing that a file names is run unless the person said so, here or in this folder before."""
    folder = str(Path(program.cwd).resolve())
    for name in trust.names_in([w for w in words if key_of_word(w) in trust.COMMANDS]):
        key, _, value = name.partition("=")
        runs = f"{value} in {folder}" if key == "program" else f"what {value} changes in {folder}"
        trust.require(name, setting=key, folders=[folder], runs=runs)


def merge_program_words(base: Sequence[str], own: Sequence[str]) -> list[str]:
    """Base words, then the arm's; a base word gives way to an arm's word of the same key."""
    taken = {key_of_word(word) for word in own}
    return [*(w for w in base if key_of_word(w) not in taken), *own]


def program_arms(question: Question, make: ProgramArms) -> list[ProgramArm]:
    """All arms of a complete question, the control first.

    Raises:
        ValueError: a word that cannot be, arms that differ in how they are measured, or arms that
            are one.
    """
    others = [name for name in question.arms if name != question.control]
    arms = [
        make.arm(name, merge_program_words(question.base, question.arms[name]))
        for name in (question.control, *others)
    ]
    for arm in arms[1:]:
        differing = differing_facts(arms[0], arm)
        measuring = [name for name in differing if name in MEASURING]
        require(
            not measuring,
            f"{arm.name} is not comparable with {arms[0].name}: {', '.join(measuring)} says how an "
            "arm is measured, and must be the same for all.",
        )
        undeclared = [n for n in differing if n not in [*question.axis, *question.allow]]
        require(
            not undeclared,
            f"{arm.name} is not comparable with {arms[0].name}: besides the axis "
            f"({', '.join(question.axis)}) it differs in {', '.join(undeclared)}; declare it: "
            f"allow=[{','.join(undeclared)}].",
        )
    _refuse_the_same(arms)
    return arms


def differing_facts(control: ProgramArm, arm: ProgramArm) -> dict[str, tuple[Any, Any]]:
    a, b = control.facts, arm.facts
    return {n: (a.get(n), b.get(n)) for n in {**a, **b} if a.get(n) != b.get(n)}


def _refuse_the_same(arms: Sequence[ProgramArm]) -> None:
    seen: dict[str, str] = {}
    for arm in arms:
        key = arm.at_seed(0).key
        require(
            key not in seen,
            f"{arm.name} and {seen.get(key)} are the same arm: the same command on the same files.",
        )
        seen[key] = arm.name


def refuse_question(question: Question) -> None:
    """Raises ConfigError for what a comparison of programs cannot have."""
    require(
        question.budget == "tokens",
        f"budget={question.budget}: what a step of somebody's program costs is not known; leave it "
        "out, and give the arms equal work by their commands (steps= fills {steps}).",
    )
    require(
        not question.tuning.setting,
        f"tune={question.tuning.setting}: settings of a program cannot be tuned here; make each "
        "value an arm (--lr=0.001,0.01).",
    )
    require(
        not question.spread.source,
        f"spread={question.spread.source}: nothing says that two programs' runs are of one size; "
        "leave it out.",
    )
    words = [*question.base, *(w for own in question.arms.values() for w in own)]
    strange = [w for w in words if "=" not in w and not w.startswith("-")]
    require(not strange, f"{strange[:1]} is neither KEY=VALUE ({', '.join(KEYS)}) nor an argument.")
