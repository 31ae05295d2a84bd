"""`altgrad config`: every setting and its origin; `altgrad config --help NAME`: what one is."""

import argparse
import shutil
import textwrap
from collections.abc import Iterable
from fnmatch import fnmatch
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from altgrad.commands.failures import tell
from altgrad.commands.words import add_command, add_overrides
from altgrad.compose import borrowed_rates, compose_values, flatten
from altgrad.settings import field_docs, kind_of, refuse_unknown

OWN_CLASS, OWN_FUNCTION = "package.module:Class", "package.module:function"


def add_config_command(commands: Any) -> None:
    summary = "print the resolved configuration and where each value comes from"
    parser = add_command(commands, "config", show_config, summary, add_help=False)
    add_overrides(parser)
    asked = "this text, or what a setting (optim.lr), a group (optim) or a pattern ('*_lr') is"
    parser.add_argument("-h", "--help", nargs="*", metavar="NAME", action=_Help, help=asked)


class _Help(argparse.Action):
    """argparse's own help where no name follows."""

    def __call__(
        self, parser: argparse.ArgumentParser, _: Any, names: Any, __: str | None = None
    ) -> None:
        if not names:
            parser.print_help()
            parser.exit()
        try:
            print(explain([name for word in names for name in matching(word)]))
        except ValueError as error:
            parser.exit(tell(error))
        parser.exit()


def matching(word: str) -> list[str]:
    """The settings that a full or flat name, a group or a pattern means.

    Raises:
        ConfigError: none, with the nearest match.
    """
    from altgrad.training.config import FLAT_NAMES, all_setting_names

    name, names = word.partition("=")[0], all_setting_names()
    name = FLAT_NAMES.get(name, name)
    found = [n for n in names if n == name or n.startswith(f"{name}.")]
    found = found or [n for n in names if fnmatch(n, name) or fnmatch(n.rpartition(".")[2], name)]
    if not found:
        refuse_unknown(name, [*names, *{n.partition(".")[0] for n in names}])
    return found


def explain(names: list[str]) -> str:
    """Of each its type, default, allowed values and the string under the field."""
    from altgrad.training.config import TrainConfig

    docs, allowed, (values, origin) = field_docs(TrainConfig), choices(), compose_values([])
    defaults = flatten(values)

    def entry(name: str) -> str:
        default = yaml_of(defaults[name]) + (f"  ({origin[name]})" if name in origin else "")
        lines = [docs[name], f"type: {in_words(kind_of(TrainConfig, name))}", f"default: {default}"]
        lines += [f"allowed: {', '.join(allowed[name])}"] if name in allowed else []
        width = min(shutil.get_terminal_size().columns, 100)
        filled = (textwrap.indent(textwrap.fill(line, width - 2), "  ") for line in lines)
        return "\n".join([name, *filled])

    return "\n\n".join(map(entry, names))


def in_words(kind: Any) -> str:
    """A field's type as a person writes it: `list[float]` -> `list of numbers`."""
    arguments = [in_words(k) for k in get_args(kind) if k is not NoneType]
    if get_origin(kind) in (Union, UnionType):
        return " or ".join([*arguments, *(["null"] if NoneType in get_args(kind) else [])])
    if get_origin(kind) is list:
        return f"list of {arguments[0]}s"
    words = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    return words.get(kind, "mapping")


def choices() -> dict[str, Iterable[str]]:
    """Full name -> its allowed values, where they are a set; where code of one's own may take
    their place, that too. Each is the very table that refuses the others."""
    from altgrad.data.config import ORDERS
    from altgrad.data.corpora import CORPORA
    from altgrad.data.tokenizers import TOKENIZERS
    from altgrad.model.backends import BACKENDS
    from altgrad.model.config import DTYPES
    from altgrad.model.init import SCHEMES
    from altgrad.model.parts import PARTS
    from altgrad.optim.build import OPTIMIZERS
    from altgrad.optim.muon import SCALES
    from altgrad.optim.network_setup import OWN
    from altgrad.optim.schedules import SCHEDULES
    from altgrad.quantization.recipe import ROLES, ROUNDINGS, STORAGES, UNSCALED
    from altgrad.quantization.scaling import SCALINGS
    from altgrad.training.config import COMPUTE, STRATEGIES
    from altgrad.training.finetune import BASES, METHODS
    from altgrad.training.trackers import TRACKERS

    casts = {"rounding": ROUNDINGS, "scaling": (UNSCALED, *SCALINGS)}
    return {
        "model.network": ["parts", OWN_CLASS],
        **{f"model.{kind}": [*parts, OWN_CLASS] for kind, parts in PARTS.items()},
        **{f"precision.{role}.{name}": casts[name] for role in ROLES for name in casts},
        "model.init": SCHEMES,
        "model.attention_backend": BACKENDS,
        "model.rope_dtype": DTYPES,
        "optim.name": [*OPTIMIZERS, OWN, OWN_CLASS],
        "optim.muon_scale": SCALES,
        "schedule.name": [*SCHEDULES, OWN_FUNCTION],
        "data.name": CORPORA,
        "data.order": ORDERS,
        "data.tokenizer": [*TOKENIZERS, "a tiktoken encoding", "a tokenizer.json", OWN_CLASS],
        "precision.compute": COMPUTE,
        "precision.storage": STORAGES,
        "finetune.name": METHODS,
        "finetune.base": BASES,
        "tracker.names": [*TRACKERS, OWN_CLASS],
        "diagnostics.own": [OWN_CLASS],
        "strategy": STRATEGIES,
    }


def show_config(arguments: argparse.Namespace) -> None:
    values, origin = compose_values(arguments.overrides, arguments.config_dir)
    from altgrad.training.config import TrainConfig

    config = TrainConfig.from_dict(values)
    for line in annotated_yaml(config.to_dict(), origin):
        print(line)
    if borrowed := borrowed_rates(config, origin, arguments.overrides, arguments.config_dir):
        print(f"# {borrowed}")


def annotated_yaml(tree: dict[str, Any], origin: dict[str, str], prefix: str = "") -> list[str]:
    """YAML lines with the origin of each value as a comment."""
    lines = []
    indent = "  " * prefix.count(".")
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", *annotated_yaml(value, origin, f"{prefix}{key}.")]
        else:
            text = f"{indent}{key}: {yaml_of(value)}"
            lines.append(f"{text:<44} # {origin.get(prefix + key, 'default')}")
    return lines


def yaml_of(value: Any) -> str:
    """On one line, without the `...` that YAML writes after a scalar that stands alone."""
    import yaml

    return str(yaml.safe_dump(value, default_flow_style=True)).removesuffix("...\n").strip()
