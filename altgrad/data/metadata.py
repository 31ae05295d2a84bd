"""`meta.json`: what stands in a folder of tokens, and exactly how it came there."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from altgrad.data.errors import DataError
from altgrad.data.files import sha256_of
from altgrad.trust import said_by

META = "meta.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class SplitInfo:
    """One `.bin` file. `bytes` and `characters` are those of the text it was made from."""

    tokens: int
    bytes: int | None = None
    characters: int | None = None
    documents: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Metadata:
    """The description of a folder of tokens.

    A folder of plain `uint16` files, as nanoGPT makes it, has none of its own: its vocabulary,
    tokenizer and byte counts are then None.
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

    def bytes_per_token(self, split: str = "val") -> float | None:
        """UTF-8 bytes of text per token, the divisor of bits per byte; None if it is not known."""
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
    """Read `meta.json`, or describe a plain folder of `uint16` tokens by its file sizes.

    Raises DataError for a folder that holds no tokens, or an unreadable or newer description.
    """
    folder = Path(folder)
    path = folder / META
    if not path.is_file():
        return _describe_plain(folder)
    try:
        content = said_by(path, json.loads(path.read_text(encoding="utf-8")))
        version = content["format_version"]
        if version == FORMAT_VERSION:
            return Metadata.from_dict(content)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); delete {folder} and prepare again"
        ) from error
    raise DataError(f"{path} has format version {version}, this altgrad reads {FORMAT_VERSION}")


def _describe_plain(folder: Path) -> Metadata:
    splits = {}
    for split in ("train", "val"):
        path = folder / f"{split}.bin"
        if not path.is_file():
            raise DataError(f"{path} is missing; `altgrad data prepare` makes a folder of tokens")
        splits[split] = SplitInfo(tokens=path.stat().st_size // 2)
    return Metadata(
        corpus=folder.name,
        licence="unknown",
        sources=[],
        split_rule="unknown",
        tokenizer=None,
        vocab_size=None,
        dtype="uint16",
        splits=splits,
    )


def split_hashes(folder: str | Path) -> dict[str, str]:
    """sha256 of each split's tokens: from the description, else of the file as it is now."""
    folder = Path(folder)
    splits = load_metadata(folder).splits
    return {name: info.sha256 or sha256_of(folder / f"{name}.bin") for name, info in splits.items()}


def smallest_dtype(vocab_size: int) -> str:
    """The narrowest token type on disk: `uint16` up to 65,536 tokens, else `uint32`."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def check_block(tokens: int, block_size: int, *, what: str) -> None:
    """Refuse a split too short for one block and the token that follows it."""
    if tokens <= block_size:
        raise DataError(
            f"{what} has {tokens:,} tokens, fewer than the {block_size + 1:,} that one block "
            f"needs (model.block_size={block_size} and the token after it); use a longer text, "
            "a smaller model.block_size or another data.val_fraction"
        )
