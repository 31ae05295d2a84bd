"""The held-out part: validation tokens that only a reckoning reads, and every reading is counted.

`new` cuts the validation tokens in two. The runs of the ledger train and validate on `tokens/`,
which lacks the part in `heldout/`.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from altgrad.compare.launching import apart
from altgrad.data import load_metadata, load_tokens, prepare
from altgrad.data.files import sha256_of, whole_folder
from altgrad.programs import PatchedCode, call
from altgrad.settings import require
from altgrad.training.config import TrainConfig

TOKENS, HELDOUT = "tokens", "heldout"


def folder_of(ledger: Path) -> Path:
    return ledger / HELDOUT


def cut(config: TrainConfig, share: float, ledger: Path) -> None:
    """Write both folders, once; nothing with a share of 0.

    Raises:
        ConfigError: too few validation tokens for two parts.
    """
    if share == 0:
        return
    source = prepare(config.data, block_size=config.model.block_size)
    tokens = len(load_tokens(source, "val"))
    kept = int(tokens * (1 - share))
    block = config.model.block_size + 1
    require(
        min(kept, tokens - kept) >= block,
        f"heldout={share:g} of {tokens:,} validation tokens leaves a part shorter than a block of "
        f"{block - 1}; write heldout=0, or give more validation data.",
    )
    for name, part in ((HELDOUT, slice(kept, None)), (TOKENS, slice(0, kept))):
        if not (ledger / name).is_dir():
            _write(source, ledger / name, part)


def _write(source: Path, target: Path, part: slice) -> None:
    meta = load_metadata(source)
    with whole_folder(target) as folder:
        for path in source.iterdir():
            if path.name not in ("val.bin", "meta.json") and path.is_file():
                _link(path, folder / path.name)
        (folder / "val.bin").write_bytes(load_tokens(source, "val")[part].tobytes())
        if (source / "meta.json").is_file():
            tokens = len(load_tokens(source, "val")[part])
            digest = sha256_of(folder / "val.bin")
            val = replace(
                meta.splits["val"],
                tokens=tokens,
                sha256=digest,
                offset=0,
                **dict.fromkeys(("bytes", "characters", "documents")),
            )
            made = replace(meta, splits={**meta.splits, "val": val})
            made.write(folder)


def _link(path: Path, target: Path) -> None:
    """The same bytes without a second copy, where the disk can."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def losses(runs: dict[str, dict[int, str]], folder: Path) -> dict[str, dict[int, float]]:
    """Arm -> seed -> loss on the held-out part, of each run's last weights."""
    return {
        arm: {s: _loss(Path(run), folder) for s, run in row.items()} for arm, row in runs.items()
    }


def losses_apart(
    runs: dict[str, dict[int, str]], folder: Path, code: PatchedCode | None
) -> dict[str, dict[int, float]]:
    """`losses`, in a process of its own; of a patched network by the code it was trained with."""
    if code is None:
        found_here: dict[str, dict[int, float]] = apart(losses, runs, folder)
        return found_here
    asked = {arm: list(row.items()) for arm, row in runs.items()}
    where = str(folder.absolute())
    found = call(code, "altgrad.ideas.heldout:losses_judged", asked, where)
    return {arm: {int(s): loss for s, loss in row} for arm, row in found.items()}


def losses_judged(runs: dict[str, list[list[Any]]], folder: str) -> dict[str, list[list[Any]]]:
    """In a patched altgrad: from logits, computed here, whatever the network says its loss is."""
    return {
        arm: [[s, _loss(Path(run), Path(folder), Judged)] for s, run in row]
        for arm, row in runs.items()
    }


class Judged:
    """A network that is never shown the targets. Has what `evaluate` asks of one."""

    def __init__(self, network: Any) -> None:
        self.network, self.config = network, network.config

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def __call__(self, x: Any, y: Any, *, loss_reduction: str) -> tuple[Any, Any]:
        from altgrad.training.evaluation import loss_of_logits

        return None, loss_of_logits(self.network, x, y, reduction=loss_reduction)


def _loss(run: Path, folder: Path, judged: Callable[[Any], Any] = lambda m: m) -> float:
    """In the arithmetic the run was trained in; of the tokens alone, whatever text they are."""
    from altgrad import trust
    from altgrad.evaluate.corpus import mean_loss
    from altgrad.evaluate.run import arithmetic
    from altgrad.training.loading import pick_checkpoint, read_config, rounding_network
    from altgrad.training.machine import pick_device

    config = read_config(run)
    trust.allow(trust.names_in(config.to_dict()))
    device = pick_device(config.device)
    with arithmetic(config.precision.compute, device):
        model = rounding_network(config, pick_checkpoint(run, "latest")).to(device)
        batch = config.data.batch_size
        return mean_loss(judged(model), load_tokens(folder, "val"), batch_size=batch)
