"""Two configurations -> the changes between them, and the arms of their ablation.

A configuration is a file of settings, as `altgrad train` takes them (nested, with dots, presets by
name), or a finished run. Settings that cannot be had one by one are one change: those of a preset,
and those without which a configuration would be refused or would have a setting that nothing reads.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from altgrad.compare.arm import Arm, Compose, change_settings, differences, last_words
from altgrad.compare.dependence import moved_together, units
from altgrad.compare.designs.ablation import arms_of
from altgrad.compare.identity import WITHOUT_EFFECT, covers
from altgrad.compare.question import Question, full_name
from altgrad.compare.reads import read_differences
from altgrad.runs import RunFolder, read_settings, read_yaml, resolve_run
from altgrad.settings import get_setting, require

NO_CHANGE = (*WITHOUT_EFFECT, "seed", "sample_prompts")
"""Settings that are no change of an arm: every arm gets them from the comparison."""

MOST_NAMED = 3
"""Settings named in the name of a change; of more the rest is counted."""


@dataclass(frozen=True)
class Side:
    """One of the two configurations. words: as `altgrad train` would take them."""

    name: str
    words: list[str]


def plan_ablation(question: Question, compose: Compose, runs: str) -> Question:
    """The question with its arms; as it is where they are there already.

    runs: folder in which a run named without a path lies.

    Raises:
        ConfigError: not two configurations, or two that do not differ.
    """
    if question.design != "ablation" or question.arms:
        return question
    require(
        len(question.between) == 2,
        "design=ablation takes two files of settings, or two run folders: "
        "altgrad compare A.yaml B.yaml design=ablation.",
    )
    a, b = _named_apart([read_side(word, runs, compose) for word in question.between])
    typed = question.base
    first, second = (Arm(s.name, (), compose(last_words([*s.words, *typed]))) for s in (a, b))
    between = Between(first, second, _atoms(first, second, [*a.words, *b.words]))
    changes, reasons = between.changes()
    arms = arms_of(a.name, b.name, changes)
    return replace(
        question,
        base=last_words([*a.words, *typed]),
        arms={name: between.readable(words) for name, words in arms.items()},
        changes=changes,
        together=reasons,
        axis=question.axis or [n for names in between.atoms.values() for n in names],
        control=question.control or a.name,
    )


# -- the two configurations -----------------------------------------------------------------------


def read_side(word: str, runs: str, compose: Compose) -> Side:
    """A file of settings, or a run folder.

    Raises:
        ConfigError: neither, or an experiment file, which has arms of its own.
    """
    path = Path(word)
    if path.is_file():
        content = read_yaml(path)
        require(
            "arms" not in content and "base" not in content,
            f"{word} is an experiment file; an ablation takes files of settings, as "
            "`altgrad train` does: optim: {lr: 0.02}.",
        )
        return Side(path.stem, words_of(content))
    run = resolve_run(word, runs)
    return Side(run.name, _words_of_run(read_settings(RunFolder(run).config), compose))


def _named_apart(sides: list[Side]) -> list[Side]:
    if len({side.name for side in sides}) == len(sides):
        return sides
    return [replace(s, name=f"{s.name} ({letter})") for s, letter in zip(sides, "AB", strict=True)]


def _words_of_run(settings: dict[str, Any], compose: Compose) -> list[str]:
    """Those that a run without any word would not have, as far as it reads them."""
    from altgrad.training.config import TrainConfig

    plain, run = Arm("", (), compose([])), Arm("", (), TrainConfig.from_dict(settings))
    found = read_differences(differences(plain.config, run.config), run, run)
    return [word_of(n, value) for n, (_, value) in found.items() if not covers(NO_CHANGE, n)]


def words_of(content: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Nested settings, or names with dots, as words; a preset is a text where a group could be."""
    words = []
    for key, value in content.items():
        if isinstance(value, Mapping) and prefix + key not in MAPPINGS:
            words += words_of(value, f"{prefix}{key}.")
        else:
            words.append(word_of(full_name(prefix + key), value))
    return words


MAPPINGS = ("precision.modules",)
"""Settings whose value is a mapping of the user's own."""


def word_of(name: str, value: Any) -> str:
    """`optim.betas=[0.9,0.95]`: a setting's value as it would be typed."""
    return f"{name}={_typed(value)}"


def _typed(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_typed(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{','.join(json.dumps(v) if _odd(v) else _typed(v) for v in value)}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def _odd(value: Any) -> bool:
    return isinstance(value, str) and any(c in value for c in ",[]{} '\"")


# -- what differs ---------------------------------------------------------------------------------


def _atoms(a: Arm, b: Arm, words: Sequence[str]) -> dict[str, list[str]]:
    """Change -> its settings, before any are taken together: a preset that was named is one."""
    found = {n: v for n, v in differences(a.config, b.config).items() if not covers(NO_CHANGE, n)}
    read = read_differences(found, a, b)
    require(
        bool(read),
        f"{a.name} and {b.name} do not differ in anything that a run reads"
        + (f" (only in {', '.join(found)})." if found else "."),
    )
    keys = {word.partition("=")[0] for word in words}
    atoms: dict[str, list[str]] = {}
    for name in read:
        group = name.partition(".")[0]
        preset = group in keys and "." in name and name not in keys
        atoms.setdefault(group if preset else name, []).append(name)
    return atoms


@dataclass(frozen=True)
class Between:
    """The way from one configuration to another. atoms: change -> the settings it sets."""

    a: Arm
    b: Arm
    atoms: dict[str, list[str]]

    def changes(self) -> tuple[dict[str, list[str]], dict[str, str]]:
        """Name -> words of each change, and why those of several settings are one."""
        reasons: dict[str, str] = {}
        groups = {name: [name] for name in self.atoms}
        while len(joined := self._joined(groups, reasons)) < len(groups):
            groups = joined
        names = self._names(groups)
        words = {names[k]: self._words(atoms) for k, atoms in groups.items()}
        why = {names[k]: reasons[a] for k, atoms in groups.items() for a in atoms if a in reasons}
        return words, {k: v for k, v in why.items() if k in words}

    def readable(self, words: list[str]) -> list[str]:
        """Of an arm's words those that it reads: a preset brings some that nobody does."""
        from altgrad.training.unread_settings import unread_settings

        values = {n: get_setting(self.b.config, n) for n in (w.partition("=")[0] for w in words)}
        unread = unread_settings(change_settings(self.a.config, values))
        return [w for w in words if w.partition("=")[0] not in unread]

    def _words(self, atoms: Sequence[str]) -> list[str]:
        return [
            word_of(n, get_setting(self.b.config, n)) for atom in atoms for n in self.atoms[atom]
        ]

    def _joined(
        self, groups: dict[str, list[str]], reasons: dict[str, str]
    ) -> dict[str, list[str]]:
        """Groups of which one cannot be made alone, or taken out alone, put into one."""
        order = list(groups)

        def made(names: Sequence[str]) -> set[str]:
            return {atom for name in names for atom in groups[name]}

        def taken_out(names: Sequence[str]) -> set[str]:
            return set(self.atoms) - made(names)

        found = [
            self._moved(name, [n for n in order if n != name], how, reasons)
            for name in order
            for how in (made, taken_out)
        ]
        joined = units(found, order)
        return {unit[0]: [atom for name in unit for atom in groups[name]] for unit in joined}

    def _moved(
        self,
        name: str,
        others: list[str],
        how: Callable[[Sequence[str]], set[str]],
        reasons: dict[str, str],
    ) -> list[str]:
        if why := self.refusal(how([name])):
            reasons.setdefault(name, why)
        group = moved_together(name, others, lambda names: not self.refusal(how(names)))
        assert group is not None  # all of them together are A or B
        return group

    def refusal(self, made: set[str]) -> str:
        """Why A with these changes cannot be run, or leaves one of them unread; empty if it can."""
        from altgrad.training.unread_settings import unread_settings

        values = {n: get_setting(self.b.config, n) for a in made for n in self.atoms[a]}
        try:
            config = change_settings(self.a.config, values)
        except ValueError as error:
            return str(error)
        unread = unread_settings(config)
        for atom, names in self.atoms.items():
            whole = self.b if atom in made else self.a
            there = unread_settings(whole.config)
            if any(n not in there for n in names) and all(n in unread for n in names):
                return unread[names[0]].of(names[0], get_setting(config, names[0]))
        return ""

    def _names(self, groups: dict[str, list[str]]) -> dict[str, str]:
        """As short as they can be and still differ."""
        short = {k: _name([_short(a) for a in atoms]) for k, atoms in groups.items()}
        twice = {n for n in short.values() if list(short.values()).count(n) > 1}
        return {k: _name(groups[k]) if n in twice else n for k, n in short.items()}


def _name(parts: Sequence[str]) -> str:
    parts = list(dict.fromkeys(parts))
    more = f" and {len(parts) - MOST_NAMED} more" if len(parts) > MOST_NAMED else ""
    return ", ".join(parts[:MOST_NAMED]) + more


def _short(setting: str) -> str:
    """`optim.name` -> `optim`, `optim.lr` -> `lr`."""
    group, _, leaf = setting.rpartition(".")
    return group if leaf == "name" else leaf
