"""Jobs of the workshop: each loads torch, takes and gives plain values."""

import math
from pathlib import Path
from typing import Any

from altgrad.runs import plain


def flops_per_step(run: Path) -> float:
    """Of the run's network, counted without making weights."""
    from altgrad.compare.budget import flops_per_step as count
    from altgrad.training.loading import read_config

    return count(read_config(run))


def operand_histograms(run: Path) -> list[dict[str, Any]]:
    """Where weights, inputs and gradients lie within their formats, a row an operand."""
    from altgrad.training.recording.numerics_plots import spreads_of

    return [
        {
            "layer": s.layer,
            "role": s.role,
            "format": s.format.name,
            "lowest": s.lowest,
            "shares": s.shares,
            "zero": s.zero,
            "to_zero": math.log2(s.format.smallest_subnormal / 2),
            "subnormal": math.log2(s.format.smallest_normal),
            "largest": math.log2(s.format.max),
        }
        for s in spreads_of(run)
    ]


def next_token_odds(run: Path, text: str, precision: str) -> dict[str, Any]:
    """Odds under the run's own precision, and under another preset of the same weights."""
    from altgrad.compose import compose_config
    from altgrad.evaluate.next_token import odds_under
    from altgrad.training.loading import load_run

    loaded = _loaded(run, load_run)
    other = compose_config([f"precision={precision}"], all_read=False).precision
    return odds_under(loaded, text, other, label=precision)


_kept: dict[str, Any] = {}


def _loaded(run: Path, load: Any) -> Any:
    """The run that was asked for last stays, until it has a newer checkpoint."""
    newest = max((p.stat().st_mtime_ns for p in run.glob("checkpoints/*")), default=0)
    key = f"{run} {newest}"
    if key not in _kept:
        _kept.clear()
        _kept[key] = load(run)
    return _kept[key]


def checked_checkpoints(run: Path) -> list[dict[str, Any]]:
    """Each checkpoint, and whether every byte is what was written."""
    from altgrad.training.checkpoints import CheckpointError, checkpoints_of, load_checkpoint

    found = []
    for path in checkpoints_of(run).named():
        try:
            load_checkpoint(path)
            found.append({"name": path.name, "whole": True, "why": ""})
        except CheckpointError as error:
            found.append({"name": path.name, "whole": False, "why": str(error)})
    return found


def ledger(folder: Path) -> dict[str, Any]:
    """The table and the picture of a ledger of ideas."""
    from altgrad.ideas.ledger import LedgerFile
    from altgrad.ideas.picture import COLOUR, points, reckoned
    from altgrad.ideas.state import read_state
    from altgrad.ideas.table import head, to_dict

    state = read_state(LedgerFile(folder).entries())
    return {
        **plain(to_dict(state)),
        "head": head(state),
        "primary": state.terms.primary,
        "points": plain([vars(p) for p in points(state)]),
        "reckoned": plain([vars(r) for r in reckoned(state)]),
        "colours": COLOUR,
    }
