"""`meta.json`: what stands in a folder of tokens, and exactly how it came there."""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from altgrad.data.errors import DataError
from altgrad.data.files import sha256_of
from altgrad.trust import said_by

META = "meta.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class SplitInfo:
    """One `.bin` file. `bytes` and `characters` are those of the text it was made from.

    lost: how many pieces of it the tokenizer does not give back as they were.
    offset: bytes of a header before the first token.
    """

    tokens: int
    bytes: int | None = None
    characters: int | None = None
    documents: int | None = None
    sha256: str | None = None
    lost: int | None = None
    offset: int = 0


@dataclass(frozen=True)
class Metadata:
    """The description of a folder of tokens.

    A folder of plain `uint16` files, as nanoGPT makes it, has none of its own: its vocabulary,
    tokenizer and byte counts are then None, and `largest_token` is what was found in it.
    """

    corpus: str
    licence: str
    sources: list[dict[str, Any]]
    split_rule: str
    tokenizer: dict[str, Any] | None
    vocab_size: int | None
    dtype: str
    splits: dict[str, SplitInfo]
    format_version: int = FORMAT_VERSION
    largest_token: int | None = None

    def text_bytes(self, split: str = "val") -> int | None:
        """UTF-8 bytes that a split's tokens stand for, the divisor of bits per byte.

        None where they are not known, or the tokenizer does not give them all back.
        """
        info = self.splits[split]
        return None if info.lost else info.bytes

    def refuse_too_large(self, vocab_size: int) -> None:
        """Raises DataError where plain tokens do not fit a vocabulary of `vocab_size`."""
        if self.largest_token is not None and self.largest_token >= vocab_size:
            raise DataError(
                f"{self.corpus} holds the token {self.largest_token:,}, and a vocabulary of "
                f"{vocab_size:,} ends at {vocab_size - 1:,}; set model.vocab_size, or say in its "
                'meta.json what the files hold: {"dtype": "uint32"}'
            )

    def bytes_per_token(self, split: str = "val") -> float | None:
        """UTF-8 bytes of text per token; None if it is not known."""
        info = self.splits[split]
        return info.bytes / info.tokens if info.bytes and info.tokens else None

    def write(self, folder: Path) -> None:
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True)
        (folder / META).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Metadata":
        splits = {name: SplitInfo(**info) for name, info in content["splits"].items()}
        return cls(**{**content, "splits": splits})


def load_metadata(folder: str | Path) -> Metadata:
    """Read `meta.json`, or describe a plain folder of tokens by its files (see `plain`).

    Raises DataError for a folder that holds no tokens, or an unreadable or newer description.
    """
    folder = Path(folder)
    path = folder / META
    if not path.is_file():
        return _describe_plain(folder, {})
    try:
        content = said_by(path, json.loads(path.read_text(encoding="utf-8")))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        if "dtype" in content and "splits" not in content:
            return _describe_plain(folder, content)
        version = content["format_version"]
        if version == FORMAT_VERSION:
            return Metadata.from_dict(content)
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); delete {folder}, if its text is at hand, and prepare "
            "again"
        ) from error
    raise DataError(f"{path} has format version {version}, this altgrad reads {FORMAT_VERSION}")


def _describe_plain(folder: Path, given: dict[str, Any]) -> Metadata:
    from altgrad.data.plain import plain_facts

    facts = plain_facts(folder, given)
    return Metadata(
        corpus=folder.name,
        licence="unknown",
        sources=[],
        split_rule="unknown",
        tokenizer=None,
        vocab_size=facts["vocab_size"],
        dtype=facts["dtype"],
        splits={s: SplitInfo(n, offset=facts["offset"]) for s, n in facts["counts"].items()},
        largest_token=facts["largest"],
    )


def split_hashes(folder: str | Path) -> dict[str, str]:
    """sha256 of each split's tokens, of the files as they are now.

    Raises DataError where that is not what `meta.json` says.
    """
    folder = Path(folder)
    return {
        name: _hash_of(folder, name, info) for name, info in load_metadata(folder).splits.items()
    }


def _hash_of(folder: Path, split: str, info: SplitInfo) -> str:
    path = folder / f"{split}.bin"
    if not path.is_file():
        raise DataError(f"{path} is missing; delete {folder} and prepare again")
    stat = path.stat()
    found = _hash_now(path, (stat.st_size, stat.st_mtime_ns, stat.st_ino))
    if info.sha256 is not None and found != info.sha256:
        raise DataError(
            f"{path} is not what it was when it was prepared (its sha256 is not that of "
            f"{META}); delete {folder} and prepare again"
        )
    return found


@lru_cache(maxsize=64)
def _hash_now(path: Path, stamp: tuple[int, ...]) -> str:
    """Read once as long as `stamp` (size, time of change, inode) stays."""
    del stamp
    return sha256_of(path)


def smallest_dtype(vocab_size: int) -> str:
    """The narrowest token type on disk: `uint16` up to 65,536 tokens, else `uint32`."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def check_block(tokens: int, block_size: int, *, what: str) -> None:
    """Refuse a split too short for one block and the token that follows it."""
    if tokens == 0:
        raise DataError(
            f"{what} has no tokens: documents are not cut, and none begins in its share of the "
            "text; change data.val_fraction, or name a validation text with data.val_path"
        )
    if tokens <= block_size:
        raise DataError(
            f"{what} has {tokens:,} tokens, fewer than the {block_size + 1:,} that one block "
            f"needs (model.block_size={block_size} and the token after it); use a longer text, "
            "a smaller model.block_size or another data.val_fraction"
        )
