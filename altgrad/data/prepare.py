"""From a configuration to a folder of tokens: `train.bin`, `val.bin`, `meta.json`.

The folder's name carries a hash of everything that decides its content (the texts, the tokenizer,
the splits), so a second call finds it and a changed text makes another. It grows under a name of
its own, where an interrupted preparation goes on, and appears by a rename, whole, or not at all.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altgrad.data.config import DataConfig, cache_root
from altgrad.data.corpora import find_corpus
from altgrad.data.download import manifest_path
from altgrad.data.errors import DataError, UnknownCharacters
from altgrad.data.files import DiskError, disk_errors, fsync, lock
from altgrad.data.metadata import (
    FORMAT_VERSION,
    META,
    Metadata,
    SplitInfo,
    check_block,
    load_metadata,
    smallest_dtype,
)
from altgrad.data.sources import (
    WHOLE,
    Progress,
    Source,
    find_source,
    recipe_of,
    refuse_edited,
    rule_of,
)

if TYPE_CHECKING:
    from altgrad.data.passages import Scan
    from altgrad.data.tokenizers import Tokenizer


def prepare(
    config: DataConfig,
    *,
    block_size: int = 1,
    progress: Progress | None = None,
    vocabulary: str | None = None,
) -> Path:
    """The folder of tokens for `config`, made now if it is not in the cache.

    vocabulary: the characters of data.tokenizer=char where they are not the text's own but those of
    a run that goes on, or that another starts from.

    `progress(done, total)` counts bytes, first of what is downloaded, then of what is encoded.
    Raises DataError, one line with the file and the cure, for a text that is missing, empty, not
    UTF-8, damaged, there twice, or shorter than `block_size` + 1 tokens in either split, and for a
    name that is in no table.
    """
    own = vocabulary if config.tokenizer == "char" else None
    brought = _brought.get(_asked(config))
    folder = brought or _own_token_folder(config) or _cached_folder(config, progress, own)
    _check_blocks(folder, block_size)
    return folder


_brought: dict[str, Path] = {}
"""Settings -> their tokens, made on another machine whose texts this one does not have."""


def use_tokens(config: DataConfig, folder: Path) -> None:
    """From now on, in this process, `prepare` gives this folder for these settings and asks for no
    text: whoever calls this has made sure that these are their tokens."""
    _brought[_asked(config)] = folder


def _asked(config: DataConfig) -> str:
    return json.dumps({**asdict(config), "cache_dir": None}, sort_keys=True)


def _own_token_folder(config: DataConfig) -> Path | None:
    path = Path(config.path).expanduser() if config.path else None
    if not path or not (path / "train.bin").is_file():
        return None
    _refuse_unhonoured(config, path)
    return path


def _refuse_unhonoured(config: DataConfig, folder: Path) -> None:
    """Raises DataError for settings that tokens which are there already cannot follow."""
    usual = DataConfig()
    names = ["val_path", "val_fraction", "share", "shards", "text_field", "end_of_text"]
    names += [] if _made_with(config, folder) else ["tokenizer"]
    for name in names:
        value = getattr(config, name)
        if value != getattr(usual, name):
            raise DataError(
                f"data.{name}={value}: {folder} holds tokens that are prepared already, which "
                f"nothing can change; leave data.{name} out, or give the text itself as data.path"
            )


def _made_with(config: DataConfig, folder: Path) -> bool:
    """Whether the tokens in `folder` are those of the tokenizer that `config` names."""
    from altgrad.data.tokenizers import identify

    theirs = load_metadata(folder).tokenizer or {}
    asked = identify(config.tokenizer, cache_root(config))
    return all(theirs.get(key) == asked[key] for key in ("name", "sha256") if key in asked)


def _cached_folder(config: DataConfig, progress: Progress | None, vocabulary: str | None) -> Path:
    from altgrad.data.tokenizers import identify

    identity = identify(config.tokenizer, cache_root(config))
    source = find_source(config)
    target = folder_of(config, source, identity)
    if vocabulary is not None and not _reads(target, vocabulary):
        identity["vocabulary"] = vocabulary
        target = folder_of(config, source, identity)
    if (target / META).is_file():
        return target
    with disk_errors(target), lock(target):
        # Another process may have made it while this one waited.
        if not (target / META).is_file():
            source.fetch(progress)
            _build(config, source, identity, target, progress)
    return target


def _reads(folder: Path, vocabulary: str) -> bool:
    """Whether the folder is there and cut with just these characters: then it serves as it is."""
    if not (folder / META).is_file():
        return False
    return (load_metadata(folder).tokenizer or {}).get("vocabulary") == vocabulary


def folder_of(config: DataConfig, source: Source, identity: dict[str, Any]) -> Path:
    """Where the tokens of this source belong."""
    recipe = {"format_version": FORMAT_VERSION, **recipe_of(config, source, identity)}
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    name = f"{source.corpus}-{identity['name'].replace(':', '.')}-{key}"
    return cache_root(config) / "tokens" / name


def prepared_folder(config: DataConfig) -> Path | None:
    """The folder that `prepare` would return, if it is there already; never asks the network."""
    from altgrad.data.tokenizers import identify

    corpus = find_corpus(config.name) if config.path is None else None
    root = cache_root(config)
    if corpus and corpus.hub and not manifest_path(root / "corpora" / corpus.name).is_file():
        return None
    folder = folder_of(config, find_source(config), identify(config.tokenizer, root))
    return folder if (folder / META).is_file() else None


def _build(
    config: DataConfig,
    source: Source,
    identity: dict[str, Any],
    target: Path,
    progress: Progress | None,
) -> None:
    partial = target.with_name(f".{target.name}.partial")
    try:
        _write_tokens(config, source, identity, partial, progress)
    except BaseException as error:
        # A full disk or an interruption leaves something to go on with; bad input does not.
        lost = isinstance(error, DataError) and not isinstance(error, DiskError)
        if lost or not (partial / "state.json").is_file():
            shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(target)
    fsync(target.parent)


def _write_tokens(
    config: DataConfig,
    source: Source,
    identity: dict[str, Any],
    folder: Path,
    progress: Progress | None,
) -> None:
    from altgrad.data.partial import scanned
    from altgrad.data.passages import scan
    from altgrad.data.tokenizers import build_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    to_scan = WHOLE in source.splits or identity["name"] in ("char", "byte")
    count = _Counter(progress, source.size_bytes * (2 if to_scan else 1))
    found = scanned(folder, lambda: scan(config, source, count)) if to_scan else None
    count.at_least(source.size_bytes * to_scan)
    cache = cache_root(config)
    characters = found.vocabulary if found else ""
    tokenizer = build_tokenizer(identity, identity.get("vocabulary", characters), cache)
    if "vocabulary" in identity:
        _refuse_unknown_characters(source, characters, identity["vocabulary"])
    splits = _encode_all(config, source, folder, tokenizer, found, count)
    refuse_edited(source)
    _finish_folder(folder, _describe(config, source, tokenizer, splits), tokenizer)


def _refuse_unknown_characters(source: Source, characters: str, vocabulary: str) -> None:
    """Before anything is encoded, and all of them at once."""
    unknown = sorted(set(characters) - set(vocabulary))
    if unknown:
        listed = ", ".join("end of text" if c == "\0" else repr(c) for c in unknown[:8])
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise UnknownCharacters(
            f"{source.corpus} has {listed}{more}, not among the {len(vocabulary)} characters of "
            "the run that it is to be read with"
        )


def _encode_all(
    config: DataConfig,
    source: Source,
    folder: Path,
    tokenizer: "Tokenizer",
    found: "Scan | None",
    count: Callable[[int], None],
) -> dict[str, SplitInfo]:
    from altgrad.data.chunks import chunks
    from altgrad.data.encode import count_workers, encode_in_order
    from altgrad.data.partial import Partial
    from altgrad.data.passages import passages

    dtype = smallest_dtype(tokenizer.vocab_size)
    partial = Partial(folder, dtype)
    stream = chunks(passages(config, source, found), end=config.end_of_text)
    stream = islice(stream, partial.chunks_done, None)
    workers = count_workers(config.workers, source.size_bytes)
    count(partial.file_bytes_done)
    try:
        for encoded in encode_in_order(stream, tokenizer, dtype, cache_root(config), workers):
            partial.add(encoded)
            count(encoded.file_bytes)
        return partial.finish()
    finally:
        partial.close()


def _describe(
    config: DataConfig, source: Source, tokenizer: "Tokenizer", splits: dict[str, SplitInfo]
) -> Metadata:
    described = [file.describe(s) for s, files in source.splits.items() for file in files]
    return Metadata(
        corpus=source.corpus,
        licence=source.licence,
        sources=described,
        split_rule=rule_of(config, source),
        tokenizer=tokenizer.describe(),
        vocab_size=tokenizer.vocab_size,
        dtype=smallest_dtype(tokenizer.vocab_size),
        splits=splits,
    )


def _finish_folder(folder: Path, meta: Metadata, tokenizer: "Tokenizer") -> None:
    """Add the description and the tokenizer's file, drop what only a resumption needed."""
    path = getattr(tokenizer, "path", None)
    if path is not None:
        shutil.copyfile(path, folder / path.name)
    for name in ("state.json", "scan.json"):
        (folder / name).unlink(missing_ok=True)
    meta.write(folder)
    for written in [*folder.iterdir(), folder]:
        fsync(written)


class _Counter:
    """Adds up what is done and tells `progress`."""

    def __init__(self, progress: Progress | None, total: int):
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, count: int) -> None:
        self.at_least(self._done + count)

    def at_least(self, done: int) -> None:
        """Also what an earlier attempt has done counts."""
        if done > self._done:
            self._done = done
            if self._progress:
                self._progress(done, self._total)


def _check_blocks(folder: Path, block_size: int) -> None:
    meta = load_metadata(folder)
    for split in ("train", "val"):
        tokens = meta.splits[split].tokens if split in meta.splits else 0
        check_block(tokens, block_size, what=f"the {split} split of {meta.corpus}")
