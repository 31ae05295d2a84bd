"""Every preset of every group, from `altgrad/conf`."""

from pathlib import Path

from reference_tables.markdown import code, prose, table

CONF = Path(__file__).parents[2] / "altgrad" / "conf"


def presets() -> str:
    """A table a group; the preset that a run has unless another is typed is marked."""
    groups = [folder for folder in sorted(CONF.iterdir()) if any(folder.glob("*.yaml"))]
    usual = usual_presets()
    return "\n".join(
        f"## `{group.name}=`\n\n"
        + table(
            ("preset", "what it is", "settings"),
            (_row(path, usual.get(group.name)) for path in sorted(group.glob("*.yaml"))),
        )
        for group in groups
    )


def usual_presets() -> dict[str, str]:
    """Group -> its preset in `config.yaml`."""
    import yaml

    entries = yaml.safe_load((CONF / "config.yaml").read_text())["defaults"]
    named = (entry for entry in entries if isinstance(entry, dict))
    return {key.split()[-1]: value for entry in named for key, value in entry.items() if value}


def _row(path: Path, usual: str | None) -> list[str]:
    lines = path.read_text().splitlines()
    remarks = []
    for line in lines:
        if not line.startswith("#"):
            break
        remarks += [] if "@package" in line else [line.lstrip("# ")]
    name = code(path.stem) + (" (usual)" if path.stem == usual else "")
    return [name, prose(" ".join(remarks)), _settings(path)]


def _settings(path: Path) -> str:
    import yaml

    from altgrad.commands.config import yaml_of
    from altgrad.compose import flatten

    values = yaml.safe_load(path.read_text()) or {}
    kept = {k: v for k, v in flatten(values).items() if not k.startswith("defaults")}
    return " ".join(code(f"{name}={yaml_of(value)}") for name, value in kept.items())
