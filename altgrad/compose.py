"""Typed words -> settings, through Hydra's compose API; the only file that knows it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

from altgrad.synonyms import OF_COMPARISONS
from altgrad.trust import NAME

Tree = dict[str, Any]


def compose_config(
    overrides: list[str],
    config_dir: str | None = None,
    *,
    all_read: bool = True,
    remark: Callable[[str], None] = lambda _: None,
) -> Any:
    """Typed words -> `TrainConfig`, strictly.

    Merge order, later wins: dataclass defaults, `conf/config.yaml`, the chosen preset of each
    group, the experiment, the command line.

    all_read: refuse a typed setting that nothing in this run reads. remark: told, in a line, of
    rates that were written for another optimiser.
    """
    from altgrad.training.config import TrainConfig

    values, origin = compose_values(overrides, config_dir)
    config = TrainConfig.from_dict(values)
    if borrowed := borrowed_rates(config, origin, overrides, config_dir):
        remark(borrowed)
    if all_read:
        from altgrad.training.unread_settings import refuse_unread, typed_settings

        refuse_unread(config, typed_settings(overrides))
    return config


def compose_values(
    overrides: list[str], config_dir: str | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The composed values, and the origin of every setting by its full name."""
    if config_dir and not Path(config_dir).is_dir():
        raise ValueError(f"--config-dir {config_dir}: no such folder.")
    from hydra import compose, initialize_config_module
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from altgrad.training.config import TrainConfig

    typed = [w for word in overrides for w in own_format_words(word, overrides, config_dir)]
    words = [check_override(word, config_dir) for word in typed]
    overlay = quoted(f"file://{Path(config_dir).resolve()}") if config_dir else ""
    extra = [f"hydra.searchpath=[{overlay}]"] if config_dir else []
    ConfigStore.instance().store(name="dataclass_defaults", node=TrainConfig().to_dict())
    try:
        with initialize_config_module("altgrad.conf", version_base="1.3"):
            composed = compose("config", [*extra, *words], return_hydra_config=True)
        choices = cast(Tree, OmegaConf.to_container(composed.hydra.runtime.choices))
        OmegaConf.set_struct(composed, False)
        composed.pop("hydra")
        values = cast(Tree, OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"the settings cannot be put together: {error}") from None
    origin = origins(values, choices, words, config_dir)
    if values.get("init_from"):
        values, origin = inherit_settings(values, origin, words)
    return say_storage(values, origin)


def own_format_words(word: str, words: list[str], config_dir: str | None) -> list[str]:
    """`model=my_gpt:GPT`, a whole class, is `model.network`.

    `precision=e2m5b4`, a format that no preset has, is the preset e5m2 with that format; and
    `precision.format=e2m5b4`, where no other word says what is rounded, asks for rounding, too."""
    from altgrad.quantization.recipe import is_format

    key, _, value = word.partition("=")
    if key == "model" and NAME.fullmatch(value):
        # Its heads follow model.n_head: what the usual preset says of its own is not for them.
        asked = any(w.startswith("model.n_kv_head=") for w in words)
        return [f"model.network={value}", *([] if asked else ["model.n_kv_head=null"])]
    if key == "precision" and value not in preset_names(config_dir)[key] and is_format(value):
        return [f"precision={ROUNDED_PRESET}", f"precision.format={value}"]
    said = {w.partition("=")[0] for w in words} & {"precision", "precision.simulate", EXPERIMENT}
    if key == "precision.format" and not said and is_format(value):
        return ["precision.simulate=true", word]
    return [word]


ROUNDED_PRESET = "e5m2"
"""The precision preset of which a format without a preset takes everything else."""


def say_storage(
    values: dict[str, Any], origin: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The storage that an optimiser leaves no choice of, unless a word asks for another."""
    from altgrad.optim.build import STORES

    name, precision = values["optim"]["name"], values["precision"]
    typed = origin.get("precision.storage") == "command line"
    if name in STORES and precision["simulate"] and precision["storage"] == "master" and not typed:
        values = {**values, "precision": {**precision, "storage": STORES[name]}}
        origin = {**origin, "precision.storage": f"optim.name={name}"}
    return values, origin


def inherit_settings(
    values: dict[str, Any], origin: dict[str, str], words: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """With `init_from=RUN`: that run's network and tokenizer, where no word says otherwise."""
    from altgrad.runs import resolve_run
    from altgrad.training.build import read_config
    from altgrad.training.finetune import inherit

    run = resolve_run(values["init_from"])
    base = read_config(run).to_dict()
    typed = [word.partition("=")[0] for word in words]
    inherited = inherit(values, base, typed)
    taken = {n for n in flatten(inherited["model"], "model.") if n not in typed}
    taken |= {"data.tokenizer"} - set(typed)
    names = taken if "model" not in typed else set()
    return inherited, origin | dict.fromkeys(names, f"init_from {run.name}")


MAPPINGS = ("precision.modules", "guards.limits")
"""Settings whose keys are the user's own: Hydra adds to a mapping only where it is told to."""


def check_override(word: str, config_dir: str | None) -> str:
    """One `KEY=VALUE` word, or a line that says what is wrong with it."""
    from altgrad.settings import ConfigError, nearest
    from altgrad.training.config import FLAT_NAMES, all_setting_names

    key, equals, value = word.partition("=")
    key = key.lstrip("+")
    if not equals or not key or key.startswith("~"):
        raise ConfigError(f"{word!r} is not KEY=VALUE, such as max_steps=500 or model=gpt2.")
    presets = preset_names(config_dir)
    if key in presets:
        _check_preset(key, value, presets[key])
        return f"{key}={value if value == 'null' else quoted(value)}"
    names = all_setting_names()
    known = any(key == n or n.startswith(f"{key}.") or key.startswith(f"{n}.") for n in names)
    if not known:
        hint = OF_COMPARISONS.get(key) or (
            f" Write {FLAT_NAMES[key]}=…" if key in FLAT_NAMES else nearest(key, [*presets, *names])
        )
        raise ConfigError(
            f"unknown setting {key!r}.{hint} `altgrad config` lists all settings and their values."
        )
    return f"{'++' if key in MAPPINGS else ''}{key}={_readable(key, value)}"


def _readable(key: str, value: str) -> str:
    """The value as Hydra's grammar reads it: a text is the text that was typed, whatever is in it.

    Raises:
        ConfigError: not a text, and nothing that can be read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from altgrad.settings import ConfigError, kind_of
    from altgrad.training.config import TrainConfig

    kinds = _options(kind_of(TrainConfig, key))
    if list[str] in kinds and value.startswith("[") and value.endswith("]"):
        return f"[{','.join(quoted(v) for v in _items(value[1:-1]))}]"
    if str in kinds and not (value == "null" and type(None) in kinds):
        return quoted(value)
    try:
        OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        raise ConfigError(
            f"{key}={value!r} cannot be read. A list is written [a,b]; a text with odd characters "
            "stands in quotes."
        ) from None
    return value


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def quoted(text: str) -> str:
    """`text` in quotes for Hydra, unless it has its own."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text
    return "'" + re.sub(r"(\\*)('|$)", _escaped, text) + "'"


def _escaped(found: re.Match[str]) -> str:
    """Backslashes count only before a quote: there each is doubled, and the quote gets one."""
    return 2 * found[1] + ("\\'" if found[2] else "")


def _items(inside: str) -> list[str]:
    """`a, "b, c"` -> `a` and `"b, c"`: a comma in quotes belongs to its item."""
    found = re.findall(r"""\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^,]*?)\s*(?:,|$)""", inside)
    return found[:-1] if found and not found[-1] else found


BESIDE_PRESETS = {
    "experiment": "; yours go into DIR/experiment/NAME.yaml, found with --config-dir DIR",
    "precision": "; or a format of at most 16 bits by its name, such as e2m5b4 (`altgrad formats`)",
}
"""What else may stand where a preset of a group does."""


def _check_preset(group: str, value: str, allowed: list[str]) -> None:
    from altgrad.settings import ConfigError, nearest

    if value not in allowed and not (group == "experiment" and value == "null"):
        raise ConfigError(
            f"{group}={value!r} is not a preset.{nearest(value, allowed)} "
            f"Allowed: {', '.join(allowed)}{BESIDE_PRESETS.get(group, '')}."
        )


EXPERIMENT = "experiment"
"""The group of whole configurations: a clean control, and the user's own."""


def preset_names(config_dir: str | None = None) -> dict[str, list[str]]:
    """Group -> names of its presets, ours and those of an overlay folder."""
    roots = _roots(config_dir)
    groups = sorted({d.name for root in roots for d in root.iterdir() if d.is_dir()} | {EXPERIMENT})
    return {
        group: sorted({f.stem for root in roots for f in (root / group).glob("*.yaml")})
        for group in groups
        if not group.startswith(("_", "."))
    }


def _roots(config_dir: str | None) -> list[Path]:
    """Folders of presets: ours, and an overlay, whose files win."""
    return [Path(str(files("altgrad.conf")))] + ([Path(config_dir)] if config_dir else [])


def _content(path: Path) -> Tree:
    import yaml

    return yaml.safe_load(path.read_text()) or {} if path.is_file() else {}


def origins(
    values: dict[str, Any], choices: dict[str, Any], words: Iterable[str], config_dir: str | None
) -> dict[str, str]:
    """Full setting name -> the file or word its value comes from; dataclass defaults are absent."""
    roots = _roots(config_dir)
    found: dict[str, str] = {}

    def note(path: Path, prefix: str) -> None:
        content = _content(path)
        content.pop("defaults", None)  # Hydra's own: which presets a file brings along
        for name in flatten(content, prefix):
            found[name] = "/".join(path.parts[-2:]) if path.name != "config.yaml" else path.name

    for root in roots:
        note(root / "config.yaml", "")
        for group, name in choices.items():
            if group != EXPERIMENT:
                note(root / group / f"{name}.yaml", f"{group}.")
        note(root / EXPERIMENT / f"{choices.get(EXPERIMENT)}.yaml", "")
    for word in words:
        key = word.partition("=")[0]
        found |= {
            n: "command line"
            for n in flatten(values)
            if n == key or n.startswith(f"{key}.")
            if key not in choices
        }
    return found


# -- rates of another optimiser -------------------------------------------------------------------


def borrowed_rates(
    config: Any, origin: dict[str, str], words: list[str], config_dir: str | None
) -> str:
    """One line about settings of the optimiser that come from a file written for another one, where
    its own preset says otherwise; empty if there are none.

    An experiment wins over a preset: `experiment=control optim=muon` has the rate of the control's
    AdamW. `optim.name=adamw` alone has those of the preset that it is typed over.
    """
    chosen = next((w.partition("=")[2] for w in words if w.startswith("optim=")), config.optim.name)
    own = _preset_of("optim", chosen, config_dir)
    if own.get("name") != config.optim.name:
        return ""  # code of one's own has no preset, and its rates are for whoever types them
    usual = {**asdict(type(config.optim)()), **own}
    taken = {
        name: file
        for name, file in origin.items()
        if name.startswith("optim.") and getattr(config.optim, _leaf(name)) != usual[_leaf(name)]
        if _written_for(file, config_dir) not in (None, config.optim.name)
    }
    taken = _read_by(config, taken) if taken else {}
    return _said_of_borrowed(config.optim, taken, usual, chosen, config_dir) if taken else ""


def _read_by(config: Any, names: dict[str, str]) -> dict[str, str]:
    # Here: only what trains needs what that table loads.
    from altgrad.training.unread_settings import unread_settings

    unread = unread_settings(config)
    return {name: file for name, file in names.items() if name not in unread}


def _said_of_borrowed(
    optim: Any, taken: dict[str, str], usual: Tree, chosen: str, config_dir: str | None
) -> str:
    files_ = sorted(set(taken.values()))
    theirs = ", ".join(f"{name}={_as_typed(getattr(optim, _leaf(name)))}" for name in taken)
    own = " ".join(f"{name}={_as_typed(usual[_leaf(name)])}" for name in taken)
    meant = ", ".join(f"{file} ({_written_for(file, config_dir)})" for file in files_)
    return f"optim.name={optim.name} has {theirs} from {meant}; the preset optim={chosen} has {own}"


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _as_typed(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"[{text}]" if isinstance(value, list) else {"None": "null"}.get(text, text)


def _written_for(file: str, config_dir: str | None) -> str | None:
    """The optimiser that a file of presets sets rates for; None for what is none."""
    group, _, name = file.partition("/")
    content = _preset_of(group, name.removesuffix(".yaml"), config_dir)
    if group == "optim":
        return content.get("name")
    if group != EXPERIMENT:
        return None
    usual = _content(_roots(config_dir)[0] / "config.yaml")
    lines = [*usual["defaults"], *content.get("defaults", [])]
    said = [line for line in lines if isinstance(line, dict)]
    presets = [v for line in said for k, v in line.items() if k.endswith("optim")]
    brought = _preset_of("optim", presets[-1], config_dir).get("name")
    return (content.get("optim") or {}).get("name") or brought


def _preset_of(group: str, name: str, config_dir: str | None) -> Tree:
    found = [_content(root / group / f"{name}.yaml") for root in _roots(config_dir)]
    return next((content for content in reversed(found) if content), {})


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dict -> `{"model.n_layer": 3}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def presets_help() -> str:
    lines = [f"  {group}={'|'.join(names)}" for group, names in preset_names().items() if names]
    return "presets:\n" + "\n".join(lines)
