"""From a configuration to a folder of tokens: `train.bin`, `val.bin`, `meta.json`.

The folder's name carries a hash of everything that decides its content (the text, the tokenizer,
the split), so a second call finds it and a changed text makes another. It appears by a rename,
whole, or not at all.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad.data.config import DataConfig, cache_root
from altgrad.data.corpora import find_corpus
from altgrad.data.errors import DataError
from altgrad.data.fetch import fetch
from altgrad.data.files import sha256_of, whole_folder
from altgrad.data.metadata import FORMAT_VERSION, META, Metadata, SplitInfo, load_metadata

Progress = Callable[[int, int], None]
ENCODE_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Source:
    """A text file on this disk, and what is known about it."""

    corpus: str
    licence: str
    path: Path
    sha256: str
    url: str | None = None


def prepare(config: DataConfig, *, block_size: int = 1, progress: Progress | None = None) -> Path:
    """The folder of tokens for `config`, made now if it is not in the cache.

    `progress(done, total)` counts characters. Raises DataError, one line with the file and the
    cure, for a text that is missing, empty, not UTF-8, or shorter than `block_size` + 1 tokens in
    either split, and for a name that is in no table.
    """
    from altgrad.data.tokenizers import check_tokenizer_name

    check_tokenizer_name(config.tokenizer)
    folder = _own_token_folder(config) or _cached_folder(config, progress)
    _check_blocks(folder, block_size)
    return folder


def _own_token_folder(config: DataConfig) -> Path | None:
    path = Path(config.path).expanduser() if config.path else None
    return path if path and (path / "train.bin").is_file() else None


def _cached_folder(config: DataConfig, progress: Progress | None) -> Path:
    source = _find_source(config)
    recipe = {
        "format_version": FORMAT_VERSION,
        "sha256": source.sha256,
        "tokenizer": config.tokenizer,
        "val_fraction": config.val_fraction,
    }
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    target = cache_root(config) / "tokens" / f"{source.corpus}-{config.tokenizer}-{key}"
    if not (target / META).is_file():
        with whole_folder(target) as folder:
            _write_tokens(config, source, folder, progress)
    return target


def _find_source(config: DataConfig) -> Source:
    if config.path is None:
        corpus = find_corpus(config.name)
        published = corpus.files[0]
        path = fetch(published, cache_root(config) / "corpora" / corpus.name)
        return Source(corpus.name, corpus.licence, path, published.sha256, published.url)
    path = Path(config.path).expanduser()
    if not path.exists():
        raise DataError(f"data.path={config.path}: there is no such file")
    if not path.is_file():
        raise DataError(f"data.path={config.path}: not a file; give one UTF-8 text file")
    return Source(path.stem, "your own", path, sha256_of(path))


def read_text(path: Path) -> str:
    """The file's text, exactly: UTF-8, no newline translated. Raises DataError with the place."""
    content = path.read_bytes()
    if not content:
        raise DataError(f"{path} is empty; give a file with some text in it")
    if b"\0" in content:
        raise DataError(
            f"{path} holds a NUL byte at offset {content.index(0)}, so it is binary or UTF-16; "
            f"give UTF-8 text, for example: iconv -f utf-16 -t utf-8 {path} > utf8.txt"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 (byte 0x{content[error.start]:02x} at offset {error.start}); "
            f"convert it, for example: iconv -f latin1 -t utf-8 {path} > utf8.txt"
        ) from error


def _write_tokens(
    config: DataConfig, source: Source, folder: Path, progress: Progress | None
) -> None:
    from altgrad.data.tokenizers import build_tokenizer

    text = read_text(source.path)
    tokenizer = build_tokenizer(config.tokenizer, text, cache_root(config))
    cut = int(len(text) * (1 - config.val_fraction))
    counted = _counted(progress, len(text))
    parts = {"train": text[:cut], "val": text[cut:]}
    splits = {
        split: _write_split(folder / f"{split}.bin", part, tokenizer, counted)
        for split, part in parts.items()
    }
    Metadata(
        corpus=source.corpus,
        licence=source.licence,
        sources=[{"file": source.path.name, "sha256": source.sha256, "url": source.url}],
        split_rule=f"first {1 - config.val_fraction:.6g} of the characters train, the rest val",
        tokenizer=tokenizer.describe(),
        vocab_size=tokenizer.vocab_size,
        dtype=_dtype(tokenizer),
        splits=splits,
    ).write(folder)


def _write_split(
    path: Path, text: str, tokenizer: Any, counted: Callable[[int], None]
) -> SplitInfo:
    digest = hashlib.sha256()
    tokens = 0
    with open(path, "wb") as file:
        for piece in pieces(text):
            ids = tokenizer.encode_array(piece).astype(_dtype(tokenizer))
            content = ids.tobytes()
            file.write(content)
            digest.update(content)
            tokens += len(ids)
            counted(len(piece))
    return SplitInfo(tokens, len(text.encode()), len(text), digest.hexdigest())


def pieces(text: str, size: int = ENCODE_CHARACTERS) -> list[str]:
    """Cut a long text so that encoding the pieces gives the same tokens as encoding the whole.

    A cut falls only before a space that follows something else than white space: every byte-pair
    pattern in use starts a new word there.
    """
    cuts = [0]
    while len(text) - cuts[-1] > size:
        at = text.find(" ", cuts[-1] + size)
        while at > 0 and text[at - 1].isspace():
            at = text.find(" ", at + 1)
        if at < 0:
            break
        cuts.append(at)
    return [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def _dtype(tokenizer: Any) -> str:
    from altgrad.data.tokens import smallest_dtype

    return smallest_dtype(tokenizer.vocab_size)


def _counted(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    return add


def _check_blocks(folder: Path, block_size: int) -> None:
    from altgrad.data.tokens import check_block

    meta = load_metadata(folder)
    for split, info in meta.splits.items():
        check_block(info.tokens, block_size, what=f"the {split} split of {meta.corpus}")
