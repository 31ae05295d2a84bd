"""Every setting of a run and of a comparison, from the dataclasses that hold them."""

import dataclasses
import json
from typing import Any

from reference_tables.markdown import code, prose, table

HEAD = ("setting", "type", "default", "meaning", "read by")


def settings() -> str:
    """Every setting of a run, a table a group."""
    from altgrad.settings import field_docs
    from altgrad.training.config import TrainConfig, all_setting_names

    docs, rows = field_docs(TrainConfig), setting_rows()
    groups = dict.fromkeys(name.partition(".")[0] for name in all_setting_names() if "." in name)
    text = "## At the root\n\n" + table(HEAD, (rows[n] for n in rows if "." not in n))
    for group in groups:
        inside = [rows[n] for n in rows if n.startswith(f"{group}.")]
        text += f"\n## `{group}`\n\n{docs[group]}\n\n{table(HEAD, inside)}"
    return text


def setting_rows() -> dict[str, list[str]]:
    """Full name -> its row."""
    from altgrad.commands.config import choices, in_words
    from altgrad.settings import field_docs, kind_of
    from altgrad.training.config import TrainConfig, all_setting_names

    docs, allowed, readers, defaults = field_docs(TrainConfig), choices(), who_reads(), starts()
    return {
        name: [
            code(name),
            in_words(kind_of(TrainConfig, name)),
            defaults[name],
            _meaning(docs[name], allowed.get(name)),
            readers.get(name, "every run"),
        ]
        for name in all_setting_names()
    }


def _meaning(doc: str, allowed: Any) -> str:
    unsaid = [str(value) for value in allowed or () if str(value) not in doc]
    values = f" One of {', '.join(f'`{value}`' for value in allowed)}." if unsaid else ""
    return prose(doc) + values


def starts() -> dict[str, str]:
    """Full name -> what it is if nobody types it: on the command line, and from Python."""
    from altgrad.compose import compose_values, flatten
    from altgrad.settings import get_setting
    from altgrad.training.config import TrainConfig, all_setting_names

    typed, python = flatten(compose_values([])[0]), TrainConfig()
    found = {}
    for name in all_setting_names():
        here, there = shown(typed[name]), shown(get_setting(python, name))
        found[name] = code(here) + (f"; from Python {code(there)}" if there != here else "")
    return found


def shown(value: Any) -> str:
    """A value as it is typed, on one line whatever it holds."""
    from altgrad.commands.config import yaml_of

    text = str(yaml_of(value))
    return json.dumps(value) if "\n" in text else text


def who_reads() -> dict[str, str]:
    """Full name -> the settings with which it is read; absent where every run reads it."""
    from altgrad.model.parts import READS as PARTS
    from altgrad.optim.build import READS as OPTIMISERS
    from altgrad.optim.schedules import READS as SCHEDULES
    from altgrad.training.unread_settings import FEATURES

    found: dict[str, list[str]] = {}
    tables = {("optim", "optim.name"): OPTIMISERS, ("schedule", "schedule.name"): SCHEDULES}
    tables |= {("model", f"model.{kind}"): table for kind, table in PARTS.items()}
    for (group, chooser), variants in tables.items():
        for setting in dict.fromkeys(s for reads in variants.values() for s in reads or ()):
            readers = [name for name, reads in variants.items() if setting in (reads or ())]
            found.setdefault(f"{group}.{setting}", []).append(f"{chooser}={', '.join(readers)}")
    for names, words, _ in FEATURES:
        for name in names:
            found.setdefault(name, []).append(words)
    return {name: "; ".join(code(words) for words in ways) for name, ways in found.items()}


def short_names() -> str:
    """The flat names that `TrainConfig(…)` takes, too."""
    from altgrad.training.config import FLAT_NAMES

    return table(("in Python", "is"), ([code(a), code(b)] for a, b in FLAT_NAMES.items()))


def question() -> str:
    """Keys of an experiment file."""
    from altgrad.compare.question import Question

    return _fields(Question)


def launch() -> str:
    """Settings of a comparison that change no result."""
    from altgrad.compare.launching.launch import Launch

    return _fields(Launch)


def _fields(made: type) -> str:
    return table(("key", "type", "default", "meaning"), _field_rows(made))


def _field_rows(made: type, prefix: str = "") -> list[list[str]]:
    from altgrad.commands.config import in_words
    from altgrad.settings import field_docs, hints

    docs, default, rows = field_docs(made), made(), []
    for name, kind in hints(made).items():
        if dataclasses.is_dataclass(kind):
            rows += _field_rows(kind, f"{prefix}{name}.")
            continue
        start = code(shown(getattr(default, name)))
        rows.append([code(prefix + name), in_words(kind), start, prose(docs[name])])
    return rows
