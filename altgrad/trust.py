"""Whose code may run: what the person said, now or earlier on this machine; never what a file says.

Settings can name code, `package.module:name`, and a file with settings (a run folder, a model's
`config.json`, an experiment file, a baseline) can come from anybody. So whoever reads such a file
hands its content through `said_by`, which notes the names in it, and the one loader of outside code
asks `require` first. Commands (`program=…`) and patches (`patch=…`) are such names, too.

A name out of a file passes only if the person has typed it, in this command or earlier with the
code in the same folders; those pairs are kept in `trusted.json`, in the person's own configuration
folder. A file that somebody sent is in another folder, or names something that was never typed.
"""

import json
import os
import re
import shlex
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")
"""`package.module:name`; `cuda:0` is none."""

COMMANDS = ("program", "patch")
"""Words whose value is run: a command, or files with changes of code."""

Content = TypeVar("Content")

_said: dict[str, str] = {}
_typed: set[str] = set()


def names_in(content: Any) -> list[str]:
    """Every name of code in the texts of a nest of dicts and lists, `program=…` and `patch=…`
    among them."""
    found, waiting, seen = dict[str, None](), [content], set[int]()
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found |= dict.fromkeys([*NAME.findall(item), *_commands(item)])
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))  # YAML can hold itself
            waiting += item.values() if isinstance(item, dict) else item
            waiting += _commands_under(item) if isinstance(item, dict) else []
    return list(found)


def _commands(word: str) -> list[str]:
    """`patch=none,a.diff+b.diff` -> `patch=a.diff`, `patch=b.diff`; `program=…` as it is."""
    key, _, value = word.partition("=")
    if key == "patch":
        return [f"patch={file}" for file in re.split("[,+]", value) if file not in ("", "none")]
    return [word] if key in COMMANDS and value else []


def _commands_under(content: dict[Any, Any]) -> list[str]:
    """Of a mapping with `program:` or `patch:`, one value or several."""
    pairs = [(key, content[key]) for key in COMMANDS if key in content]
    values = [
        (key, v) for key, value in pairs for v in (value if isinstance(value, list) else [value])
    ]
    return [f"{key}={value}" for key, value in values if isinstance(value, str)]


def said_by(file: str | Path, content: Content) -> Content:
    """`content` as it is; the names of code in it are from now on those of `file`."""
    _said.update(dict.fromkeys(names_in(content), str(file)))
    return content


def allow(names: Iterable[str]) -> None:
    """These are the person's own words, whatever file holds them, too."""
    _typed.update(names)


def require(name: str, *, setting: str, folders: Iterable[str], runs: str) -> None:
    """Refuse a name that a file brought and the person never typed.

    folders: where its code lies. runs: what loading it would run, for the message.

    Raises:
        ValueError: naming the file, the code and the cure.
    """
    needed, known = set(folders), _read()
    if needed <= set(known.get(name, ())):
        return
    if name in _said and name not in _typed:
        shown = name if name.partition("=")[0] == setting else f"{setting}={name}"
        raise ValueError(
            f"{shown} stands in {_said[name]}, and what a file names is not run unasked: "
            f"it would run {runs}. If you trust that code: --trust {shlex.quote(name)} "
            f"(in Python: altgrad.trust.allow([{name!r}]))"
        )
    with suppress(OSError):  # A read-only home: the next command asks again.
        _write({**known, name: sorted(needed | set(known.get(name, ())))})


def ledger() -> Path:
    """Where name -> folders of what was typed on this machine is kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "altgrad" / "trusted.json"


def _read() -> dict[str, list[str]]:
    try:
        content = json.loads(ledger().read_text(encoding="utf-8"))
        return {str(name): list(folders) for name, folders in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(content: dict[str, list[str]]) -> None:
    path = ledger()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
