"""Reading finished and running runs back from their folders, for tables. Loads no torch."""

import math
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from altgrad.runs.folder import END_STATES, RunFolder, run_status
from altgrad.runs.lines import read_events, read_metrics
from altgrad.runs.reading import read_settings


@dataclass
class RunSummary:
    """One line of `altgrad show`. Losses are nats per token; None = not known (yet).

    wall_s, energy_j: what the run had cost when its last session ended. program: the command of a
    run that was none of altgrad's; its steps are its own matter (`max_steps` 0).
    """

    name: str
    path: str
    status: str
    step: int
    max_steps: int
    best_val_loss: float | None
    val_loss: float | None
    precision: str
    optimiser: str
    layers: int
    width: int
    train_s: float | None
    tokens_per_s: float | None
    seed: int
    data: str
    wall_s: float | None
    energy_j: float | None
    peak_memory_bytes: int | None
    trouble: int
    alerts: int
    program: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise_run(root: Path) -> RunSummary:
    """What the folder says about its run."""
    folder = RunFolder(root)
    config = read_settings(folder.config, programs=True)
    events = list(read_events(folder.events))
    val_losses = array("d")
    costs = costs_of(noting("val_loss", val_losses, read_metrics(folder.metrics)), events)
    ended: dict[str, Any] = next((e for e in reversed(events) if e.get("event") in END_STATES), {})
    measured = {"best_val_loss": min(filter(math.isfinite, val_losses), default=None)}
    measured |= {"val_loss": val_losses[-1] if val_losses else None}
    common = {
        "name": root.name,
        "path": str(root),
        "status": run_status(root),
        "max_steps": config["max_steps"],
        "seed": config["seed"],
        "wall_s": ended.get("wall_s"),
        "energy_j": ended.get("energy_j"),
        "trouble": sum(e.get("event") == "trouble" for e in events),
        "alerts": sum(e.get("event") == "alert" for e in events),
        **measured,
        **costs,
    }
    of_run = _of_program if "program" in config else _of_training
    return RunSummary(**common, **of_run(config))


def _of_training(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "precision": describe_precision(config["precision"]),
        "optimiser": str(config["optim"]["name"]),
        "layers": config["model"]["n_layer"],
        "width": config["model"]["n_embd"],
        "data": str(config["data"]["path"] or config["data"]["name"]),
    }


def _of_program(config: dict[str, Any]) -> dict[str, Any]:
    words = [config["program"], *map(str, config["args"]), *map(str, config["patches"].values())]
    unknown = {"precision": "", "optimiser": "", "layers": 0, "width": 0}
    return {**unknown, "data": config["cwd"], "program": " ".join(words)}


def noting(
    name: str, values: "array[float]", lines: Iterable[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The lines as they come; one metric's values are left behind in `values`. A run of a million
    steps is read once, and no more of it kept than is asked for."""
    for line in lines:
        if name in line:
            with suppress(OverflowError):  # digits without end, in a damaged line
                values.append(line[name])
        yield line


def costs_of(lines: Iterable[dict[str, Any]], events: list[dict[str, Any]]) -> dict[str, Any]:
    """How far a run came and what that took: step, train_s, tokens_per_s (median) and
    peak_memory_bytes, of the GPU if the run used one, else of its process."""
    last: dict[str, Any] = {}
    kept = array("d")
    for line in noting("tokens_per_s", kept, lines):
        last = line
    rates = sorted(kept)
    said = next((e["train_s"] for e in reversed(events) if "train_s" in e), None)  # a program's
    peaks = [
        [e[name] for e in events if isinstance(e.get(name), int | float) and e[name]]
        for name in ("peak_gpu_bytes", "peak_memory_bytes")
    ]
    return {
        "step": last.get("step", 0),
        "train_s": last.get("train_s", said),
        "tokens_per_s": rates[len(rates) // 2] if rates else None,
        "peak_memory_bytes": max(peaks[0] or peaks[1], default=None),
    }


def tokens_per_step(settings: dict[str, Any]) -> int:
    """Tokens an optimiser step learns from, over all processes."""
    batch = settings["data"]["batch_size"] * settings["accumulation"] * settings["devices"]
    return int(batch * settings["model"]["block_size"])


def describe_precision(settings: dict[str, Any]) -> str:
    """`bf16-mixed`, or `e4m3/e5m2 in bf16-mixed` for a rounded run: weights and inputs in E4M3,
    gradients in E5M2. What is stored on the grid is said, too."""
    compute = str(settings["compute"])
    if not settings.get("simulate"):
        return compute
    roles = [settings.get(role) or {} for role in ("weight", "input", "grad_output")]
    formats = "/".join(dict.fromkeys(str(r.get("format") or settings["format"]) for r in roles))
    stored = settings.get("storage", "master")
    return f"{formats} in {compute}" + (f", stored {stored}" if stored != "master" else "")


def checkpoint_folder(run: Path, settings: dict[str, Any]) -> Path:
    """Where a run's checkpoints lie; those that lay in its folder moved along with it."""
    named, old_run = settings.get("checkpoint_dir"), settings.get("run_dir")
    if not named:
        return RunFolder(run).checkpoints
    if old_run and Path(named).is_relative_to(old_run):
        return run / Path(named).relative_to(old_run)
    return Path(named)


__all__ = [
    "RunSummary",
    "checkpoint_folder",
    "costs_of",
    "describe_precision",
    "noting",
    "read_settings",
    "summarise_run",
    "tokens_per_step",
]
