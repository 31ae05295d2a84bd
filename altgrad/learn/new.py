"""`altgrad new`: a file to begin a part of one's own with, which runs and passes `verify`."""

import keyword
from importlib.resources import files
from pathlib import Path

from altgrad.settings import ConfigError, check_name

KINDS = {
    "attention": "model.attention={}:Attention",
    "mlp": "model.mlp={}:MLP",
    "norm": "model.norm={}:Norm",
    "block": "model.block={}:Block",
    "optimiser": "optim=adamw optim.name={}:Optimiser",
    "schedule": "schedule.name={}:schedule",
    "metric": "'diagnostics.own=[{}:Metric]'",
    "tokenizer": "data.tokenizer={}:Tokenizer",
    "tracker": "'tracker.names=[{}:Tracker]'",
    "format": "precision={}",
}
"""Kind of part -> the words that use it, with the file's name in them. Each has a file in
`templates/`."""

GROUP = "precision"
"""Presets lie in a folder of their group's name."""


def write_part(kind: str, path: Path) -> tuple[Path, str]:
    """Write the file; returns where it is, and the words to use it with.

    A format is a preset, which lies in a folder `precision`: it is put there if it does not.

    Raises:
        ConfigError: there is a file already, or its name cannot be imported.
    """
    check_name("kind of part", kind, KINDS)
    suffix = ".yaml" if kind == "format" else ".py"
    path = path if path.suffix else path.with_suffix(suffix)
    if path.suffix != suffix or not path.stem.isidentifier() or keyword.iskeyword(path.stem):
        raise ConfigError(
            f"{path}: a {kind} of your own stands in NAME{suffix}, such as mine{suffix}"
        )
    if kind == "format" and path.parent.name != GROUP:
        path = path.parent / GROUP / path.name
    if path.exists():
        raise ConfigError(f"{path} is there already; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(kind, path), encoding="utf-8")
    return path, _words(kind, path)


def _text(kind: str, path: Path) -> str:
    template = files("altgrad.learn") / "templates" / f"{kind}{path.suffix}"
    text = template.read_text(encoding="utf-8")
    text = text.replace("mine:", f"{path.stem}:").replace(
        "precision=mine", f"precision={path.stem}"
    )
    text = text.replace("e4m3,mine", f"e4m3,{path.stem}").replace("mine.log", f"{path.stem}.log")
    return text.replace("--config-dir DIR", f"--config-dir {path.parent.parent}")


def _words(kind: str, path: Path) -> str:
    words = KINDS[kind].format(path.stem)
    return f"--config-dir {path.parent.parent} {words}" if kind == "format" else words
