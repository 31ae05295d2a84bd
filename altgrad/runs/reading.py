"""Small files of a run or a comparison, read back: whole and ours, or refused by name.

They may be damaged, emptied, edited or a stranger's. Whatever is wrong with one is said here, in
one line, so that nobody further up meets a key that is not there. The names of code in them are the
file's (`trust.py`), not the person's. Loads no torch.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from altgrad.runs.lines import require_plain
from altgrad.settings import ConfigError
from altgrad.trust import said_by

Tree = dict[str, Any]

PROGRAM: dict[str, type | tuple[type, ...]] = {
    "program": str,
    "seed": int,
    "name": str,
    "max_steps": int,
    "cwd": str,
    "args": list,
    "patches": dict,
}
"""The same of a run of somebody else's program; `max_steps` is 0, its own matter."""

SETTINGS: dict[str, type | tuple[type, ...]] = {
    "max_steps": int,
    "max_checkpoints": int,
    "seed": int,
    "checkpoint_dir": (str, type(None)),
    "precision.compute": str,
    "optim.name": str,
    "model.n_layer": int,
    "model.n_embd": int,
    "data.name": (str, type(None)),
    "data.path": (str, type(None)),
}
"""Settings that tables read without building a config, and what each must be."""


def read_json(path: Path) -> Tree:
    """A JSON object.

    Raises:
        ConfigError: missing, unreadable, not JSON, nested without end, or not an object.
    """
    return _read(path, json.loads)


def read_yaml(path: Path) -> Tree:
    """A YAML mapping; raises as `read_json`."""
    return _read(path, _load_yaml)


def read_settings(path: Path, *, programs: bool = False) -> Tree:
    """A run's `config.yaml` as a plain dict.

    programs: a run of somebody else's program is as good (it has the key `program`).

    Raises:
        ConfigError: unreadable, or not the settings of such a run.
    """
    return _settings_in(path, read_yaml(path), programs)


def _settings_in(path: Path, tree: Tree, programs: bool) -> Tree:
    if "program" in tree and not programs:
        raise ConfigError(
            f"{path.parent} is a run of a program ({tree['program']}): of that altgrad has the "
            "numbers, and neither settings nor weights."
        )
    return _of_a_run(path, tree)


def _of_a_run(path: Path, tree: Tree) -> Tree:
    for name, kind in (PROGRAM if "program" in tree else SETTINGS).items():
        group, _, leaf = name.rpartition(".")
        inside = tree.get(group) if group else tree
        if not (isinstance(inside, dict) and isinstance(inside.get(leaf, _Absent), kind)):
            raise ConfigError(f"{path} does not hold the settings of a run: {name} is not there.")
    return tree


class SettingsReader:
    """`read_settings` of many runs, which are nearly the same: a top-level block of YAML that has
    been read before (`optim:` and what belongs to it) is not parsed again."""

    def __init__(self) -> None:
        self._known: dict[str, Tree] = {}

    def read(self, path: Path, *, programs: bool = True) -> Tree:
        """Raises as `read_settings`. Not for changing: runs share its parts."""
        return _settings_in(path, _read(path, self._parse), programs)

    def _parse(self, text: str) -> Any:
        tree: Tree = {}
        try:
            for block in _blocks(text):
                tree |= self._known_block(block)
        except (ValueError, yaml.YAMLError):  # not such blocks: read as any YAML
            return _load_yaml(text)
        return tree

    def _known_block(self, block: str) -> Tree:
        found = self._known.get(block)
        if found is None:
            found = _load_yaml(block)
            if not isinstance(found, dict):
                raise ValueError(block)
            if len(self._known) < MOST_BLOCKS:
                self._known[block] = found
        return found


MOST_BLOCKS = 20_000
_KEY = re.compile(r"[A-Za-z_]\w*:")
_NOT_ALONE = re.compile(r"[&*!%\t]")
"""Anchors and tags: a block may lean on another."""


def _blocks(text: str) -> list[str]:
    """A plain key at the margin, with the lines that belong to it: indented, or a list's.

    Raises:
        ValueError: there is something else.
    """
    if _NOT_ALONE.search(text):
        raise ValueError("anchors or tags")
    blocks: list[list[str]] = []
    for line in text.splitlines(keepends=True):
        if _KEY.match(line):
            blocks.append([line])
        elif line[0] not in " -\n" or line.startswith("---") or not blocks:
            raise ValueError(line)
        else:
            blocks[-1].append(line)
    return ["".join(lines) for lines in blocks]


class _Absent:
    """Of no type that a setting can have."""


def _load_yaml(text: str) -> Any:
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _read(path: Path, parse: Callable[[str], Any]) -> Tree:
    require_plain(path)
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is damaged: {error}.") from None
    except RecursionError:
        raise ConfigError(f"{path} is damaged: nested without end.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is damaged: it holds {type(content).__name__}, not keys.")
    return said_by(path, content)
