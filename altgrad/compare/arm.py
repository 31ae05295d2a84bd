"""One arm: a name, the words that make it, and the complete settings they resolve to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from altgrad.compare.question import Question
from altgrad.runs import accept_code
from altgrad.settings import ConfigError, get_setting, nearest
from altgrad.training.config import TrainConfig, all_setting_names

Compose = Callable[[list[str]], TrainConfig]
"""Typed words -> settings; `altgrad.compose` has the one that knows the presets."""

QUIET = {"sample_tokens": "0"}
"""Words that every arm gets unless the question sets them: texts nobody would read."""


@dataclass(frozen=True)
class Arm:
    """words: as typed, base included. config: of a run, but for its seed and place."""

    name: str
    words: tuple[str, ...]
    config: TrainConfig

    def with_settings(self, changes: dict[str, Any]) -> "Arm":
        """The same arm with some settings changed, by full name."""
        return replace(self, config=change_settings(self.config, changes))

    def at_seed(self, seed: int) -> TrainConfig:
        return change_settings(self.config, {"seed": seed})


def compose_arms(question: Question, compose: Compose) -> list[Arm]:
    """All arms of a complete question, the control first.

    Raises:
        ConfigError: a word cannot be composed, or sets what the question itself sets.
        ValueError: outside code is not there, or a file named it and nobody else.
    """
    for word in [*question.base, *(w for words in question.arms.values() for w in words)]:
        _refuse_own_settings(word.partition("=")[0])
    others = [name for name in question.arms if name != question.control]
    arms = []
    for name in [question.control, *others]:
        words = merge_words(question.base, question.arms[name])
        config = compose(words)
        accept_code(config.to_dict())
        arms.append(Arm(name, tuple(words), config))
    return arms


def _refuse_own_settings(key: str) -> None:
    cures = {
        "seed": "write seeds=5, or seeds=[1,2,3]",
        "run_dir": "runs get their folders below runs/ by themselves",
        "checkpoint_dir": "checkpoints lie in their run's folder",
    }
    if key in cures:
        raise ConfigError(f"{key}= cannot be set in a comparison; {cures[key]}.")


def merge_words(base: Sequence[str], own: Sequence[str]) -> list[str]:
    """Base words, then the arm's; a base word gives way to an arm's word of the same key."""
    taken = {word.partition("=")[0] for word in own}
    quiet = [f"{key}={value}" for key, value in QUIET.items()]
    kept = {w.partition("=")[0]: w for w in [*quiet, *base] if w.partition("=")[0] not in taken}
    return [*kept.values(), *own]


def last_words(words: Sequence[str]) -> list[str]:
    """Of words with the same key only the last, in the place of the last."""
    kept: dict[str, str] = {}
    for word in words:
        key = word.partition("=")[0]
        kept.pop(key, None)
        kept[key] = word
    return list(kept.values())


def change_settings(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    """A new config with some settings changed, checked as a whole.

    Raises:
        ConfigError: a name that is no setting, or a value it cannot have.
    """
    values = config.to_dict()
    for name, value in changes.items():
        if name not in all_setting_names():
            raise ConfigError(f"unknown setting {name!r}.{nearest(name, all_setting_names())}")
        *path, leaf = name.split(".")
        group = values
        for part in path:
            group = group[part]
        group[leaf] = value
    return TrainConfig.from_dict(values)


def flat_settings(config: TrainConfig) -> dict[str, Any]:
    """Full name -> value, for every setting of a run."""
    return {name: get_setting(config, name) for name in all_setting_names()}


def differences(a: TrainConfig, b: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Settings in which two configs differ: name -> (value in a, value in b)."""
    left, right = flat_settings(a), flat_settings(b)
    return {name: (left[name], right[name]) for name in left if left[name] != right[name]}
