"""Files that are unpacked as they are read (.gz, .bz2, .xz, .zst), and what else a file may be.

A file that was cut off is never taken for a whole one: every reader here raises at a missing end.
"""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from altgrad.data.errors import DataError

PACKED_BLOCK = 1 << 14
"""Small, because zstd unpacks a block in one go, and text may shrink a thousandfold."""
DAMAGE = (EOFError, zlib.error, lzma.LZMAError)
"""What the readers raise for a damaged file, beside an OSError without a number."""
FIRST_BYTES = {
    rb"PK[\3\5]": "a zip archive; unpack it",
    rb"\x1f\x8b": "gzip; name it .gz",
    rb"\x28\xb5\x2f\xfd": "zstd; name it .zst",
    rb"BZh\d1AY&SY": "bzip2; name it .bz2",
    rb"\xfd7zXZ": "xz; name it .xz",
    rb"7z\xbc\xaf": "a 7z archive; unpack it",
    rb"PAR1[\x00-\x1f]": "parquet; name it .parquet",
    rb"%PDF-": "PDF; extract its text first",
    rb"\xff\xfe\0\0|\0\0\xfe\xff": "UTF-32; convert it: iconv -f utf-32 -t utf-8",
    rb"\xff\xfe|\xfe\xff": "UTF-16; convert it: iconv -f utf-16 -t utf-8",
}
"""How files begin that are no plain text -> what they are, and the cure."""


def inner_name(name: str) -> str:
    """A file's name in lower case, without the ending that says how it is packed."""
    name = name.lower()
    return next((name.removesuffix(end) for end in OPENERS if name.endswith(end)), name)


def unpacked(path: Path, raw: IO[bytes]) -> Any:
    """What is in `raw`, the file at `path` opened to be read."""
    opener = OPENERS.get(path.suffix.lower())
    return opener(path, raw) if opener else raw


def refuse_other_kinds(path: Path) -> None:
    """Raises DataError for a file that is named as plain text and begins as something else."""
    with open(path, "rb") as file:
        begin = file.read(16)
    for pattern, what in FIRST_BYTES.items():
        if re.match(pattern, begin):
            raise DataError(f"{path} begins as {what}")


def _zstd(path: Path, raw: IO[bytes]) -> Any:
    try:
        import zstandard
    except ImportError:
        raise DataError(f"reading {path} needs zstandard: pip install 'altgrad[hf]'") from None
    return io.BufferedReader(_Frames(raw, zstandard))


class _Frames(io.RawIOBase):
    """All frames of a zstd file. The library's own reader takes the end of a file for the end of
    a frame, and stops after the first."""

    def __init__(self, raw: IO[bytes], zstandard: Any):
        self._raw, self._library = raw, zstandard
        self._frame: Any = None
        self._packed = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._raw.read(PACKED_BLOCK)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("it ends before its last frame does")
                return 0
            self._unpack()
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _unpack(self) -> None:
        frame = self._frame or self._library.ZstdDecompressor().decompressobj()
        try:
            self._ready = frame.decompress(self._packed)
        except self._library.ZstdError as error:
            raise EOFError(str(error)) from error
        self._packed = frame.unused_data if frame.eof else b""
        self._frame = None if frame.eof else frame


OPENERS: dict[str, Callable[[Path, IO[bytes]], Any]] = {
    ".gz": lambda path, raw: gzip.GzipFile(fileobj=raw),
    ".bz2": lambda path, raw: bz2.BZ2File(raw),
    ".xz": lambda path, raw: lzma.LZMAFile(raw),  # noqa: SIM115 - closed by who asked for it
    ".zst": _zstd,
}
