"""Which mistake it is: the catalogue's edits tried one at a time, then two at a time.

Equal numbers name a mistake. Edits are tried on every right body of the unit that the catalogue has
(a hand-written softmax gives NaN where torch's fused one gives zeros), each in the reference, and
compared with what the learner's unit gave. A name is given only if every outcome agrees, or, one
outcome at a time, if exactly one mistake gives an outcome of many numbers: then it is said which.
Nothing of the learner's runs here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

from torch import Tensor

from altgrad.learn.observe import Outcomes, agreeing, agrees, differences
from altgrad.learn.source import unit_text
from altgrad.learn.track import Track, Variant
from altgrad.learn.transplant import transplant

SAME_MISTAKE_RTOL = 1e-6
MANY_FRACTIONS, MANY_INTEGERS = 3, 8  # numbers that no two mistakes give by accident
PLACE = Path("<catalogue>")


@dataclass
class Naming:
    """The mistakes that explain the outcomes, and the labels that nothing explains."""

    mistakes: list[Variant] = field(default_factory=list)
    shares: list[set[str]] = field(default_factory=list)  # labels that each alone explains
    whole: bool = False

    @property
    def explained(self) -> set[str]:
        return set().union(*self.shares)


def name_mistakes(
    track: Track, unit: str, wrong: set[str], expected: Outcomes, got: Outcomes, told: set[str]
) -> Naming:
    """One mistake that gives all of `got`, else two, else the one that gives part of it.

    `wrong`: the labels that differ from the reference. `told`: those about which something has been
    said already; where that is all of them no pair is looked for.
    """
    bench = Bench(track, unit, expected, got)
    if single := bench.whole(bench.singles()):
        return Naming(single, [wrong], whole=True)
    part = bench.part(wrong)
    if wrong <= told | part.explained:
        return part
    pairs = bench.pairs_with(part.mistakes[0]) if part.mistakes else bench.pairs()
    if pair := bench.whole(pairs, first_only=True):
        return Naming(pair, [wrong], whole=True)
    return part


Candidate = tuple[list[Variant], str]  # mistakes, and the whole reference's file with them in it


@dataclass
class Bench:
    """A unit, and what the learner's gave."""

    track: Track
    unit: str
    expected: Outcomes
    got: Outcomes
    _moved: dict[str, bool] = field(default_factory=dict)

    @property
    def mistakes(self) -> list[Variant]:
        return [m for m in self.track.mistakes if m.unit == self.unit]

    def singles(self) -> Iterator[Candidate]:
        """Each mistake as it is written, then on every other right body that it fits."""
        for mistake in self.mistakes:
            yield [mistake], mistake.body_in(self.track.source)
        for mistake in self.mistakes:
            for body in self.track.styles_of(self.unit):
                if (changed := mistake.on_body(body)) is not None:
                    yield [mistake], changed

    def pairs(self) -> Iterator[Candidate]:
        """All pairs but those that the smallest case rules out.

        Where it is right in the learner's unit neither mistake may show there, where it is wrong
        one of them must.
        """
        pivot = min(filter(self._holds_numbers, self.expected), key=self._size, default=None)
        right = pivot is not None and not self._shows(pivot, self.got)
        for a, b in combinations(self.mistakes, 2):
            shown = pivot is not None and (self._moves(a, pivot) or self._moves(b, pivot))
            if pivot is None or shown != right:
                yield from self._both(a, b)

    def _holds_numbers(self, label: str) -> bool:
        return isinstance(self.expected[label], Tensor) and _many_numbers(self.expected[label])

    def _size(self, label: str) -> int:
        return self.expected[label].numel()

    def _shows(self, label: str, outcomes: Outcomes) -> bool:
        return bool(differences({label: self.expected[label]}, outcomes, rtol=SAME_MISTAKE_RTOL))

    def _moves(self, mistake: Variant, label: str) -> bool:
        """Does this mistake alone change the outcome of the label?"""
        if mistake.name not in self._moved:
            namespace = self.with_body(mistake.body_in(self.track.source), [mistake])
            probe = self.track.probes[self.unit]
            same = agreeing(probe, namespace, self.expected, {label}, rtol=SAME_MISTAKE_RTOL)
            self._moved[mistake.name] = label not in same
        return self._moved[mistake.name]

    def pairs_with(self, first: Variant) -> Iterator[Candidate]:
        for other in self.mistakes:
            if other is not first:
                yield from self._both(first, other)

    def _both(self, a: Variant, b: Variant) -> Iterator[Candidate]:
        """Bodies with both mistakes in them: one edited into the other's, in any order."""
        if a.says == b.says:
            return
        seen = set()
        for first, second in permutations((a, b)):
            bodies = [first.body_in(self.track.source)]
            bodies += [x for s in self.track.styles_of(self.unit) if (x := first.on_body(s))]
            for body in bodies:
                both = second.on_body(body)
                if both is not None and both not in seen:
                    seen.add(both)
                    yield [a, b], both

    def whole(self, candidates: Iterator[Candidate], *, first_only: bool = False) -> list[Variant]:
        """The mistakes whose every outcome is the learner's."""
        found: list[Variant] = []
        probe = self.track.probes[self.unit]
        for mistakes, body in candidates:
            if not all(m in found for m in mistakes):
                namespace = self.with_body(body, mistakes)
                if agrees(probe, namespace, self.got, rtol=SAME_MISTAKE_RTOL):
                    found += [m for m in mistakes if m not in found]
                    if first_only:
                        break
        return found

    def part(self, wrong: set[str]) -> Naming:
        """Mistakes that alone give some outcome of many numbers; none where two others do."""
        strong = {label for label in wrong if _many_numbers(self.got[label])}
        if not strong:
            return Naming()
        by_labels: dict[frozenset[str], list[Variant]] = {}
        for mistakes, body in self.singles():
            namespace = self.with_body(body, mistakes)
            probe = self.track.probes[self.unit]
            same = agreeing(probe, namespace, self.got, strong, rtol=SAME_MISTAKE_RTOL)
            if same:
                by_labels.setdefault(frozenset(same), []).append(mistakes[0])
        naming = Naming()
        for mistake, labels in _cover(by_labels, strong):
            if all(
                self._go_together(m, mistake, naming.explained | labels) for m in naming.mistakes
            ):
                naming.mistakes.append(mistake)
                naming.shares.append(labels)
        return naming

    def _go_together(self, a: Variant, b: Variant, labels: set[str]) -> bool:
        """Do both at once still give what each gives alone? True where that cannot be tried.

        Two other texts for the same place cannot both be in one body.
        """
        both = list(self._both(a, b))
        if not both and a.says != b.says and self._same_place(a, b):
            return False
        probe = self.track.probes[self.unit]
        return not both or any(
            labels
            <= agreeing(
                probe, self.with_body(body, [a, b]), self.got, labels, rtol=SAME_MISTAKE_RTOL
            )
            for _, body in both
        )

    def _same_place(self, a: Variant, b: Variant) -> bool:
        """Do both, however they are written, replace text of one body, where only one has room?"""
        bodies = [self.track.body_of(self.unit), *self.track.styles_of(self.unit)]
        ones, others = ([m for m in self.mistakes if m.says == x.says] for x in (a, b))
        return any(
            one.on_body(body) and other.on_body(body) and not list(self._both(one, other))
            for one in ones
            for other in others
            for body in bodies
        )

    def with_body(self, body: str, mistakes: list[Variant]) -> dict[str, Any]:
        imports = "\n".join(dict.fromkeys(m.imports for m in mistakes if m.imports))
        return transplant(
            self.track.path, sliver(self.track, self.unit, body, imports), PLACE, self.unit
        )


def _cover(
    by_labels: dict[frozenset[str], list[Variant]], strong: set[str]
) -> Iterator[tuple[Variant, set[str]]]:
    """Mistakes and the labels each explains, largest share first.

    A share that two different mistakes give names neither.
    """
    left = set(strong)
    while best := max((labels & left for labels in by_labels), key=len, default=frozenset()):
        fits = [m for labels, ms in by_labels.items() if labels & left == best for m in ms]
        if len({m.says for m in fits}) == 1:
            yield fits[0], set(best)
        left -= best


def sliver(track: Track, unit: str, body: str, imports: str = "") -> str:
    """A file with this one unit in it: quicker to read than the whole reference with it."""
    owner, _, method = unit.partition(".")
    text = unit_text(track.source, unit)
    head = text[: text.index(track.body_of(unit))]
    base = f"{track.class_line(owner)}\n" if method else ""
    return f"{imports}\n{base}{head}{body}"


def _many_numbers(value: Any) -> bool:
    fractions, integers = _count(value)
    return fractions >= MANY_FRACTIONS or integers >= MANY_INTEGERS


def _count(value: Any) -> tuple[int, int]:
    """How many numbers with fractions, and how many whole ones, a value holds."""
    if isinstance(value, Tensor):
        if value.is_meta or not value.is_floating_point():
            return 0, 0 if value.is_meta else value.numel()
        return int(value.isfinite().sum()), 0
    if isinstance(value, dict | list):
        parts = [_count(v) for v in (value.values() if isinstance(value, dict) else value)]
        return sum(a for a, _ in parts), sum(b for _, b in parts)
    if isinstance(value, float):
        return 1, 0
    return 0, int(isinstance(value, int) and not isinstance(value, bool))
