"""A track: one reference file with its units, lessons, probes and catalogue of mistakes."""

import ast
import tomllib
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from altgrad.learn.observe import Probe
from altgrad.learn.source import body_text, find_units, replace_bodies

FOLDER = Path(__file__).parent
MODEL_TRACKS = ("nanochat", "gpt2")
PART_TRACKS = ("optimisers", "rounding", "training", "lora")
TRACKS = (*MODEL_TRACKS, *PART_TRACKS)


@dataclass(frozen=True)
class Variant:
    """A change of one unit of the reference: a catalogued mistake, or another right solution."""

    unit: str
    name: str
    says: str = ""
    old: str = ""
    new: str = ""
    body: str = ""
    imports: str = ""
    on: str = ""  # the name of the right solution that `old` is in; empty: the reference

    def apply(self, source: str) -> str:
        """The reference's source with this change in it."""
        source = replace_bodies(source, {self.unit: self.body_in(source)})
        return f"{self.imports}\n{source}" if self.imports else source

    def body_in(self, source: str) -> str:
        """The unit's body with this change in it.

        Raises ValueError where the body does not hold `old` exactly once.
        """
        if self.body:
            return self.body
        changed = self.on_body(body_text(source, self.unit))
        if changed is None:
            raise ValueError(f"{self.unit}, {self.name!r}: `old` is not in the body exactly once")
        return changed

    def on_body(self, body: str) -> str | None:
        """Another body of the unit with this change in it; None where it does not fit."""
        if not self.old or body.count(self.old) != 1:
            return None
        return body.replace(self.old, self.new)


@dataclass(frozen=True)
class Lesson:
    """What the workshop knows about one unit besides its contract, which is its docstring."""

    unit: str
    stage: int
    todo: str
    where: str
    hints: list[str] = field(default_factory=list)  # idea, formula, pseudocode
    questions: list[str] = field(default_factory=list)
    given: bool = False  # there from the beginning on the fast way
    optional: bool = False  # need not be written on the fast way
    why: str = ""  # three sentences, told once it passes
    without: str = ""  # what would break
    experiment: str = ""  # what to try in a minute


class Track:
    """Everything about one reference; files are read when they are first asked for."""

    def __init__(self, name: str):
        if name not in TRACKS:
            raise ValueError(f"track={name!r} is not one of {', '.join(TRACKS)}")
        self.name = name
        self.path = FOLDER / "reference" / f"{name}.py"
        self._bodies: dict[str, str] = {}

    @property
    def is_model(self) -> bool:
        """Does the finished file hold a GPT; else it holds what a GPT is trained with."""
        return self.name in MODEL_TRACKS

    @property
    def file_name(self) -> str:
        """The file that a learner fills in."""
        return "my_gpt.py" if self.is_model else f"my_{self.name}.py"

    @property
    def folder_name(self) -> str:
        return "my-gpt" if self.is_model else f"my-{self.name}"

    @cached_property
    def source(self) -> str:
        return self.path.read_text()

    @cached_property
    def units(self) -> list[str]:
        """In the order in which a run meets them."""
        return [lesson.unit for lesson in self.lessons.values()]

    @cached_property
    def _teaching(self) -> dict[str, Any]:
        return tomllib.loads((FOLDER / "lessons" / f"{self.name}.toml").read_text())

    @property
    def what_next(self) -> list[str]:
        """What is said once everything passes; empty for the models, which have one text."""
        return list(self._teaching.get("what_next", []))

    @cached_property
    def lessons(self) -> dict[str, Lesson]:
        lessons = [Lesson(**entry) for entry in self._teaching["unit"]]
        return {lesson.unit: lesson for lesson in sorted(lessons, key=lambda x: x.stage)}

    @cached_property
    def stages(self) -> dict[int, str]:
        return {int(number): title for number, title in self._teaching["stages"].items()}

    def units_of(self, stage: int) -> list[str]:
        return [unit for unit in self.units if self.lessons[unit].stage == stage]

    @cached_property
    def _catalogue(self) -> dict[str, Any]:
        return tomllib.loads((FOLDER / "catalogue" / f"{self.name}.toml").read_text())

    @cached_property
    def mistakes(self) -> list[Variant]:
        return [self._on_its_body(Variant(**entry)) for entry in self._catalogue["mistake"]]

    @cached_property
    def equivalents(self) -> list[Variant]:
        return [Variant(**entry) for entry in self._catalogue["equivalent"]]

    def body_of(self, unit: str) -> str:
        return self._bodies.setdefault(unit, body_text(self.source, unit))

    def class_line(self, owner: str) -> str:
        """`class Block(nn.Module):`, as the reference has it."""
        lines = self.source.splitlines()
        return next(x for x in lines if x.startswith((f"class {owner}(", f"class {owner}:")))

    def styles_of(self, unit: str) -> list[str]:
        """Right bodies of the unit on which mistakes are tried besides the reference's own."""
        wanted = {m.on for m in self.mistakes if m.unit == unit and m.on}
        return [
            e.body_in(self.source) for e in self.equivalents if e.unit == unit and e.name in wanted
        ]

    def _on_its_body(self, mistake: Variant) -> Variant:
        if not mistake.on:
            return mistake
        whose = next(e for e in self.equivalents if (e.unit, e.name) == (mistake.unit, mistake.on))
        changed = mistake.on_body(whose.body_in(self.source))
        if changed is None:
            raise ValueError(
                f"{mistake.unit}, {mistake.name!r}: `old` is not once in {mistake.on!r}"
            )
        return replace(mistake, body=changed)

    @cached_property
    def strangers(self) -> list[Variant]:
        """Mistakes written independently; `says` is the name of the one to be recognised."""
        return [Variant(**entry) for entry in self._catalogue.get("stranger", [])]

    @cached_property
    def probes(self) -> dict[str, Probe]:
        return import_module(f"altgrad.learn.probes.{self.name}").PROBES

    def contract(self, unit: str) -> str:
        """The unit's docstring in the reference."""
        return ast.get_docstring(find_units(ast.parse(self.source))[unit]) or ""

    def find(self, name: str) -> str:
        """The unit that `name` means: `GPT.forward`, or any part of it that fits only one."""
        from altgrad.settings import check_name

        fits = [u for u in self.units if u.lower().endswith(name.lower())]
        if name in self.units:
            return name
        if len(fits) == 1:
            return fits[0]
        check_name("unit", name, self.units)
        raise AssertionError("unreachable: check_name refuses")

    def find_all(self, word: str) -> list[str]:
        """The units of a stage, by number or by its title's word, of a class, or the one unit."""
        if word.isdigit() and int(word) in self.stages:
            return self.units_of(int(word))
        of_class = [u for u in self.units if u.lower().startswith(f"{word.lower()}.")]
        if of_class and word not in self.units:
            return of_class
        try:
            return [self.find(word)]
        except ValueError as error:
            if stage := self._stage_called(word):
                return self.units_of(stage)
            stages = ", ".join(f"{n} {self._heads[n]}" for n in self.stages)
            raise ValueError(f"{error}; or a stage: {stages}") from None

    @property
    def _heads(self) -> dict[int, str]:
        """The stages' titles without what explains them: `forward`."""
        return {number: title.partition(":")[0] for number, title in self.stages.items()}

    def _stage_called(self, word: str) -> int | None:
        """By the whole title, else by a word that only one title has."""
        heads = {number: head.lower() for number, head in self._heads.items()}
        whole = [n for n, head in heads.items() if head == word.lower()]
        part = [n for n, head in heads.items() if word.lower() in head.split()]
        return next((ns[0] for ns in (whole, part) if len(ns) == 1), None)
