"""What this machine and the data decide about a run, decided once before all runs."""

import copy
from pathlib import Path

from altgrad.data import load_metadata, prepare, split_hashes
from altgrad.data.sources import keep_stdin
from altgrad.training.build import fit_vocabulary
from altgrad.training.config import TrainConfig
from altgrad.training.fabric import pick_compile, pick_compute, pick_device
from altgrad.training.settings import require


def settle(config: TrainConfig, *, elsewhere: bool = False) -> tuple[TrainConfig, str]:
    """The settings as their run will write them, and the hash of its data.

    elsewhere: the runs happen on machines this one knows nothing about, so nothing may be left to
    the machine.

    Raises:
        ValueError: the machine or the data does not allow it, or `elsewhere` leaves something open.
    """
    from altgrad.compare.identity import data_hash

    config = copy.deepcopy(config)
    if elsewhere:
        _refuse_open(config)
    else:
        device = pick_device(config.device)
        config.device = str(device)
        config.precision.compute = pick_compute(config.precision.compute, device)
        config.compile = pick_compile(config.compile, device)
    keep_stdin(config.data)
    data_dir: Path = prepare(config.data, block_size=config.model.block_size)
    fit_vocabulary(config, load_metadata(data_dir))
    return config, data_hash(split_hashes(data_dir))


def _refuse_open(config: TrainConfig) -> None:
    open_settings = {
        "device=cuda": config.device == "auto",
        "precision.compute=bf16-mixed": config.precision.compute == "auto",
        "compile=true": config.compile is None,
    }
    missing = [cure for cure, is_open in open_settings.items() if is_open]
    require(
        not missing,
        "runs on other machines need settings that this one cannot choose for them; write "
        f"{' '.join(missing)} (or other values).",
    )
