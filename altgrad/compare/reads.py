"""Which settings the arms read: one that no arm reads cannot be a finding, and is refused."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from altgrad.compare.identity import WITHOUT_EFFECT, covers
from altgrad.compare.question import Question
from altgrad.settings import ConfigError, get_setting

if TYPE_CHECKING:
    from altgrad.compare.arm import Arm


def refuse_unread_words(arms: Sequence["Arm"], question: Question) -> None:
    """Words of an arm must be read by that arm, words of all arms and the tuned setting by one.

    Raises:
        ConfigError: naming the setting, the arm, and what would read it.
    """
    from altgrad.training.unread_settings import refuse_other_storage, unread_settings

    unread = {arm.name: unread_settings(arm.config) for arm in arms}
    for arm in arms:
        for name in _settings(question.arms[arm.name]):
            if name in unread[arm.name]:
                why = unread[arm.name][name].of(name, get_setting(arm.config, name))
                raise ConfigError(f"{arm.name}: {why}")
        if "precision.storage" in _settings(arm.words):
            refuse_other_storage(arm.config)
    control = arms[0]
    tuned = [question.tuning.setting] if question.tuning.setting else []
    for name in [*_settings(question.base), *tuned]:
        if all(name in found for found in unread.values()):
            raise ConfigError(
                unread[control.name][name].of(name, get_setting(control.config, name))
            )


def _settings(words: Iterable[str]) -> list[str]:
    """Names of the settings with an effect; what a comparison silences itself (samples, trackers)
    may be typed in vain."""
    from altgrad.training.unread_settings import typed_settings

    quiet = (*WITHOUT_EFFECT, "sample_prompts")
    return [name for name in typed_settings(words) if not covers(quiet, name)]


def read_differences(
    found: dict[str, tuple[Any, Any]], control: "Arm", arm: "Arm"
) -> dict[str, tuple[Any, Any]]:
    """Of the settings in which two arms differ, those that one of them reads."""
    from altgrad.training.unread_settings import unread_settings

    nobody = unread_settings(control.config).keys() & unread_settings(arm.config).keys()
    return {name: values for name, values in found.items() if name not in nobody}
