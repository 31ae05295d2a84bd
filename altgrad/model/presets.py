"""The presets of `altgrad/conf/model/*.yaml`, for use without the command line."""

from pathlib import Path
from typing import Any

from altgrad.model.config import GPTConfig
from altgrad.settings import check_name

FOLDER = Path(__file__).parents[1] / "conf" / "model"


def preset_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def preset(name: str, **changes: Any) -> GPTConfig:
    """The preset's configuration with some fields changed: `preset("llama", vocab_size=65)`."""
    import yaml

    check_name("preset", name, preset_names())
    values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return GPTConfig(**values | changes)
