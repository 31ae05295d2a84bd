"""A door: `from altgrad.training.data import get_batch, prepare_eurlex`. Tokens live in `data/`."""

import os
import shutil
from pathlib import Path

from altgrad.data import DataConfig, get_batch, prepare


def prepare_eurlex(
    data_dir: str | Path, subset: float | None = None, *, tokenizer: str = "gpt2"
) -> Path:
    """EU laws in English as `train.bin`, `val.bin` and `meta.json` in `data_dir`; returns it.

    Downloaded and tokenized once, in altgrad's cache, as `altgrad data prepare eurlex` does.

    subset: the share of the training documents, above 0 and at most 1; None = all.

    Raises:
        DataError: the corpus cannot be reached, or `subset` is no share.
    """
    config = DataConfig(name="eurlex", tokenizer=tokenizer, share=1.0 if subset is None else subset)
    prepared, folder = prepare(config), Path(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for file in prepared.iterdir():
        _put(file, folder / file.name)
    return folder


def _put(file: Path, target: Path) -> None:
    """A second name for the file where the disk has such, else a copy; whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.link(file, temporary)
    except OSError:
        shutil.copyfile(file, temporary)
    temporary.replace(target)


__all__ = ["get_batch", "prepare_eurlex"]
