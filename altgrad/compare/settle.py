"""What this machine and the data decide about a run, decided once before all runs."""

import copy

from altgrad.data import split_hashes
from altgrad.data.sources import keep_stdin
from altgrad.settings import require
from altgrad.training import build, machine
from altgrad.training.config import TrainConfig
from altgrad.training.finetune import check_start
from altgrad.training.unread_settings import settle_storage, settle_width_rule


def settle(config: TrainConfig, *, elsewhere: bool = False) -> tuple[TrainConfig, str]:
    """The settings as their run will write them, and the hash of its data.

    elsewhere: the runs happen on machines this one knows nothing about, so nothing may be left to
    the machine.

    Raises:
        ValueError: the machine or the data does not allow it, or `elsewhere` leaves something open.
    """
    from altgrad.compare.identity import data_hash

    config = copy.deepcopy(config)
    check_start(config)
    settle_storage(config)
    settle_width_rule(config)
    if elsewhere:
        _refuse_open(config)
    else:
        machine.settle(config)
    keep_stdin(config.data)
    data_dir = build.settle_data(config)
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
