"""The question of a comparison, complete before anything runs.

It comes from words (`precision=bf16,e5m2 seeds=5 max_steps=200`) or from an experiment file, whose
keys are the fields below. Words whose value is a list with commas are axes; words that are a field
of `Question` set it; all other words go to every arm, as `altgrad train` takes them.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from altgrad.compare.designs import DESIGNS, Ladder
from altgrad.programs import NEVER_SPLIT, key_of_word
from altgrad.settings import (
    ConfigError,
    coerce,
    from_dict,
    hints,
    nearest,
    require,
    require_choice,
)
from altgrad.trust import said_by

BUDGETS = ("tokens", "flops", "time")
CORRECTIONS = ("holm", "none")
SEARCHES = ("grid", "optuna")
FIRST_TUNING_SEED = 1001
"""Tuning draws its seeds from here on, so that they never are test seeds."""


@dataclass
class Tuning:
    """How each arm's own setting is chosen, on seeds that are not the test seeds."""

    setting: str = ""
    """Full name, such as `optim.lr`; empty = nothing is tuned."""
    grid: list[float] = field(default_factory=list)
    """Values tried; empty = the arm's own value times `factors`."""
    factors: list[float] = field(default_factory=lambda: [1 / 3, 1.0, 3.0])
    """What the arm's own value is multiplied by where `grid` is empty."""
    seeds: int = 1
    """Runs a value gets, on seeds that are not test seeds."""
    extend: int = 0
    """How often the grid may grow by a value when its winner lies at an edge, on that side."""
    search: str = "grid"
    """grid, or optuna with `trials` values between the grid's ends on a logarithmic scale."""
    trials: int = 8
    """Values that optuna tries."""

    def check(self) -> None:
        """Refuse what cannot be tuned. Raises ConfigError."""
        require_choice(self.search, SEARCHES, "tuning.search")
        require(self.seeds >= 1, f"tuning.seeds={self.seeds} must be at least 1.")
        require(self.extend >= 0, f"tuning.extend={self.extend} must not be negative.")
        require(self.trials >= 2, f"tuning.trials={self.trials} must be at least 2.")
        spread = self.grid or self.factors
        require(
            len(spread) >= 2 and all(v > 0 for v in spread),
            f"tuning.grid={spread} needs at least two values above 0.",
        )


@dataclass
class KnownSpread:
    """`spread=FOLDER` of a ledger or of a comparison: standard deviation of a paired difference."""

    source: str = ""
    """The folder that was named; empty = nothing is known beforehand."""
    value: float = 0.0
    """Standard deviation, in units of the outcome."""
    freedom: float = 0.0
    """Degrees of freedom it stands on; pairs that share a run count for less than one."""
    size: dict[str, Any] = field(default_factory=dict)
    """Settings that say how large those runs were."""


@dataclass
class Question:
    """Fields of an experiment file; all but the arms have a default."""

    question: str = ""
    """What is asked, in one sentence."""
    name: str = ""
    """Folder of the comparison below `runs/compare`; empty = from the content."""
    base: list[str] = field(default_factory=list)
    """Settings that every arm gets."""
    arms: dict[str, list[str]] = field(default_factory=dict)
    """Name of an arm -> its settings."""
    axes: dict[str, list[str]] = field(default_factory=dict)
    """What the arms are made of instead: axis -> its values."""
    axis: list[str] = field(default_factory=list)
    """Settings or groups the arms may differ in; follows from `axes`."""
    control: str = ""
    """The arm the others are compared with; empty = the first."""
    design: str = "one"
    """one (one axis), crossed (all combinations of two axes or more), ablation (of two
    configurations) or scaling (one axis over a ladder of sizes)."""
    fraction: str = ""
    """Crossed: the part of all combinations that is run, 1/2, 1/4 or 1/8; empty = all of them."""
    interactions: int = 2
    """Crossed: interactions of up to so many axes are judged; 1 = main effects alone."""
    ladder: Ladder = field(default_factory=Ladder)
    """Scaling: the sizes, and what each may spend."""
    between: list[str] = field(default_factory=list)
    """Ablation: two files of settings, or two run folders; the first is the control."""
    changes: dict[str, list[str]] = field(default_factory=dict)
    """Ablation: name of a change -> its settings; follows from `between`."""
    together: dict[str, str] = field(default_factory=dict)
    """Ablation: change of several settings -> why these cannot be had one by one."""
    contrasts: dict[str, dict[str, float]] = field(default_factory=dict)
    """Further comparisons by name: arm -> weight, adding up to 0. Crossed: or values of axes."""
    primary: str = "val_loss"
    """The outcome: a metric that the runs log."""
    higher_is_better: bool = False
    """Whether more of the outcome is better."""
    last: int = 1
    """The outcome is the mean of `primary` over its last so many evaluations."""
    seeds: int | list[int] = 3
    """How many seeds (1, 2, …), or which."""
    until_decided: bool = False
    """Go on from `seeds` up to `max_seeds`, judged after each seed, until there is a verdict."""
    max_seeds: int = 20
    """Largest number of seeds with `until_decided`."""
    spread: KnownSpread = field(default_factory=KnownSpread)
    """With `until_decided`: how noisy a difference is, from earlier pairs of the same size."""
    budget: str = "tokens"
    """What all arms get as much of as the control's run: tokens, flops or time."""
    tuning: Tuning = field(default_factory=Tuning)
    """How each arm's own setting is chosen."""
    delta: float = 0.01
    """Smallest difference that matters, in units of the outcome."""
    alpha: float = 0.05
    """Chance of a false better or worse over all arms."""
    correction: str = "holm"
    """Correction for several arms: holm or none."""
    allow: list[str] = field(default_factory=list)
    """Further settings the arms may differ in, knowingly."""

    def complete(self) -> "Question":
        """A copy with everything filled in that follows from the rest, and checked.

        Raises:
            ConfigError: the question cannot be asked; one line, with the cure.
        """
        made = dataclasses.replace(self)
        require_choice(made.design, DESIGNS, "design")
        if made.axes:
            _cross(made)
        require(
            len(made.arms) >= 2,
            f"a comparison needs at least two arms, this has {len(made.arms)}; "
            "write an axis as setting=control,other (precision=bf16,e5m2).",
        )
        made.control = made.control or next(iter(made.arms))
        made._check()
        made.question = made.question or DESIGNS[made.design].sentence(made)
        return made

    @property
    def of_programs(self) -> bool:
        """Whether the arms are somebody's programs instead of settings."""
        words = [*self.base, *(w for own in self.arms.values() for w in own)]
        return "program" in self.axes or any(w.startswith("program=") for w in words)

    def seed_list(self) -> list[int]:
        """Test seeds at the start; "as you go" adds the numbers after the largest."""
        return list(range(1, self.seeds + 1)) if isinstance(self.seeds, int) else list(self.seeds)

    def all_seeds(self) -> list[int]:
        """Every test seed that may be run, `until_decided` included."""
        seeds = self.seed_list()
        while self.until_decided and len(seeds) < self.max_seeds:
            seeds.append(max(seeds) + 1)
        return seeds

    def tuning_seeds(self) -> list[int]:
        return list(range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + self.tuning.seeds))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def _check(self) -> None:
        require_choice(self.control, self.arms, "control")
        require_choice(self.budget, BUDGETS, "budget")
        require_choice(self.correction, CORRECTIONS, "correction")
        require(bool(self.axis), "axis: name the setting or group in which the arms may differ.")
        require(self.delta > 0, f"delta={self.delta} must be above 0.")
        require(0 < self.alpha < 0.5, f"alpha={self.alpha} must be between 0 and 0.5.")
        require(self.last >= 1, f"last={self.last} must be at least 1.")
        self._check_seeds()
        self._check_spread()
        self.tuning.check()
        require(
            self.design == "crossed" or not self.fraction,
            "fraction is read with design=crossed; add it, or leave the fraction out.",
        )
        require(
            self.design == "scaling" or not self.ladder.asked(),
            "sizes and budgets of rungs are read with design=scaling; add it, or leave them out.",
        )
        DESIGNS[self.design].check(self)

    def _check_spread(self) -> None:
        if not self.spread.source:
            return
        source = f"spread={self.spread.source}"
        require(
            self.until_decided,
            f"{source} is for seeds=auto: judged once, a comparison has a spread of its own.",
        )
        require(
            self.spread.value > 0 and self.spread.freedom >= 1,
            f"{source} knows no spread yet: it has no two pairs of runs.",
        )

    def _check_seeds(self) -> None:
        seeds = self.seed_list()
        require(
            bool(seeds) and len(set(seeds)) == len(seeds) and min(seeds) >= 0,
            f"seeds={self.seeds} must be a number from 1 on, or a list of different seeds.",
        )
        both = set(self.all_seeds()) & set(self.tuning_seeds())
        require(
            not (self.tuning.setting and both),
            f"seeds={sorted(both)} are tuning seeds too; a test needs seeds nothing was chosen on.",
        )
        require(
            not self.until_decided or self.max_seeds >= len(seeds),
            f"max_seeds={self.max_seeds} is less than seeds={len(seeds)}.",
        )


def _cross(question: Question) -> None:
    """Arms from axes, as the design makes them."""
    given = question.arms
    question.arms = DESIGNS[question.design].cross(question)
    question.axis = question.axis or list(question.axes)
    require(
        given in ({}, question.arms),
        "arms and axes are two ways to say the same thing; give one of them.",
    )


# -- from words and files -------------------------------------------------------------------------


def read_question(words: Sequence[str]) -> Question:
    """From the words of the command line: an experiment file first, if there is one.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type.
    """
    values: dict[str, Any] = {}
    files = [word for word in words if _is_file(word)]
    if len(files) > 1:
        values["between"] = files
    for word in words:
        if word.startswith("-") or _is_of_program(word, words, values):
            take_program_word(word, values)
        elif word not in files:
            _take_word(word, values)
        elif len(files) == 1:
            require(not values, f"{word}: the experiment file comes first, settings after it.")
            values = _read_file(Path(word))
    _check_files(files, values.get("design", "one"))
    return from_dict(Question, values)


def _is_file(word: str) -> bool:
    """A file's or a run's name; runs that `compare` made have a `=` in theirs."""
    return not word.startswith("-") and ("=" not in word or os.path.isdir(word))


def _check_files(files: list[str], design: str) -> None:
    if len(files) > 1:
        require(
            len(files) == 2 and design == "ablation",
            f"{' '.join(files)}: two files of settings (or run folders) are compared with "
            "design=ablation; an experiment file stands alone.",
        )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = said_by(path, yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} is neither KEY=VALUE nor a readable experiment file: {error}"
        ) from None
    require(isinstance(content, dict), f"{path} is not an experiment file: no keys.")
    from_dict(Question, content)
    return dict(content)


def _is_of_program(word: str, words: Sequence[str], values: dict[str, Any]) -> bool:
    """Whether it is no word of the question, and the arms are programs."""
    key, equals, _ = word.partition("=")
    typed = any(w.startswith("program=") for w in words)
    own = key in hints(Question) or key == "tune" or key.startswith("tuning.")
    return bool(equals) and not own and (typed or from_dict(Question, values).of_programs)


def take_program_word(word: str, values: dict[str, Any]) -> None:
    """A list of values, or the same key twice, is an axis. A command's own commas stay in it."""
    key, text = key_of_word(word), word.partition("=")[2]
    pieces = [text] if key in NEVER_SPLIT else split_values(text)
    before = [w for w in values.get("base", []) if key_of_word(w) == key]
    axes = values.get("axes", {})
    if key in axes:
        values["axes"] = {**axes, key: [*axes[key], *pieces]}
    elif len(pieces) > 1 or (before and key == "program"):
        values["base"] = [w for w in values.get("base", []) if w not in before]
        values["axes"] = {**axes, key: [*(w.partition("=")[2] for w in before), *pieces]}
    else:
        values["base"] = [*(w for w in values.get("base", []) if w not in before), word]


def _take_word(word: str, values: dict[str, Any]) -> None:
    key, _, text = word.partition("=")
    kinds = hints(Question)
    if key == "tune":
        values.setdefault("tuning", {})["setting"] = text
    elif key.startswith("tuning."):
        name = key.partition(".")[2]
        kind = hints(Tuning).get(name)
        require(kind is not None, f"unknown setting {key!r}.{nearest(name, hints(Tuning))}")
        values.setdefault("tuning", {})[name] = _read_value(text, kind, key)
    elif key in hints(Ladder):
        values.setdefault("ladder", {})[key] = _read_value(text, hints(Ladder)[key], key)
    elif key == "spread":
        values["spread"] = {"source": text}
    elif key == "seeds" and text == "auto":
        values["until_decided"] = True
    elif key in kinds:
        values[key] = _read_value(text, kinds[key], key)
    elif len(pieces := split_values(text)) > 1:
        values["axes"] = {**values.get("axes", {}), full_name(key): pieces}
    else:
        values["base"] = [*values.get("base", []), f"{full_name(key)}={text}"]


def _read_value(text: str, kind: Any, name: str) -> Any:
    """A typed word as a value of a field: YAML, where a list may come without its brackets."""
    as_list = str(kind).startswith("list") and not text.startswith("[")
    if kind is str:
        return text
    try:
        read = yaml.safe_load(f"[{text}]" if as_list else text)
        return coerce([_number(v) for v in read] if as_list else _number(read), kind, name)
    except yaml.YAMLError:
        raise ConfigError(f"{name}={text!r} cannot be read.") from None


def full_name(key: str) -> str:
    """`storage` -> `precision.storage`: a setting may be typed by its last part where only one
    setting ends so. From here on it has its full name."""
    from altgrad.training.config import all_setting_names

    names = all_setting_names()
    known = any(n == key or n.startswith(f"{key}.") for n in names)
    ending = [n for n in names if n.endswith(f".{key}")]
    return ending[0] if not known and len(ending) == 1 else key


def _number(value: Any) -> Any:
    """YAML takes `1e-3` for a text, since it has no point."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def split_values(text: str) -> list[str]:
    """`a,[b,c],d` -> `["a", "[b,c]", "d"]`: commas inside brackets belong to their value."""
    pieces, depth = [""], 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return pieces
