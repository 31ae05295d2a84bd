"""Whether a run's tokens are still those it was trained on: asked by everyone who reads them.

`data.json` in the run's folder holds their sha256.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from altgrad.data import DataConfig, prepare
from altgrad.data.errors import UnknownCharacters
from altgrad.data.files import sha256_of
from altgrad.runs import RunFolder
from altgrad.settings import ConfigError

SOURCE = (
    "data.name",
    "data.path",
    "data.val_path",
    "data.tokenizer",
    "data.val_fraction",
    "data.share",
    "data.shards",
    "data.text_field",
)
"""Settings that say which tokens a run reads: only a change of these permits others."""


def require_same_tokens(
    run: Path, data_dir: Path, *, splits: Iterable[str] | None = None, changed: Iterable[str] = ()
) -> None:
    """Refuse tokens the run was not trained on. Reads them: a description outlives a changed file.

    Args:
        splits: those that are read, by default all.
        changed: names of settings that differ from the run's own on purpose.

    Raises:
        ConfigError: naming the file and the cure.
    """
    recorded = recorded_hashes(run) or {}
    if set(SOURCE).intersection(changed):
        return
    for split in recorded if splits is None else splits:
        path = data_dir / f"{split}.bin"
        if split in recorded and (not path.is_file() or sha256_of(path) != recorded[split]):
            raise ConfigError(
                f"{path} is not what {run} was trained on (its sha256 differs from data.json): the "
                "text was changed; bring the original data back."
            )


def tokens_again(
    run: Path,
    data: DataConfig,
    *,
    block_size: int,
    vocabulary: str | None,
    splits: Iterable[str] | None = None,
) -> Path:
    """The folder of tokens of a run, prepared anew where the cache has lost it.

    vocabulary: the run's characters, if it reads those. splits: those that will be read.

    Raises:
        ConfigError: they are no longer those it was trained on. DataError: the text is not there.
    """
    try:
        folder = prepare(data, block_size=block_size, vocabulary=vocabulary)
    except UnknownCharacters as error:
        raise other_text(run, error) from None
    require_same_tokens(run, folder, splits=splits)
    return folder


def other_text(run: Path, error: UnknownCharacters) -> ConfigError:
    return ConfigError(
        f"{error}: it is not the text {run} was trained on, or was changed since; bring the "
        "original data back"
    )


def recorded_hashes(run: Path) -> dict[str, str] | None:
    """Split -> sha256, out of `data.json`; None if a run was killed before it was written."""
    try:
        return dict(json.loads(RunFolder(run).data.read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def replaced_tokens(folder: RunFolder, data: dict[str, Any]) -> dict[str, Any]:
    """What `data.json` says of the tokens read so far, if `data` are others; else empty."""
    before = recorded_hashes(folder.root)
    if before is None or before == data["sha256"]:
        return {}
    then = json.loads(folder.data.read_text())
    return {name: then.get(name) for name in ("corpus", "data_dir", "sha256")}
